// SPDX-License-Identifier: Apache-2.0
// Captioning end to end on the GPU (bench/captions.h), setting after setting, and whole decode
// steps beside the sum of their kernels. Weights of a level are made once; a setting opens the GPU
// anew, because placed weights live as long as the backend.
#include "base/check.h"
#include "base/clock.h"
#include "bench/captions.h"
#include "bench/gpu/gpu.h"
#include "bench/gpu/profile.h"
#include "bench/roofline.h"
#include "cuda/cuda.h"
#include "cuda/plan.h"
#include "weights/synthetic.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct Setting {
    WeightLevel level;
    EngineActivation activation;
    EngineKv kv;
    bool cublaslt; // bf16 products by cuBLASLt
} Setting;

// By what we most want to know, should the time not suffice; settings of a level stay together.
static const Setting settings[] = {
    {LEVEL_INT4, ENGINE_ACTIVATION_INT8, ENGINE_KV_INT8, false},
    {LEVEL_INT4, ENGINE_ACTIVATION_INT8, ENGINE_KV_BF16, false},
    {LEVEL_INT4, ENGINE_ACTIVATION_BF16, ENGINE_KV_BF16, false},
    {LEVEL_BF16, ENGINE_ACTIVATION_BF16, ENGINE_KV_BF16, false},
    {LEVEL_BF16, ENGINE_ACTIVATION_BF16, ENGINE_KV_BF16, true},
};
enum { SETTINGS = sizeof settings / sizeof *settings, STEP_DELAYS = 8 };

// One setting with its parts open.
typedef struct CaptionsRun {
    const GpuPlan *plan;
    const Setting *setting;
    const char *kernels;
    uint64_t deadline_ns;
    Backend cuda, wrapped;
    GpuProfile *profile;
    Captions captions;
    double wave_seconds; // of the last wave
    uint32_t wave_batch;
} CaptionsRun;

static void setting_name(const Setting *setting, char out[48]) {
    char name[32];
    captions_setting(setting->level, setting->activation, setting->kv, name);
    snprintf(out, 48, "%s%s", name, setting->cublaslt ? " cublaslt" : "");
}

static Row begin_row(const char *what, const char *device, const Setting *setting) {
    char name[48];
    setting_name(setting, name);
    Row row = gpu_row(what, device);
    row_text(&row, "setting", name);
    return row;
}

static void skip(const char *device, const Setting *setting, uint32_t batch, const char *why) {
    Row row = begin_row("captions", device, setting);
    if (batch > 0) {
        row_number(&row, "batch", batch);
        fprintf(stderr, "batch %3u  ", batch);
    }
    row_text(&row, "skipped", why);
    row_end(&row);
    fprintf(stderr, "skipped: %s\n", why);
}

static double mib(uint64_t bytes) {
    return (double)bytes / 1048576.0;
}

static void print_wave(const CaptionsRun *run, const CaptionsWave *wave) {
    const Captions *captions = &run->captions;
    Row row = begin_row("captions", run->cuda.device->name, run->setting);
    row_text(&row, "model", run->plan->model);
    row_number(&row, "batch", wave->batch);
    row_number(&row, "batch_max", captions->batch_max);
    row_number(&row, "prompt", captions->options.prompt);
    row_number(&row, "output", captions->options.output);
    row_number(&row, "step_rows", captions->engine_options.rows_max);
    row_number(&row, "seconds", wave->seconds);
    row_number(&row, "captions_per_second", wave->captions_per_second);
    row_number(&row, "prefill_tokens_per_second", wave->prefill_tokens_per_second);
    row_number(&row, "decode_tokens_per_second", wave->decode_tokens_per_second);
    row_number(&row, "decode_step_ms", wave->decode_step_ms);
    row_number(&row, "first_token_ms_mean", wave->first_token_ms_mean);
    row_number(&row, "first_token_ms_max", wave->first_token_ms_max);
    row_number(&row, "planned_mib", mib(captions->plan.total));
    row_number(&row, "taken_mib", mib(captions->taken_bytes));
    row_end(&row);
    fprintf(stderr,
            "batch %3u  %8.2f captions/s  prefill %8.0f tokens/s  decode %8.0f tokens/s  "
            "step %7.2f ms  first token %7.1f ms, last %7.1f\n",
            wave->batch, wave->captions_per_second, wave->prefill_tokens_per_second,
            wave->decode_tokens_per_second, wave->decode_step_ms, wave->first_token_ms_mean,
            wave->first_token_ms_max);
}

