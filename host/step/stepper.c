// SPDX-License-Identifier: Apache-2.0
#include "host/step/stepper.h"

#include "base/check.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum StepperState { TAG_FREE, TAG_PARKED, TAG_RUNNING } StepperState;

typedef struct StepperTag {
    StepperState state;
    uint64_t handle;                 // RUNNING: of the scheduler
    const SequenceRequest *sequence; // PARKED
    uint32_t after_tag;              // PARKED
} StepperTag;

struct Stepper {
    StepperOptions options;
    StepperTag *tags;    // [tags_max]
    uint32_t used_count; // tags that are not free
    uint32_t *parked;    // [tags_max] tags the scheduler had no room for yet, oldest first
    uint32_t parked_count;
    SchedulerEvent *raw; // [raw_max] from one commit
    size_t raw_max;
    StepSample *samples;           // [sequences_max]
    Status begun[SCHED_PLANS_MAX]; // of the open plans, oldest first: how their begin went
    uint32_t begun_count;
    StepperEvent *events; // [events_max]
    size_t event_count, events_max;
    bool handed_out; // the caller has seen them
    bool failed;
    Error error;
};

Status stepper_open(const StepperOptions *options, Stepper **out, Error *error) {
    *out = NULL;
    Stepper *stepper = calloc(1, sizeof *stepper);
    if (stepper != NULL) {
        stepper->options = *options;
        stepper->raw_max = (size_t)options->sequences_max + options->tags_max;
        // Of one call: a token of every running sequence, and an ending or a refusal of every tag;
        // a tag may be refused, used again and refused again before it. A call that ends two steps
        // does so because the engine has failed: the second has endings only.
        stepper->events_max = stepper->raw_max + 2 * (size_t)options->tags_max;
        stepper->tags = calloc(options->tags_max, sizeof *stepper->tags);
        stepper->parked = calloc(options->tags_max, sizeof *stepper->parked);
        stepper->raw = calloc(stepper->raw_max, sizeof *stepper->raw);
        stepper->samples = calloc(options->sequences_max, sizeof *stepper->samples);
        stepper->events = calloc(stepper->events_max, sizeof *stepper->events);
    }
    if (stepper == NULL || stepper->tags == NULL || stepper->parked == NULL ||
        stepper->raw == NULL || stepper->samples == NULL || stepper->events == NULL) {
        stepper_close(stepper);
        return error_set(error, E_MEMORY, "no memory for the step loop; lower the batch");
    }
    *out = stepper;
    return OK;
}

void stepper_close(Stepper *stepper) {
    if (stepper == NULL) {
        return;
    }
    for (uint32_t tag = 0; stepper->used_count > 0 && tag < stepper->options.tags_max; tag++) {
        if (stepper->tags[tag].state == TAG_RUNNING) {
            sched_cancel(stepper->options.scheduler, stepper->tags[tag].handle);
        }
    }
    for (; stepper->begun_count > 0; stepper->begun_count--) {
        StepResult result = {.samples = stepper->samples};
        if (stepper->begun[0] == OK) {
            stepper->options.end(stepper->options.context, &result, &stepper->error);
        }
        stepper->begun[0] = stepper->begun[1];
        sched_commit(stepper->options.scheduler, NULL, stepper->raw, stepper->raw_max);
    }
    if (stepper->used_count > 0) {
        sched_commit(stepper->options.scheduler, NULL, stepper->raw, stepper->raw_max);
    }
    free(stepper->tags);
    free(stepper->parked);
    free(stepper->raw);
    free(stepper->samples);
    free(stepper->events);
    free(stepper);
}

void stepper_tick(Stepper *stepper, uint64_t now_ms) {
    sched_tick(stepper->options.scheduler, now_ms);
}

