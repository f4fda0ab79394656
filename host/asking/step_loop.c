// SPDX-License-Identifier: Apache-2.0
#include "host/asking/step_loop.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"

#include <stdlib.h>

struct StepLoop {
    StepLoopOptions options;
    StepEngine engine;
    Stepper *stepper;
    uint32_t slot_count;
    Request **slots;            // [slot_count] by tag; NULL = free
    SequenceRequest *sequences; // [slot_count] what the stepper borrows
    float *rows;                // [sizes.rows][vocabulary] or NULL: logits are not wanted
    uint32_t row_count;         // of the step under way
    AskerStats stats;
};

// ---- Logits of every row ------------------------------------------------------------------------

static Status step_loop_begin_rows(void *context, const Batch *batch, Error *error) {
    StepLoop *loop = context;
    Batch with_rows = *batch;
    REQUIRE(batch->sequence_count == 1 && loop->slots[0] != NULL);
    with_rows.all_logits = loop->rows;
    loop->row_count = batch->row_count;
    return step_engine_begin(&loop->engine, &with_rows, error);
}

static Status step_loop_end_rows(void *context, StepResult *result, Error *error) {
    StepLoop *loop = context;
    TRY(step_engine_end(&loop->engine, result, error));
    loop->options.rows(loop->options.context, loop->slots[0], loop->rows, loop->row_count);
    return OK;
}

// There is one array of rows: a step ends before the next one begins.
static Status step_loop_want_rows(StepLoop *loop, StepperOptions *stepper, Error *error) {
    const Runtime *runtime = loop->options.runtime;
    uint64_t bytes;
    if (!num_mul(runtime->sizes.rows, runtime->weights->config.vocab_count * sizeof *loop->rows,
                 &bytes) ||
        (loop->rows = malloc((size_t)bytes)) == NULL) {
        return error_set(error, E_MEMORY,
                         "no memory for the logits of %u rows; lower --step-tokens",
                         runtime->sizes.rows);
    }
    stepper->begin = step_loop_begin_rows;
    stepper->end = step_loop_end_rows;
    stepper->context = loop;
    stepper->ahead = false;
    return OK;
}

// ---- Open and close -----------------------------------------------------------------------------

Status step_loop_open(const StepLoopOptions *options, StepLoop **out, Error *error) {
    *out = NULL;
    const ServingSizes *sizes = &options->runtime->sizes;
    StepLoop *loop = calloc(1, sizeof *loop);
    if (loop != NULL) {
        loop->options = *options;
        loop->engine = (StepEngine){.engine = options->runtime->engine};
        loop->slot_count = sizes->batch + sizes->waiting;
        loop->slots = calloc(loop->slot_count, sizeof *loop->slots);
        loop->sequences = calloc(loop->slot_count, sizeof *loop->sequences);
    }
    if (loop == NULL || loop->slots == NULL || loop->sequences == NULL) {
        step_loop_close(loop);
        return error_set(error, E_MEMORY, "no memory for the step loop; lower the batch");
    }
    StepperOptions stepper = {
        .scheduler = options->runtime->scheduler,
        .sequences_max = sizes->batch,
        .tags_max = loop->slot_count,
    };
    step_engine_options(&loop->engine, &stepper);
    Status status = options->rows != NULL ? step_loop_want_rows(loop, &stepper, error) : OK;
    if (status == OK) {
        status = stepper_open(&stepper, &loop->stepper, error);
    }
    if (status != OK) {
        step_loop_close(loop);
        return status;
    }
    *out = loop;
    return OK;
}

void step_loop_close(StepLoop *loop) {
    if (loop == NULL) {
        return;
    }
    stepper_close(loop->stepper);
    free(loop->slots);
    free(loop->sequences);
    free(loop->rows);
    free(loop);
}

// ---- Requests -----------------------------------------------------------------------------------

static void step_loop_finish(StepLoop *loop, uint32_t slot) {
    Request *request = loop->slots[slot];
    request->finished_ns = clock_ns();
    if (request->status == OK) {
        loop->stats.tokens_in += request->prompt.token_count;
        loop->stats.tokens_out += request->answer.token_count;
    }
    loop->slots[slot] = NULL;
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

void step_loop_add(StepLoop *loop, Request *request) {
    uint32_t slot = 0;
    while (slot < loop->slot_count && loop->slots[slot] != NULL) {
        slot++;
    }
    REQUIRE(slot < loop->slot_count);
    loop->slots[slot] = request;
    request->status = answer_begin(&request->answer, loop->options.runtime->tokenizer,
                                   request->question, &request->error);
    if (request->status == OK) {
        loop->sequences[slot] =
            request_sequence(request, &loop->options.runtime->weights->config.generation, slot);
        request->status =
            stepper_add(loop->stepper, &loop->sequences[slot], STEPPER_NO_TAG, &request->error);
    }
    if (request->status != OK) {
        step_loop_finish(loop, slot);
    }
}

bool step_loop_busy(const StepLoop *loop) {
    return stepper_busy(loop->stepper);
}

static void step_loop_token(StepLoop *loop, uint32_t slot, const SchedulerEvent *event) {
    Request *request = loop->slots[slot];
    Answer *answer = &request->answer;
    if (answer->stopped) {
        return;
    }
    request->status = answer_push(answer, event, &request->error);
    if (event->finish == FINISH_NONE && (answer->stopped || request->status != OK)) {
        stepper_cancel(loop->stepper, slot);
    }
    step_loop_emit(loop, request);
}

static void step_loop_end(StepLoop *loop, uint32_t slot, const StepperEvent *event) {
    Request *request = loop->slots[slot];
    Answer *answer = &request->answer;
    if (event->kind == STEPPER_REFUSED) {
        request->status = error_set(&request->error, event->status, "%s", event->text);
    } else if (event->event.finish == FINISH_FAILED) {
        request->status =
            error_set(&request->error, event->status, "%s", stepper_error(loop->stepper)->text);
    } else if (event->kind == STEPPER_ENDED && !answer->stopped && request->status == OK) {
        request->status = error_set(&request->error, E_CANCELLED, "the request was cancelled");
    }
    if (request->status == OK) {
        request->status = answer_end(answer, event->event.finish, &request->error);
        step_loop_emit(loop, request);
    }
    step_loop_finish(loop, slot);
}

static void step_loop_event(StepLoop *loop, const StepperEvent *event) {
    REQUIRE(event->tag < loop->slot_count && loop->slots[event->tag] != NULL);
    if (event->kind == STEPPER_TOKEN) {
        step_loop_token(loop, event->tag, &event->event);
    }
    if (event->kind != STEPPER_TOKEN || event->event.finish != FINISH_NONE) {
        step_loop_end(loop, event->tag, event);
    }
}

Status step_loop_step(StepLoop *loop, Error *error) {
    stepper_tick(loop->stepper, clock_ns() / 1000000);
    const StepperEvent *events;
    size_t count = stepper_step(loop->stepper, &events);
    for (size_t i = 0; i < count; i++) {
        step_loop_event(loop, &events[i]);
    }
    const Error *failure = stepper_error(loop->stepper);
    return failure == NULL ? OK : error_set(error, failure->status, "%s", failure->text);
}

bool step_loop_failed(const StepLoop *loop) {
    return stepper_error(loop->stepper) != NULL;
}

AskerStats step_loop_stats(const StepLoop *loop) {
    return loop->stats;
}