// A wave of `batch` takes at most in proportion to the last one.
static bool has_time(const CaptionsRun *run, uint32_t batch) {
    double expected =
        run->wave_batch == 0 ? 0.0 : run->wave_seconds * batch / (double)run->wave_batch;
    return clock_ns() + (uint64_t)(expected * 1e9) < run->deadline_ns;
}

static Status measure_batches(CaptionsRun *run, Error *error) {
    const GpuPlan *plan = run->plan;
    uint32_t most = run->captions.batch_max, before = 0;
    for (uint32_t b = 0; b < plan->batch_count; b++) {
        uint32_t batch = plan->batches[b] == 0 ? most : plan->batches[b];
        if (batch > most) {
            skip(run->cuda.device->name, run->setting, batch, "does not fit into the memory");
            continue;
        }
        if (batch <= before) {
            continue; // as many as fit was there already
        }
        before = batch;
        if (!has_time(run, batch)) {
            skip(run->cuda.device->name, run->setting, batch, "no time left");
            continue;
        }
        CaptionsWave wave;
        TRY(captions_wave(&run->captions, batch, &wave, error));
        run->wave_seconds = wave.seconds;
        run->wave_batch = batch;
        print_wave(run, &wave);
    }
    return OK;
}

// A timed step op by op.
static void print_step(const CaptionsRun *run, const char *what, uint32_t rows,
                       const GpuStepTimes *times, double replayed_ms, double eager_ms) {
    Row row = begin_row(what, run->cuda.device->name, run->setting);
    row_number(&row, "rows", rows);
    row_number(&row, "kernels_ms", times->kernels_ms);
    row_number(&row, "replayed_ms", replayed_ms);
    row_number(&row, "eager_ms", eager_ms);
    row_number(&row, "beyond_kernels_replayed", 1.0 - times->kernels_ms / replayed_ms);
    row_number(&row, "beyond_kernels_eager", 1.0 - times->kernels_ms / eager_ms);
    fprintf(stderr, "%s of %u rows: kernels %.2f ms", what, rows, times->kernels_ms);
    if (isfinite(replayed_ms)) {
        fprintf(stderr, ", replayed %.2f ms, eager %.2f ms", replayed_ms, eager_ms);
    }
    fputc(':', stderr);
    for (int op = 0; op < GPU_OP_COUNT; op++) {
        char name[64];
        snprintf(name, sizeof name, "%s_ms", gpu_op_name(op));
        if (times->op_ms[op] > 0.0) {
            row_number(&row, name, times->op_ms[op]);
            fprintf(stderr, " %s %.2f", gpu_op_name(op), times->op_ms[op]);
        }
    }
    fputc('\n', stderr);
    row_end(&row);
}

// Decode steps of `batch` rows, replayed and eager, beside the sum of their kernels; and the
// kernels of the step that computed one prompt whole, if there was one.
static Status measure_steps(CaptionsRun *run, uint32_t batch, Error *error) {
    Captions brief = run->captions;
    brief.options.output = run->plan->step_output;
    CaptionsWave waves[PROFILE_TIMED + 1];
    GpuStepTimes times;
    for (int mode = PROFILE_REPLAYED; mode <= PROFILE_TIMED; mode++) {
        gpu_profile_set(run->profile, (ProfileMode)mode);
        TRY(captions_wave(&brief, batch, &waves[mode], error));
    }
    if (gpu_profile_step(run->profile, batch, &times)) {
        print_step(run, "decode step", batch, &times, waves[PROFILE_REPLAYED].decode_step_ms,
                   waves[PROFILE_EAGER].decode_step_ms);
    }
    if (gpu_profile_step(run->profile, brief.options.prompt, &times)) {
        print_step(run, "prefill step", brief.options.prompt, &times, (double)NAN, (double)NAN);
    }
    gpu_profile_set(run->profile, PROFILE_REPLAYED);
    return OK;
}

static Status measure_open(CaptionsRun *run, Error *error) {
    fprintf(stderr, "memory planned %.0f MiB, taken %.0f MiB; room for %u requests at once\n",
            mib(run->captions.plan.total), mib(run->captions.taken_bytes), run->captions.batch_max);
    TRY(measure_batches(run, error));
    for (int i = 0; i < 2; i++) {
        uint32_t batch = run->plan->step_batches[i];
        if (batch > 0 && batch <= run->captions.batch_max && has_time(run, 3 * batch)) {
            TRY(measure_steps(run, batch, error));
        }
    }
    return OK;
}

