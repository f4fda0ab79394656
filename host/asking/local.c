// SPDX-License-Identifier: Apache-2.0
#include "host/asking/local.h"

#include "base/check.h"
#include "base/num.h"
#include "host/asking/asker_way.h"
#include "host/asking/step_loop.h"
#include "host/interrupt.h"
#include "host/request/prep_pool.h"

#include <stdlib.h>

enum {
    LOCAL_WAIT_MS = 100,     // how soon an interruption is noticed while nothing runs
    LOCAL_LOGITS_ROWS = 128, // of a step: rows of a vocabulary are long
};

typedef struct LocalAsker {
    Asker base;
    Runtime runtime;
    PromptMaker maker;
    uint32_t prep_threads;
    AskerNeed need;
    uint32_t answer_tokens; // of one request, at most
} LocalAsker;

typedef struct LocalRun {
    LocalAsker *asker;
    const AskerRun *calls;
    uint32_t request_count;
    Request *requests; // [request_count]
    PrepWork *works;   // [request_count] of the request with the same index
    Request **unused;  // [request_count] stack
    uint32_t unused_count;
    uint32_t preparing_count;
    PrepPool pool;
    StepLoop *loop; // NULL: the engine is not started yet
    bool dry;       // there are no more questions
    bool stopped;   // a callback said so
} LocalRun;

// ---- Sizes --------------------------------------------------------------------------------------

static ServingSizes local_sizes(const LocalAsker *self, uint32_t prompt_tokens) {
    const RuntimeOptions *options = &self->runtime.options;
    const AskerNeed *need = &self->need;
    ServingSizes sizes = {
        .batch = (uint32_t)num_min(options->batch, need->requests),
        .batch_least = options->batch_given ? 0 : 1,
        .media = need->media,
        .context = options->context,
        .rows = need->logits ? LOCAL_LOGITS_ROWS : 0,
        .logits_all = need->logits,
    };
    sizes.waiting = (uint32_t)num_min(sizes.batch / 2 + 2 * self->prep_threads, need->requests);
    if (sizes.context == 0) {
        sizes.context =
            (uint32_t)num_round_up((size_t)prompt_tokens + self->answer_tokens, KV_PAGE_TOKENS);
    }
    return sizes;
}

static Status local_start(Asker *asker, const AskerNeed *need, Error *error) {
    LocalAsker *self = (LocalAsker *)asker;
    uint32_t prompt_tokens;
    self->need = *need;
    self->need.question = NULL;
    self->answer_tokens = need->question->new_tokens_max;
    if (need->logits) {
        return OK; // local_add starts the engine
    }
    TRY(prompt_count(&self->maker, need->question, need->media, &prompt_tokens, error));
    const ServingSizes sizes = local_sizes(self, prompt_tokens);
    return runtime_start(&self->runtime, &sizes, error);
}

// ---- A run --------------------------------------------------------------------------------------

static void local_give_back(LocalRun *run, Request *request) {
    run->unused[run->unused_count++] = request;
}

static void local_finished(void *context, Request *request) {
    LocalRun *run = context;
    bool dropped = run->stopped || (run->loop != NULL && step_loop_failed(run->loop));
    if (!dropped && !run->calls->finished(run->calls->context, request)) {
        run->stopped = true;
    }
    local_give_back(run, request);
}

static void local_text(void *context, Request *request, AnswerPart part, Bytes text) {
    LocalRun *run = context;
    if (run->calls->text != NULL && !run->calls->text(run->calls->context, request, part, text)) {
        run->stopped = true;
    }
}

static void local_rows(void *context, const Request *request, const float *logits,
                       uint32_t row_count) {
    LocalRun *run = context;
    if (!run->stopped && !run->calls->rows(run->calls->context, request, logits, row_count)) {
        run->stopped = true;
    }
}

static Status local_open_loop(LocalRun *run, Error *error) {
    const StepLoopOptions options = {
        .runtime = &run->asker->runtime,
        .text = local_text,
        .finished = local_finished,
        .rows = run->calls->rows != NULL ? local_rows : NULL,
        .context = run,
    };
    return step_loop_open(&options, &run->loop, error);
}

// A prepared request: to the step loop, or to its end.
static Status local_add(LocalRun *run, Request *request, Error *error) {
    if (request->status != OK || request->unwanted) {
        local_finished(run, request);
        return OK;
    }
    if (run->loop == NULL) {
        const ServingSizes sizes = local_sizes(run->asker, request->prompt.token_count);
        TRY(runtime_start(&run->asker->runtime, &sizes, error));
        TRY(local_open_loop(run, error));
    }
    step_loop_add(run->loop, request);
    return OK;
}

static bool local_busy(const LocalRun *run) {
    return run->loop != NULL && step_loop_busy(run->loop);
}

