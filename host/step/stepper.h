// SPDX-License-Identifier: Apache-2.0
// The core of the step thread: sequences and cancellations in, one step at a time through scheduler
// and engine, events out. Pure: no thread, no clock, no queue; the engine is two functions, so
// tests and the simulator put their own there. Where begin returns before the work is done, the
// next step is planned and begun (`ahead`) before the one under way is waited for, so that the
// device has work while the host plans and hands out events. The caller's loop is
//
//     stepper_tick(s, now); stepper_command ...; count = stepper_step(s, &events);
//
// A sequence is named by its tag, a small number the caller chooses and may use again after the
// event that ended it. Exactly one ending event comes for every sequence that was taken.
//
//   add -> (parked while the scheduler is busy) -> scheduler -> token events ... -> ending event
#ifndef HOST_STEP_STEPPER_H
#define HOST_STEP_STEPPER_H

#include "scheduler/sched.h"

typedef struct Stepper Stepper;

// engine_begin and engine_end, or stand-ins. A begin that fails has begun nothing. An error means
// that no further step can succeed.
typedef Status (*StepBegin)(void *context, const Batch *batch, Error *error);
typedef Status (*StepEnd)(void *context, StepResult *result, Error *error);

typedef struct StepperOptions {
    Scheduler *scheduler;   // used by nobody else meanwhile
    uint32_t sequences_max; // of the scheduler
    uint32_t tags_max;      // tags are below this
    StepBegin begin;
    StepEnd end; // of the oldest step begun
    void *context;
    bool ahead; // two steps may be under way
} StepperOptions;

Status stepper_open(const StepperOptions *options, Stepper **out, Error *error); // E_MEMORY
// Sequences that still run are dropped without an event: the scheduler is empty afterwards.
void stepper_close(Stepper *stepper);

#define STEPPER_NO_TAG UINT32_MAX

typedef enum StepperCommandKind {
    STEPPER_ADD,
    STEPPER_CANCEL, // of an unknown tag: nothing
    STEPPER_USER,   // weight of a user
} StepperCommandKind;

typedef struct StepperCommand {
    StepperCommandKind kind;
    uint32_t tag;                    // ADD (equal to sequence->tag), CANCEL
    const SequenceRequest *sequence; // ADD: it and what it points to, borrowed until the sequence's
                                     // ending event; `after` is not read
    uint32_t after_tag;              // ADD: the sequence to share a prompt with, or STEPPER_NO_TAG
    uint32_t user;                   // USER
    double weight;                   // USER
} StepperCommand;

typedef enum StepperEventKind {
    STEPPER_TOKEN,   // one token; event.finish says whether it was the last
    STEPPER_ENDED,   // ended without a token: cancelled, deadline, failed
    STEPPER_REFUSED, // never begun: `status` and `text` say why
} StepperEventKind;

enum { STEPPER_TEXT_MAX = 200 };

typedef struct StepperEvent {
    StepperEventKind kind;
    uint32_t tag;
    Status status; // REFUSED; and ENDED with FINISH_FAILED: the engine's
    union {
        SchedulerEvent event;        // TOKEN and ENDED
        char text[STEPPER_TEXT_MAX]; // REFUSED: a sentence for the client
    };
} StepperEvent;

void stepper_tick(Stepper *stepper, uint64_t now_ms); // never goes back

// Takes a sequence, or refuses it for good with sched_add's status. A scheduler that is only busy
// is asked again before every step, in order of arrival.
Status stepper_add(Stepper *stepper, const SequenceRequest *sequence, uint32_t after_tag,
                   Error *error);
void stepper_cancel(Stepper *stepper, uint32_t tag);

// Does what a message from another thread says. A refusal becomes an event.
void stepper_command(Stepper *stepper, const StepperCommand *command);

// Sequences run or wait, a step is under way, or events are due.
bool stepper_busy(const Stepper *stepper);

// Ends one step, if there is anything to do. The events stay until the next call.
size_t stepper_step(Stepper *stepper, const StepperEvent **events);

// The engine's error after a failed step; NULL while all is well.
const Error *stepper_error(const Stepper *stepper);

SchedulerStats stepper_stats(const Stepper *stepper);

#endif
