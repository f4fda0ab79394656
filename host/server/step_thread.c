// SPDX-License-Identifier: Apache-2.0
#include "host/server/step_thread.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/niceness.h"

#include <stdlib.h>

static void step_thread_report(StepThread *self, size_t count) {
    const StepEngine *engine = &self->engine;
    self->batch[count] = (StepMessage){
        .is_report = true,
        .report = {stepper_stats(self->stepper), engine->steps, engine->last_ns, engine->last_rows,
                   stepper_error(self->stepper) != NULL},
    };
    mailbox_push_all(&self->messages, self->batch, count + 1);
}

static void step_thread_step(StepThread *self) {
    const StepperEvent *events;
    size_t count = stepper_step(self->stepper, &events);
    REQUIRE(count < self->batch_max);
    for (size_t i = 0; i < count; i++) {
        self->batch[i] = (StepMessage){.event = events[i]};
    }
    step_thread_report(self, count);
}

// While a step is under way the next one is planned late, so that requests that arrive now still
// make it.
static void step_thread_gather(StepThread *self) {
    StepperCommand command;
    uint64_t until_ns = step_engine_plan_ns(&self->engine), now_ns;
    while ((now_ns = clock_ns()) < until_ns &&
           mailbox_pop(&self->commands, &command, (until_ns - now_ns) / 1000000)) {
        stepper_tick(self->stepper, clock_ns() / 1000000);
        stepper_command(self->stepper, &command);
    }
}

static void step_thread_run(void *argument) {
    StepThread *self = argument;
    StepperCommand command;
    niceness_add(self->niceness);
    step_thread_report(self, 0); // pages and places are known before the first step
    for (;;) {
        bool idle = !stepper_busy(self->stepper);
        if (idle && !mailbox_pop(&self->commands, &command, UINT64_MAX)) {
            return;
        }
        if (!idle) {
            step_thread_gather(self);
        }
        stepper_tick(self->stepper, clock_ns() / 1000000);
        if (idle) {
            stepper_command(self->stepper, &command);
        }
        while (mailbox_take(&self->commands, &command, 1) == 1) {
            stepper_command(self->stepper, &command);
        }
        if (stepper_busy(self->stepper)) {
            step_thread_step(self);
        }
    }
}

Status step_thread_open(StepThread *self, const StepThreadOptions *options, Error *error) {
    *self = (StepThread){
        .engine = {.engine = options->runtime->engine},
        .niceness = options->niceness,
    };
    StepperOptions stepper = {
        .scheduler = options->runtime->scheduler,
        .sequences_max = options->runtime->sizes.batch,
        .tags_max = options->tags_max,
    };
    step_engine_options(&self->engine, &stepper);
    TRY(stepper_open(&stepper, &self->stepper, error));
    // Per tag an add, a cancel, and the same again for its next use; per user two settings.
    uint32_t commands = 4 * options->tags_max + 2 * options->users_max;
    self->batch_max = (size_t)stepper.sequences_max + 4 * (size_t)options->tags_max + 1;
    TRY(mailbox_open(&self->commands, sizeof(StepperCommand), commands, error));
    TRY(mailbox_open(&self->messages, sizeof(StepMessage), (uint32_t)self->batch_max, error));
    mailbox_on_push(&self->messages, options->wake, options->wake_context);
    self->batch = calloc(self->batch_max, sizeof *self->batch);
    if (self->batch == NULL) {
        return error_set(error, E_MEMORY, "no memory for the events of a step");
    }
    if (uv_thread_create(&self->thread, step_thread_run, self) != 0) {
        return error_set(error, E_MEMORY, "the step thread cannot be started");
    }
    self->started = true;
    return OK;
}

void step_thread_close(StepThread *self) {
    if (self->started) {
        mailbox_close(&self->commands);
        mailbox_close(&self->messages); // nobody reads any more
        uv_thread_join(&self->thread);
    }
    stepper_close(self->stepper);
    mailbox_free(&self->commands);
    mailbox_free(&self->messages);
    free(self->batch);
    *self = (StepThread){0};
}

void step_thread_command(StepThread *self, const StepperCommand *command) {
    mailbox_push(&self->commands, command);
}

uint32_t step_thread_take(StepThread *self, StepMessage *messages, uint32_t most) {
    return mailbox_take(&self->messages, messages, most);
}