static Status measure_setting(CaptionsRun *run, const Weights *weights, const char *device,
                              Error *error) {
    const GpuPlan *plan = run->plan;
    CaptionsOptions options = {.activation = run->setting->activation,
                               .kv = run->setting->kv,
                               .prompt = plan->prompt,
                               .patches = plan->patches,
                               .output = plan->output,
                               .step_rows = plan->step_rows};
    const CudaOptions cuda = {.kernels = run->kernels, .cublaslt = run->setting->cublaslt};
    Error missing = {0};
    Status status = cuda_open(&cuda, &run->cuda, &missing);
    if (status != OK && cuda.cublaslt) {
        skip(device, run->setting, 0, missing.text);
        return OK;
    }
    if (status != OK) {
        return error_set(error, status, "%s", missing.text);
    }
    status =
        gpu_profile_open(&run->cuda, weights->config.vocab_count, STEP_DELAYS * plan->delay_rounds,
                         &run->profile, &run->wrapped, error);
    if (status == OK) {
        uint64_t free_bytes = run->cuda.device->memory_bytes(run->cuda.context);
        uint32_t most =
            captions_batch_max(weights, &run->cuda, &options, cuda_plan_bytes_max(free_bytes));
        most = most < plan->batch_max ? most : plan->batch_max;
        if (most == 0) {
            skip(run->cuda.device->name, run->setting, 0, "does not fit into the memory");
        } else {
            Error refused = {0};
            status =
                captions_open(weights, &run->wrapped, &options, most, &run->captions, &refused);
            if (status == E_MEMORY) { // the plan was wrong: worth a row, and the others go on
                skip(run->cuda.device->name, run->setting, most, refused.text);
                status = OK;
            } else if (status != OK) {
                error_set(error, status, "%s", refused.text);
            } else {
                status = measure_open(run, error);
            }
            captions_close(&run->captions);
        }
    }
    gpu_profile_close(run->profile);
    run->cuda.close(run->cuda.context);
    return status;
}

// Bytes of the model's matrices at bf16, before anything is made; 0 for other levels, whose weights
// fit where anything does.
static double host_bytes(const GpuPlan *plan, WeightLevel level) {
    Gemma4Config config;
    const char *name = plan->model + strlen("synthetic:");
    if (level != LEVEL_BF16 || synthetic_config(name, &config, NULL) != OK) {
        return 0.0;
    }
    return roofline_row_ops(&config) + roofline_head_ops(&config); // two operations, two bytes
}

static double host_free_bytes(void) {
    return (double)sysconf(_SC_AVPHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
}

// Settings [first, first + count) have one level; `shared` has what they share.
static Status measure_level(const CaptionsRun *shared, uint32_t first, uint32_t count,
                            const char *device, Error *error) {
    const GpuPlan *plan = shared->plan;
    const Setting *setting = &settings[first];
    uint64_t deadline_ns = shared->deadline_ns;
    WeightsOptions options = {.level = setting->level,
                              .group = setting->level >= LEVEL_INT8 ? plan->group : 0};
    const char *why = NULL;
    if (clock_ns() >= deadline_ns) {
        why = "no time left";
    } else if (host_bytes(plan, setting->level) * 1.1 > host_free_bytes()) {
        why = "this machine has no free memory for the weights";
    }
    if (why != NULL) {
        for (uint32_t i = 0; i < count; i++) {
            skip(device, &setting[i], 0, why);
        }
        return OK;
    }
    Weights *weights;
    TRY(weights_open(plan->model, &options, &weights, error));
    Status status = OK;
    for (uint32_t i = 0; i < count && status == OK; i++) {
        CaptionsRun run = *shared;
        run.setting = &setting[i];
        char name[48];
        setting_name(&setting[i], name);
        fprintf(stderr, "\n%s, %s\n", plan->model, name);
        if (clock_ns() >= deadline_ns) {
            skip(device, &setting[i], 0, "no time left");
        } else {
            status = measure_setting(&run, weights, device, error);
        }
    }
    weights_close(weights);
    return status;
}

Status gpu_measure_captions(const GpuPlan *plan, const char *kernels, double seconds,
                            Error *error) {
    const CaptionsRun shared = {
        .plan = plan, .kernels = kernels, .deadline_ns = clock_ns() + (uint64_t)(seconds * 1e9)};
    char device[300];
    Backend cuda;
    TRY(cuda_open(&(CudaOptions){0}, &cuda, error));
    snprintf(device, sizeof device, "%s", cuda.device->name);
    cuda.close(cuda.context);
    for (uint32_t first = 0, count; first < SETTINGS; first += count) {
        for (count = 1; first + count < SETTINGS; count++) {
            if (settings[first + count].level != settings[first].level) {
                break;
            }
        }
        TRY(measure_level(&shared, first, count, device, error));
    }
    return OK;
}
