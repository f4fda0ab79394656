// SPDX-License-Identifier: Apache-2.0
#include "host/step_loop.h"

#include "base/check.h"
#include "base/clock.h"
#include "host/log.h"

#include <stdlib.h>
#include <string.h>

struct StepLoop {
    StepLoopOptions options;
    uint32_t slot_count;
    Request **slots;     // [slot_count] by scheduler tag; NULL = free
    uint32_t busy_count; // slots in use
    uint32_t *parked;    // [slot_count] slots the scheduler had no room for yet, oldest first
    uint32_t parked_count;
    bool failed;
    SchedulerEvent *events; // [events_max]
    size_t events_max;
    StepSample *samples; // [sequences_max]
    StepLoopStats stats;
};

Status step_loop_open(const StepLoopOptions *options, StepLoop **out, Error *error) {
    *out = NULL;
    const Sizes *sizes = &options->runtime->sizes;
    StepLoop *loop = calloc(1, sizeof *loop);
    if (loop != NULL) {
        loop->options = *options;
        loop->slot_count = sizes->batch + sizes->waiting;
        loop->events_max = (size_t)sizes->batch + loop->slot_count;
        loop->slots = calloc(loop->slot_count, sizeof *loop->slots);
        loop->parked = calloc(loop->slot_count, sizeof *loop->parked);
        loop->events = calloc(loop->events_max, sizeof *loop->events);
        loop->samples = calloc(sizes->batch, sizeof *loop->samples);
    }
    if (loop == NULL || loop->slots == NULL || loop->parked == NULL || loop->events == NULL ||
        loop->samples == NULL) {
        step_loop_close(loop);
        return error_set(error, E_MEMORY, "no memory for the step loop; lower the batch");
    }
    *out = loop;
    return OK;
}

void step_loop_close(StepLoop *loop) {
    if (loop == NULL) {
        return;
    }
    if (loop->busy_count > 0) {
        Scheduler *scheduler = loop->options.runtime->scheduler;
        for (uint32_t slot = 0; slot < loop->slot_count; slot++) {
            if (loop->slots[slot] != NULL) {
                sched_cancel(scheduler, loop->slots[slot]->handle);
            }
        }
        sched_commit(scheduler, NULL, loop->events, loop->events_max);
    }
    free(loop->slots);
    free(loop->parked);
    free(loop->events);
    free(loop->samples);
    free(loop);
}

static void step_loop_finish(StepLoop *loop, uint32_t slot) {
    Request *request = loop->slots[slot];
    request->finished_ns = clock_ns();
    if (request->status == OK) {
        loop->stats.tokens_in += request->prompt.token_count;
        loop->stats.tokens_out += request->answer.token_count;
    }
    loop->slots[slot] = NULL;
    loop->busy_count--;
    loop->options.finished(loop->options.context, request);
}

static void step_loop_emit(StepLoop *loop, Request *request) {
    AnswerPart part;
    Bytes text;
    while (answer_take(&request->answer, &part, &text)) {
        if (loop->options.text != NULL) {
            loop->options.text(loop->options.context, request, part, text);
        }
    }
}

static Status step_loop_try(StepLoop *loop, uint32_t slot) {
    Request *request = loop->slots[slot];
    const Question *question = request->question;
    const GenerationDefaults *generation = &loop->options.runtime->weights->config.generation;
    const SequenceRequest sequence = {
        .tokens = request->prompt.tokens,
        .token_count = request->prompt.token_count,
        .images = request->prompt.images,
        .image_count = request->prompt.image_count,
        .new_tokens_max = question->new_tokens_max,
        .stop_ids = generation->stop_ids,
        .stop_count = generation->stop_count,
        .sampling = question->sampling,
        .tag = slot,
    };
    return sched_add(loop->options.runtime->scheduler, &sequence, &request->handle,
                     &request->error);
}

// True when the slot is settled: in the scheduler, or finished with its error. False when the
// scheduler is busy and a request that ends will make room.
static bool step_loop_admit(StepLoop *loop, uint32_t slot, uint32_t running_count) {
    Request *request = loop->slots[slot];
    Status status = step_loop_try(loop, slot);
    if (status == E_BUSY && running_count > 0) {
        return false;
    }
    if (status != OK) {
        request->status = status;
        step_loop_finish(loop, slot);
    }
    return true;
}