static void local_ask(LocalRun *run) {
    while (!run->dry && run->unused_count > 0) {
        Request *request = run->unused[run->unused_count - 1];
        if (!run->calls->next(run->calls->context, request)) {
            run->dry = true;
            return;
        }
        run->unused_count--;
        run->preparing_count++;
        request->unwanted = false;
        prep_pool_push(&run->pool, &run->works[request - run->requests]);
    }
}

// Moves prepared requests to the step loop; waits for one when nothing else is to do.
static Status local_collect(LocalRun *run, Error *error) {
    for (;;) {
        bool idle = !local_busy(run) && run->preparing_count > 0;
        PrepWork *work = prep_pool_wait(&run->pool, idle ? LOCAL_WAIT_MS : 0);
        if (work == NULL) {
            return OK;
        }
        run->preparing_count--;
        TRY(local_add(run, work->request, error));
    }
}

static Status local_loop(LocalRun *run, Error *error) {
    for (;;) {
        if (interrupt_asked() || run->stopped) {
            return error_set(error, E_CANCELLED, "interrupted");
        }
        local_ask(run);
        if (run->dry && run->preparing_count == 0 && !local_busy(run)) {
            return OK;
        }
        TRY(local_collect(run, error));
        if (local_busy(run)) {
            TRY(step_loop_step(run->loop, error));
        }
        if (run->calls->tick != NULL) {
            run->calls->tick(run->calls->context);
        }
    }
}

static Status local_open_requests(LocalRun *run, Error *error) {
    const LocalAsker *self = run->asker;
    run->request_count =
        self->need.logits ? 1 : self->runtime.sizes.batch + self->runtime.sizes.waiting;
    run->requests = calloc(run->request_count, sizeof *run->requests);
    run->works = calloc(run->request_count, sizeof *run->works);
    run->unused = calloc(run->request_count, sizeof *run->unused);
    if (run->requests == NULL || run->works == NULL || run->unused == NULL) {
        return error_set(error, E_MEMORY, "no memory for %u requests", run->request_count);
    }
    for (uint32_t i = run->request_count; i-- > 0;) {
        TRY(request_open(&run->requests[i], self->need.media, error));
        run->works[i] = (PrepWork){.kind = WORK_PREPARE, .request = &run->requests[i]};
        local_give_back(run, &run->requests[i]);
    }
    return OK;
}

static Status local_open_run(LocalRun *run, Error *error) {
    const LocalAsker *self = run->asker;
    TRY(local_open_requests(run, error));
    if (!self->need.logits) {
        TRY(local_open_loop(run, error));
    }
    const PrepPoolOptions pool = {
        .rules = {&self->maker, media_limits_default(), run->calls->wanted, run->calls->context},
        .threads = (uint32_t)num_min(self->prep_threads, run->request_count),
        .work_max = run->request_count,
    };
    return prep_pool_open(&run->pool, &pool, error);
}

static void local_close_run(LocalRun *run) {
    for (uint32_t i = 0; run->requests != NULL && i < run->request_count; i++) {
        run->requests[i].unwanted = true; // what a thread still prepares is read by nobody
    }
    prep_pool_close(&run->pool);
    step_loop_close(run->loop);
    for (uint32_t i = 0; run->requests != NULL && i < run->request_count; i++) {
        request_free(&run->requests[i], run->asker->need.media);
    }
    free(run->unused);
    free(run->works);
    free(run->requests);
}

static Status local_run(Asker *asker, const AskerRun *calls, AskerStats *stats, Error *error) {
    LocalRun run = {.asker = (LocalAsker *)asker, .calls = calls};
    Status status = local_open_run(&run, error);
    if (status == OK) {
        status = local_loop(&run, error);
    }
    if (run.loop != NULL) {
        *stats = step_loop_stats(run.loop);
    }
    local_close_run(&run);
    return status;
}

// ---- Open and close -----------------------------------------------------------------------------

static void local_close(Asker *asker) {
    LocalAsker *self = (LocalAsker *)asker;
    runtime_close(&self->runtime);
    free(self);
}

static const AskerWay local_way = {local_start, local_run, local_close};

Status asker_open_local(const AskerLocalOptions *options, Asker **out, Error *error) {
    *out = NULL;
    LocalAsker *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return error_set(error, E_MEMORY, "no memory to open a model");
    }
    Status status = runtime_open(&options->runtime, &self->runtime, error);
    if (status != OK) {
        local_close(&self->base);
        return status;
    }
    self->base = (Asker){&local_way, model_facts_local(&self->runtime)};
    self->maker = prompt_maker(self->runtime.tokenizer, &self->runtime.weights->config);
    self->prep_threads = options->prep_threads != 0
                             ? options->prep_threads
                             : (uint32_t)num_max(uv_available_parallelism() / 4, 1);
    *out = &self->base;
    return OK;
}

Runtime *local_runtime(Asker *asker) {
    return &((LocalAsker *)asker)->runtime;
}
