// SPDX-License-Identifier: Apache-2.0
// The one thread that uses engine and scheduler. It sleeps while there is nothing to do; otherwise:
// take the commands that have come (while a step is under way, those that come until the next one
// must be planned), step, hand out the events of the step and a report with one wake.
#ifndef HOST_SERVER_STEP_THREAD_H
#define HOST_SERVER_STEP_THREAD_H

#include "host/runtime/runtime.h"
#include "host/server/service.h"
#include "host/step/mailbox.h"
#include "host/step/step_engine.h"

typedef struct StepMessage {
    bool is_report;
    union {
        StepperEvent event;
        StepReport report;
    };
} StepMessage;

typedef struct StepThread {
    StepEngine engine;
    Stepper *stepper;
    Mailbox commands;   // of StepperCommand
    Mailbox messages;   // of StepMessage
    StepMessage *batch; // [batch_max] of one step
    size_t batch_max;
    int niceness;
    uv_thread_t thread;
    bool started;
} StepThread;

typedef struct StepThreadOptions {
    Runtime *runtime; // its engine and scheduler are used by nobody else meanwhile
    uint32_t tags_max;
    uint32_t users_max;
    int niceness; // base/niceness.h
    void (*wake)(void *context);
    void *wake_context;
} StepThreadOptions;

// The StepThread must not move afterwards. E_MEMORY; step_thread_close in any case.
Status step_thread_open(StepThread *thread, const StepThreadOptions *options, Error *error);
void step_thread_close(StepThread *thread); // once nothing runs any more; a zero one is fine

// Never waits: there is room for every command that can be out at a time.
void step_thread_command(StepThread *thread, const StepperCommand *command);
uint32_t step_thread_take(StepThread *thread, StepMessage *messages, uint32_t most);

#endif
