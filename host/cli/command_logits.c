// SPDX-License-Identifier: Apache-2.0
// tessera logits: the raw logits of every position of one prompt as a NumPy file.
#include "host/cli/command.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/file_write.h"
#include "base/num.h"
#include "host/cli/model_options.h"
#include "host/cli/npy.h"
#include "host/cli/summary.h"
#include "host/interrupt.h"
#include "host/request/prompt.h"

#include <stdlib.h>
#include <string.h>

enum { LOGITS_STEP_TOKENS = 128 }; // rows of a vocabulary are long: few at a time

typedef struct Logits {
    const Options *options;
    Runtime runtime;
    Patches *patches; // [image_count]
    uint32_t image_count;
    Prompt prompt;
    float *rows; // [sizes.rows][vocabulary]
} Logits;

static Status logits_images(Logits *job, Error *error) {
    const OptionValue *images = &job->options->values[OPT_IMAGE];
    job->image_count = images->list_count;
    job->patches = calloc((size_t)job->image_count + 1, sizeof *job->patches);
    if (job->patches == NULL) {
        return error_set(error, E_MEMORY, "no memory for %u pictures", job->image_count);
    }
    const MediaLimits limits = media_limits_default();
    Buffer file = {0};
    MediaScratch scratch = {0};
    Status status = OK;
    for (uint32_t i = 0; i < job->image_count && status == OK; i++) {
        buffer_clear(&file);
        status = file_read(images->list[i], limits.file_bytes_max, &file, error);
        if (status == OK) {
            status =
                media_load((Bytes){file.data, file.length}, &limits,
                           runtime_image_budget(&job->runtime), &scratch, &job->patches[i], error);
            if (status != OK) {
                error_prefix(error, status, "%s", images->list[i]);
            }
        }
    }
    media_scratch_free(&scratch);
    buffer_free(&file);
    return status;
}

static Status logits_prompt(Logits *job, Error *error) {
    const PromptMaker maker = prompt_maker(job->runtime.tokenizer, &job->runtime.weights->config);
    const OptionValue *v = job->options->values;
    if (v[OPT_TOKENS].given) {
        return prompt_ids(&maker, v[OPT_TOKENS].text, job->patches, job->image_count, &job->prompt,
                          error);
    }
    PromptScratch scratch = {0};
    Status status = prompt_verbatim(&maker, bytes_of_text(v[OPT_TEXT].text), job->patches,
                                    job->image_count, &scratch, &job->prompt, error);
    prompt_scratch_free(&scratch);
    return status;
}

static Status logits_start(Logits *job, Error *error) {
    const uint32_t tokens = job->prompt.token_count;
    const uint32_t asked = job->runtime.options.context;
    Sizes sizes = {
        .batch = 1,
        .images = job->image_count,
        .context = asked != 0 ? asked : (uint32_t)num_round_up(tokens + 1, KV_PAGE_TOKENS),
        .rows = LOGITS_STEP_TOKENS,
        .logits_all = true,
    };
    TRY(runtime_start(&job->runtime, &sizes, error));
    uint64_t count;
    const uint64_t vocab = job->runtime.weights->config.vocab_count;
    if (!num_mul(job->runtime.sizes.rows, vocab * sizeof *job->rows, &count) ||
        (job->rows = malloc((size_t)count)) == NULL) {
        return error_set(error, E_MEMORY,
                         "no memory for the logits of %u rows; lower --step-tokens",
                         job->runtime.sizes.rows);
    }
    return OK;
}

// Prefill in chunks; every chunk's logits go to the file. The last step also draws a token, which
// ends the sequence.
static Status logits_steps(Logits *job, NpyWriter *npy, Error *error) {
    Runtime *runtime = &job->runtime;
    const SequenceRequest request = {
        .tokens = job->prompt.tokens,
        .token_count = job->prompt.token_count,
        .media = job->prompt.media,
        .media_count = job->prompt.media_count,
        .new_tokens_max = 1,
        .sampling = {.top_p = 1.0f, .repetition_penalty = 1.0f},
    };
    uint64_t handle;
    TRY(sched_add(runtime->scheduler, &request, &handle, error));
    const Batch *plan;
    while ((plan = sched_plan(runtime->scheduler)) != NULL) {
        Batch batch = *plan;
        batch.all_logits = job->rows;
        StepSample sample;
        StepResult result = {.samples = &sample};
        SchedulerEvent events[2];
        Status status = engine_step(runtime->engine, &batch, &result, error);
        sched_commit(runtime->scheduler, status == OK ? &result : NULL, events, 2);
        TRY(status);
        TRY(npy_append(npy, job->rows, batch.row_count, error));
    }
    return OK;
}

static Status logits_write(Logits *job, Error *error) {
    NpyWriter npy;
    TRY(npy_open(job->options->values[OPT_OUTPUT].text, job->prompt.token_count,
                 job->runtime.weights->config.vocab_count, &npy, error));
    Status status = logits_steps(job, &npy, error);
    if (status == OK) {
        status = npy_finish(&npy, error);
    }
    npy_drop(&npy);
    return status;
}

static Exit logits_run(Logits *job, Error *error) {
    const OptionValue *v = job->options->values;
    if (v[OPT_TEXT].given == v[OPT_TOKENS].given || v[OPT_OUTPUT].text == NULL ||
        job->options->operand_count > 0) {
        error_set(error, E_ARGUMENT, "give one of --text and --tokens, and -o FILE.npy");
        return EXIT_USAGE;
    }
    RuntimeOptions options;
    Status status = model_options_runtime(job->options, &options, error);
    if (status == OK) {
        status = file_write_check(v[OPT_OUTPUT].text, error);
    }
    if (status != OK) {
        return command_start_exit(status);
    }
    options.without_text = v[OPT_TOKENS].given;
    interrupt_install_ending();
    status = runtime_open(&options, &job->runtime, error);
    if (status != OK) {
        return command_start_exit(status);
    }
    if (logits_images(job, error) != OK) {
        return EXIT_ITEMS;
    }
    status = logits_prompt(job, error);
    if (status != OK) {
        return status == E_ARGUMENT ? EXIT_USAGE : EXIT_ITEMS;
    }
    if (logits_start(job, error) != OK || logits_write(job, error) != OK) {
        return EXIT_START;
    }
    return EXIT_GOOD;
}

static void logits_summary(const Logits *job, bool good, double seconds) {
    char more[64] = "";
    if (good) {
        snprintf(more, sizeof more, "%u positions of %u tokens", job->prompt.token_count,
                 job->runtime.weights->config.vocab_count);
    }
    summary_print_file("written", good, seconds, more);
}

Exit command_logits(const Options *options) {
    Logits job = {.options = options};
    Error error = {0};
    uint64_t begin_ns = clock_ns();
    Exit result = logits_run(&job, &error);
    if (result != EXIT_GOOD) {
        command_fail("logits", &error, result);
    }
    if (result != EXIT_USAGE && !options->values[OPT_QUIET].given) {
        logits_summary(&job, result == EXIT_GOOD, (double)(clock_ns() - begin_ns) * 1e-9);
    }
    free(job.rows);
    prompt_free(&job.prompt);
    for (uint32_t i = 0; job.patches != NULL && i < job.image_count; i++) {
        patches_free(&job.patches[i]);
    }
    free(job.patches);
    runtime_close(&job.runtime);
    return result;
}