static StepperEvent *stepper_event(Stepper *stepper, StepperEventKind kind, uint32_t tag) {
    if (stepper->handed_out) {
        stepper->event_count = 0;
        stepper->handed_out = false;
    }
    REQUIRE(stepper->event_count < stepper->events_max);
    StepperEvent *event = &stepper->events[stepper->event_count++];
    event->kind = kind;
    event->tag = tag;
    event->status = OK;
    return event;
}

static void stepper_refused(Stepper *stepper, uint32_t tag, const Error *error) {
    StepperEvent *event = stepper_event(stepper, STEPPER_REFUSED, tag);
    event->status = error->status;
    snprintf(event->text, sizeof event->text, "%.*s", STEPPER_TEXT_MAX - 1, error->text);
}

static void stepper_free_tag(Stepper *stepper, uint32_t tag) {
    REQUIRE(stepper->tags[tag].state != TAG_FREE);
    stepper->tags[tag].state = TAG_FREE;
    stepper->used_count--;
}

// OK: the sequence is in the scheduler. E_BUSY while others run: later.
static Status stepper_try(Stepper *stepper, uint32_t tag, Error *error) {
    StepperTag *entry = &stepper->tags[tag];
    SequenceRequest sequence = *entry->sequence;
    sequence.after = 0;
    if (entry->after_tag != STEPPER_NO_TAG &&
        stepper->tags[entry->after_tag].state == TAG_RUNNING) {
        sequence.after = stepper->tags[entry->after_tag].handle;
    }
    TRY(sched_add(stepper->options.scheduler, &sequence, &entry->handle, error));
    entry->state = TAG_RUNNING;
    log_event(LOG_DEBUG, "added", "tag=%u tokens=%u", tag, sequence.token_count);
    return OK;
}

Status stepper_add(Stepper *stepper, const SequenceRequest *sequence, uint32_t after_tag,
                   Error *error) {
    uint32_t tag = (uint32_t)sequence->tag;
    REQUIRE(sequence->tag < stepper->options.tags_max && stepper->tags[tag].state == TAG_FREE);
    uint32_t running_count = stepper->used_count - stepper->parked_count;
    stepper->tags[tag] = (StepperTag){TAG_PARKED, 0, sequence, after_tag};
    stepper->used_count++;
    bool behind = stepper->parked_count > 0; // others were here before
    Status status = behind ? E_BUSY : stepper_try(stepper, tag, error);
    if (status == E_BUSY && (behind || running_count > 0)) {
        stepper->parked[stepper->parked_count++] = tag;
        return OK;
    }
    if (status != OK) {
        stepper_free_tag(stepper, tag);
    }
    return status;
}

static void stepper_unpark(Stepper *stepper, uint32_t at) {
    stepper->parked_count--;
    memmove(stepper->parked + at, stepper->parked + at + 1,
            (stepper->parked_count - at) * sizeof *stepper->parked);
}

static void stepper_ask_again(Stepper *stepper) {
    while (stepper->parked_count > 0) {
        uint32_t tag = stepper->parked[0];
        uint32_t running_count = stepper->used_count - stepper->parked_count;
        Error error;
        Status status = stepper_try(stepper, tag, &error);
        if (status == E_BUSY && running_count > 0) {
            return;
        }
        stepper_unpark(stepper, 0);
        if (status != OK) {
            stepper_free_tag(stepper, tag);
            stepper_refused(stepper, tag, &error);
        }
    }
}

void stepper_cancel(Stepper *stepper, uint32_t tag) {
    REQUIRE(tag < stepper->options.tags_max);
    if (stepper->tags[tag].state == TAG_RUNNING) {
        sched_cancel(stepper->options.scheduler, stepper->tags[tag].handle);
    } else if (stepper->tags[tag].state == TAG_PARKED) {
        uint32_t at = 0;
        while (stepper->parked[at] != tag) {
            at++;
        }
        stepper_unpark(stepper, at);
        stepper_free_tag(stepper, tag);
        stepper_event(stepper, STEPPER_ENDED, tag)->event =
            (SchedulerEvent){.tag = tag, .finish = FINISH_CANCEL};
    }
}

