// SPDX-License-Identifier: Apache-2.0
#include "host/asking/runner.h"

#include "base/check.h"
#include "host/interrupt.h"
#include "host/step/mailbox.h"

#include <stdlib.h>

enum { RUNNER_WAIT_MS = 100 }; // how soon an interruption is noticed while nothing runs

typedef struct Runner {
    const RunnerOptions *options;
    uint32_t slot_count;
    Request *slots;       // [slot_count]
    Request **free_slots; // stack
    uint32_t free_count;
    uint32_t preparing_count;
    Mailbox asked, prepared; // of Request *
    uv_thread_t *threads;
    uint32_t thread_count;
    StepLoop *loop;
    bool dry;     // the source has no more
    bool stopped; // `text` or `finished` said so
} Runner;

static void runner_prep_thread(void *argument) {
    Runner *runner = argument;
    Prep prep = {.rules = &runner->options->prep};
    Request *request;
    while (mailbox_pop(&runner->asked, &request, UINT64_MAX)) {
        prep_run(&prep, request);
        mailbox_push(&runner->prepared, &request);
    }
    prep_free(&prep);
}

static void runner_give_back(Runner *runner, Request *request) {
    runner->free_slots[runner->free_count++] = request;
}

static void runner_finished(void *context, Request *request) {
    Runner *runner = context;
    bool dropped = runner->stopped || step_loop_failed(runner->loop);
    if (!dropped && !runner->options->finished(runner->options->context, request)) {
        runner->stopped = true;
    }
    runner_give_back(runner, request);
}

static void runner_text(void *context, Request *request, AnswerPart part, Bytes text) {
    Runner *runner = context;
    if (runner->options->text != NULL &&
        !runner->options->text(runner->options->context, request, part, text)) {
        runner->stopped = true;
    }
}

static void runner_ask(Runner *runner) {
    while (!runner->dry && runner->free_count > 0) {
        Request *request = runner->free_slots[runner->free_count - 1];
        if (!runner->options->next(runner->options->context, request)) {
            runner->dry = true;
            return;
        }
        runner->free_count--;
        runner->preparing_count++;
        request->unwanted = false;
        mailbox_push(&runner->asked, &request);
    }
}

// Moves prepared requests to the step loop; waits for one when nothing else is to do.
static void runner_collect(Runner *runner) {
    for (;;) {
        bool idle = !step_loop_busy(runner->loop) && runner->preparing_count > 0;
        Request *request;
        if (!mailbox_pop(&runner->prepared, &request, idle ? RUNNER_WAIT_MS : 0)) {
            return;
        }
        runner->preparing_count--;
        if (request->status != OK || request->unwanted) {
            runner_finished(runner, request);
        } else {
            step_loop_add(runner->loop, request);
        }
    }
}

static Status runner_loop(Runner *runner, Error *error) {
    for (;;) {
        if (interrupt_asked() || runner->stopped) {
            return error_set(error, E_CANCELLED, "interrupted");
        }
        runner_ask(runner);
        if (runner->dry && runner->preparing_count == 0 && !step_loop_busy(runner->loop)) {
            return OK;
        }
        runner_collect(runner);
        if (step_loop_busy(runner->loop)) {
            TRY(step_loop_step(runner->loop, error));
        }
        if (runner->options->tick != NULL) {
            runner->options->tick(runner->options->context);
        }
    }
}

static Status runner_open(Runner *runner, Error *error) {
    const RunnerOptions *options = runner->options;
    const Sizes *sizes = &options->runtime->sizes;
    runner->slot_count = sizes->batch + sizes->waiting;
    runner->slots = calloc(runner->slot_count, sizeof *runner->slots);
    runner->free_slots = calloc(runner->slot_count, sizeof *runner->free_slots);
    runner->threads = calloc(options->prep_threads, sizeof *runner->threads);
    if (runner->slots == NULL || runner->free_slots == NULL || runner->threads == NULL) {
        return error_set(error, E_MEMORY, "no memory for %u requests", runner->slot_count);
    }
    for (uint32_t i = 0; i < runner->slot_count; i++) {
        TRY(request_open(&runner->slots[i], sizes->images, error));
        runner_give_back(runner, &runner->slots[runner->slot_count - 1 - i]);
    }
    TRY(mailbox_open(&runner->asked, sizeof(Request *), runner->slot_count, error));
    TRY(mailbox_open(&runner->prepared, sizeof(Request *), runner->slot_count, error));
    const StepLoopOptions loop = {options->runtime, runner_text, runner_finished, runner};
    TRY(step_loop_open(&loop, &runner->loop, error));
    for (; runner->thread_count < options->prep_threads; runner->thread_count++) {
        if (uv_thread_create(&runner->threads[runner->thread_count], runner_prep_thread, runner) !=
            0) {
            return error_set(error, E_MEMORY, "no further thread can be started after %u",
                             runner->thread_count);
        }
    }
    return OK;
}

static void runner_close(Runner *runner) {
    if (runner->asked.items != NULL) {
        mailbox_close(&runner->asked);
    }
    for (uint32_t i = 0; runner->slots != NULL && i < runner->slot_count; i++) {
        runner->slots[i].unwanted = true; // what a thread still prepares is read by nobody
    }
    for (uint32_t i = 0; i < runner->thread_count; i++) {
        uv_thread_join(&runner->threads[i]);
    }
    step_loop_close(runner->loop);
    mailbox_free(&runner->asked);
    mailbox_free(&runner->prepared);
    for (uint32_t i = 0; runner->slots != NULL && i < runner->slot_count; i++) {
        request_free(&runner->slots[i], runner->options->runtime->sizes.images);
    }
    free(runner->threads);
    free(runner->free_slots);
    free(runner->slots);
}

Status runner_run(const RunnerOptions *options, StepLoopStats *stats, Error *error) {
    Runner runner = {.options = options};
    Status status = runner_open(&runner, error);
    if (status == OK) {
        status = runner_loop(&runner, error);
        *stats = step_loop_stats(runner.loop);
    }
    runner_close(&runner);
    return status;
}