void step_loop_add(StepLoop *loop, Request *request) {
    uint32_t slot = 0;
    while (slot < loop->slot_count && loop->slots[slot] != NULL) {
        slot++;
    }
    REQUIRE(slot < loop->slot_count);
    uint32_t running_count = loop->busy_count - loop->parked_count;
    loop->slots[slot] = request;
    loop->busy_count++;
    request->handle = 0; // of no sequence
    request->status = answer_begin(&request->answer, loop->options.runtime->tokenizer,
                                   request->question, &request->error);
    if (request->status != OK) {
        step_loop_finish(loop, slot);
    } else if (loop->parked_count > 0 || !step_loop_admit(loop, slot, running_count)) {
        loop->parked[loop->parked_count++] = slot;
    }
}

static void step_loop_unpark(StepLoop *loop) {
    while (loop->parked_count > 0) {
        uint32_t slot = loop->parked[0];
        if (!step_loop_admit(loop, slot, loop->busy_count - loop->parked_count)) {
            return;
        }
        loop->parked_count--;
        memmove(loop->parked, loop->parked + 1, loop->parked_count * sizeof *loop->parked);
    }
}

bool step_loop_busy(const StepLoop *loop) {
    return loop->busy_count > 0;
}

static void step_loop_event(StepLoop *loop, const SchedulerEvent *event, Status engine_status,
                            const Error *engine_error) {
    REQUIRE(event->tag < loop->slot_count && loop->slots[event->tag] != NULL);
    Request *request = loop->slots[event->tag];
    Answer *answer = &request->answer;
    if (event->has_token && !answer->stopped) {
        request->status = answer_push(answer, event, &request->error);
        if (event->finish == FINISH_NONE && (answer->stopped || request->status != OK)) {
            sched_cancel(loop->options.runtime->scheduler, event->handle);
        }
        step_loop_emit(loop, request);
    }
    if (event->finish == FINISH_NONE) {
        return;
    }
    if (event->finish == FINISH_FAILED) {
        request->status = error_set(&request->error, engine_status, "%s", engine_error->text);
    } else if (!event->has_token && !answer->stopped && request->status == OK) {
        request->status = error_set(&request->error, E_CANCELLED, "the request was cancelled");
    }
    if (request->status == OK) {
        request->status = answer_end(answer, event->finish, &request->error);
        step_loop_emit(loop, request);
    }
    step_loop_finish(loop, (uint32_t)event->tag);
}

Status step_loop_step(StepLoop *loop, Error *error) {
    Error failure = {0};
    Runtime *runtime = loop->options.runtime;
    sched_tick(runtime->scheduler, clock_ns() / 1000000);
    step_loop_unpark(loop);
    if (loop->busy_count == 0) {
        return OK;
    }
    const Batch *batch = sched_plan(runtime->scheduler);
    StepResult result = {.samples = loop->samples};
    Status status = OK;
    if (batch != NULL) {
        uint64_t begin_ns = clock_ns();
        status = engine_step(runtime->engine, batch, &result, &failure);
        double seconds = (double)(clock_ns() - begin_ns) * 1e-9;
        loop->stats.steps++;
        loop->stats.engine_seconds += seconds;
        log_event(LOG_DEBUG, "step", "rows=%u sequences=%u images=%u seconds=%.4f status=%s",
                  batch->row_count, batch->sequence_count, batch->image_count, seconds,
                  status_name(status));
    }
    loop->failed = status != OK;
    size_t count = sched_commit(runtime->scheduler, status == OK ? &result : NULL, loop->events,
                                loop->events_max);
    REQUIRE_MESSAGE(batch != NULL || count > 0, "%u requests wait and nothing can run",
                    loop->busy_count);
    for (size_t i = 0; i < count; i++) {
        step_loop_event(loop, &loop->events[i], status, &failure);
    }
    return status == OK ? OK : error_set(error, status, "%s", failure.text);
}

bool step_loop_failed(const StepLoop *loop) {
    return loop->failed;
}

StepLoopStats step_loop_stats(const StepLoop *loop) {
    return loop->stats;
}