void stepper_command(Stepper *stepper, const StepperCommand *command) {
    Error error;
    switch (command->kind) {
    case STEPPER_ADD:
        if (stepper_add(stepper, command->sequence, command->after_tag, &error) != OK) {
            stepper_refused(stepper, command->tag, &error);
        }
        return;
    case STEPPER_CANCEL:
        stepper_cancel(stepper, command->tag);
        return;
    case STEPPER_USER:
        sched_user_weight(stepper->options.scheduler, command->user, command->weight);
        return;
    }
}

bool stepper_busy(const Stepper *stepper) {
    return stepper->used_count > 0 || stepper->begun_count > 0 ||
           (stepper->event_count > 0 && !stepper->handed_out);
}

static void stepper_take(Stepper *stepper, const SchedulerEvent *raw, Status status) {
    uint32_t tag = (uint32_t)raw->tag;
    StepperEvent *event =
        stepper_event(stepper, raw->has_token ? STEPPER_TOKEN : STEPPER_ENDED, tag);
    event->event = *raw;
    event->status = raw->finish == FINISH_FAILED ? status : OK;
    if (raw->finish != FINISH_NONE) {
        stepper_free_tag(stepper, tag);
    }
}

static void stepper_begin(Stepper *stepper) {
    const Batch *batch = sched_plan(stepper->options.scheduler);
    if (batch != NULL) {
        log_event(LOG_DEBUG, "planned", "rows=%u sequences=%u images=%u", batch->row_count,
                  batch->sequence_count, batch->image_count);
        Status status = stepper->options.begin(stepper->options.context, batch, &stepper->error);
        stepper->failed = stepper->failed || status != OK;
        stepper->begun[stepper->begun_count++] = status;
    }
}

// Without an open plan: what was cancelled and has expired.
static void stepper_commit(Stepper *stepper, const StepResult *result, Status status) {
    size_t count = sched_commit(stepper->options.scheduler, result, stepper->raw, stepper->raw_max);
    for (size_t i = 0; i < count; i++) {
        stepper_take(stepper, &stepper->raw[i], status);
    }
}

static void stepper_end(Stepper *stepper) {
    StepResult result = {.samples = stepper->samples};
    Status status = stepper->begun[0];
    stepper->begun[0] = stepper->begun[1];
    stepper->begun_count--;
    if (status == OK) {
        status = stepper->options.end(stepper->options.context, &result, &stepper->error);
    }
    stepper->failed = stepper->failed || status != OK;
    stepper_commit(stepper, status == OK ? &result : NULL, status);
}

size_t stepper_step(Stepper *stepper, const StepperEvent **events) {
    if (stepper->handed_out) {
        stepper->event_count = 0;
        stepper->handed_out = false;
    }
    stepper_ask_again(stepper);
    if (stepper->used_count > 0 && stepper->begun_count == 0) {
        stepper_begin(stepper);
    }
    if (stepper->options.ahead && stepper->begun_count == 1 && !stepper->failed) {
        stepper_begin(stepper);
    }
    if (stepper->begun_count > 0) {
        do { // a failed engine has nothing more to wait for
            stepper_end(stepper);
        } while (stepper->failed && stepper->begun_count > 0);
    } else if (stepper->used_count > 0) {
        stepper_commit(stepper, NULL, OK);
        REQUIRE_MESSAGE(stepper->event_count > 0, "%u requests wait and nothing can run",
                        stepper->used_count);
    }
    *events = stepper->events;
    stepper->handed_out = true;
    return stepper->event_count;
}

const Error *stepper_error(const Stepper *stepper) {
    return stepper->failed ? &stepper->error : NULL;
}

SchedulerStats stepper_stats(const Stepper *stepper) {
    return sched_stats(stepper->options.scheduler);
}
