// SPDX-License-Identifier: Apache-2.0
#include "bench/gpu/profile.h"

#include "bench/gpu/machine.h"

#include <math.h>
#include <stdlib.h>

enum { PAIRS_MAX = 2048, STEPS_MAX = 1024, EMPTY_PAIRS = 9 };

struct GpuProfile {
    Backend inner;
    CudaContext *context;
    DeviceTable device;
    uint32_t vocab_count;
    uint64_t delay_rounds;
    ProfileMode mode;
    double empty_ms; // of a pair with nothing between
    cudaEvent_t begin[PAIRS_MAX], end[PAIRS_MAX];
    GpuOp op[PAIRS_MAX];             // whose pair it is
    uint32_t pair_count, first_rows; // of the step that is being queued
    GpuStepTimes steps[STEPS_MAX];
    uint32_t steps_rows[STEPS_MAX], step_count;
};

const char *gpu_op_name(GpuOp op) {
    static const char *const names[GPU_OP_COUNT] = {
#define OP(name, arguments, text) #name,
#include "model/ops.def"
#undef OP
        "lm_head",
    };
    return names[op];
}

static GpuProfile *profile_of(void *context) {
    return (GpuProfile *)context;
}

// ---- Ops ----------------------------------------------------------------------------------------

static Status mark(GpuProfile *profile, const cudaEvent_t *events) {
    return cuda_launched(profile->context, "event",
                         cudaEventRecord(events[profile->pair_count], profile->context->stream));
}

static Status delay(GpuProfile *profile) {
    CudaContext *context = profile->context;
    return cuda_launched(
        context, "gpu_peak_int8",
        gpu_launch_delay(context, (uint32_t *)context->scratch, profile->delay_rounds));
}

// Whether this op gets a pair of events; then its first one is recorded.
static Status op_begin(GpuProfile *profile, GpuOp op, bool *timed) {
    *timed = profile->mode == PROFILE_TIMED && profile->pair_count < PAIRS_MAX;
    if (!*timed) {
        return OK;
    }
    profile->op[profile->pair_count] = op;
    if (profile->pair_count == 0) {
        TRY(delay(profile));
    }
    return mark(profile, profile->begin);
}

static Status op_end(GpuProfile *profile, bool timed) {
    if (!timed) {
        return OK;
    }
    TRY(mark(profile, profile->end));
    profile->pair_count++;
    return OK;
}

#define OP(name, arguments, text)                                                                  \
    static Status profile_##name(void *context, const arguments *op) {                             \
        GpuProfile *profile = profile_of(context);                                                 \
        bool timed = false;                                                                        \
        TRY(op_begin(profile, GPU_OP_##name, &timed));                                             \
        TRY(profile->inner.ops->name(profile->inner.context, op));                                 \
        return op_end(profile, timed);                                                             \
    }
#include "model/ops.def"
#undef OP

static Status profile_any_linear(void *context, const OpLinear *op) {
    GpuProfile *profile = profile_of(context);
    uint32_t pair = profile->pair_count;
    profile->first_rows = profile->first_rows == 0 ? op->row_count : profile->first_rows;
    Status status = profile_linear(context, op);
    if (op->out_columns == profile->vocab_count && profile->pair_count > pair) {
        profile->op[pair] = GPU_OP_lm_head;
    }
    return status;
}

static const OpTable profile_ops = {
#define OP(name, arguments, text) profile_##name,
#include "model/ops.def"
#undef OP
};

// ---- Device -------------------------------------------------------------------------------------

#define INNER(context) (profile_of(context)->inner)

static void *device_take(void *context, size_t bytes) {
    return INNER(context).device->take(INNER(context).context, bytes);
}

static void device_give(void *context, void *memory) {
    INNER(context).device->give(INNER(context).context, memory);
}

static void *device_take_host(void *context, size_t bytes) {
    return INNER(context).device->take_host(INNER(context).context, bytes);
}

static void device_give_host(void *context, void *memory) {
    INNER(context).device->give_host(INNER(context).context, memory);
}

static Status device_upload(void *context, void *to, const void *from, size_t bytes) {
    return INNER(context).device->upload(INNER(context).context, to, from, bytes);
}

static Status device_download(void *context, void *to, const void *from, size_t bytes) {
    return INNER(context).device->download(INNER(context).context, to, from, bytes);
}

static void device_expect_weights(void *context, uint64_t bytes) {
    INNER(context).device->expect_weights(INNER(context).context, bytes);
}

static Status device_place_matrix(void *context, const Matrix *host, Matrix *out) {
    return INNER(context).device->place_matrix(INNER(context).context, host, out);
}

static Status device_place_floats(void *context, const float *host, size_t count,
                                  const float **out) {
    return INNER(context).device->place_floats(INNER(context).context, host, count, out);
}

static uint64_t device_memory_bytes(void *context) {
    return INNER(context).device->memory_bytes(INNER(context).context);
}

static Status keep_step(GpuProfile *profile, Error *error) {
    GpuStepTimes times = {};
    for (uint32_t i = 0; i < profile->pair_count; i++) {
        float milliseconds = 0.0f;
        CU(cudaEventElapsedTime(&milliseconds, profile->begin[i], profile->end[i]));
        double taken = fmax(0.0, (double)milliseconds - profile->empty_ms);
        times.kernels_ms += taken;
        times.op_ms[profile->op[i]] += taken;
    }
    if (profile->pair_count > 0 && profile->step_count < STEPS_MAX) {
        profile->steps[profile->step_count] = times;
        profile->steps_rows[profile->step_count++] = profile->first_rows;
    }
    return OK;
}

static Status device_wait(void *context, Error *error) {
    GpuProfile *profile = profile_of(context);
    TRY(profile->inner.device->wait(profile->inner.context, error));
    Status status = keep_step(profile, error);
    profile->pair_count = profile->first_rows = 0;
    return status;
}

static Status device_mark(void *context, uint32_t mark) {
    return INNER(context).device->mark(INNER(context).context, mark);
}

// The end of a step; of timed ones there is never more than one under way.
static Status device_reach(void *context, uint32_t mark) {
    return profile_of(context)->mode == PROFILE_TIMED
               ? device_wait(context, NULL)
               : INNER(context).device->reach(INNER(context).context, mark);
}

// ---- Recorded steps: as the inner ones, or ops that run at once under their names ---------------

static bool graph_has(void *context, uint64_t key) {
    return profile_of(context)->mode == PROFILE_REPLAYED &&
           INNER(context).device->graphs->has(INNER(context).context, key);
}

static Status graph_begin(void *context) {
    return profile_of(context)->mode != PROFILE_REPLAYED
               ? OK
               : INNER(context).device->graphs->begin(INNER(context).context);
}

static Status graph_end(void *context, uint64_t key) {
    return profile_of(context)->mode != PROFILE_REPLAYED
               ? OK
               : INNER(context).device->graphs->end(INNER(context).context, key);
}

static Status graph_launch(void *context, uint64_t key) {
    return profile_of(context)->mode != PROFILE_REPLAYED
               ? OK
               : INNER(context).device->graphs->launch(INNER(context).context, key);
}

static void graph_forget(void *context) {
    INNER(context).device->graphs->forget(INNER(context).context);
}

static const GraphTable profile_graphs = {graph_has, graph_begin, graph_end, graph_launch,
                                          graph_forget};

// ---- Open and close -----------------------------------------------------------------------------

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static Status measure_empty(GpuProfile *profile, Error *error) {
    double times[EMPTY_PAIRS];
    TRY(delay(profile));
    for (profile->pair_count = 0; profile->pair_count < EMPTY_PAIRS; profile->pair_count++) {
        TRY(mark(profile, profile->begin));
        TRY(mark(profile, profile->end));
    }
    profile->pair_count = 0;
    CU(cudaStreamSynchronize(profile->context->stream));
    for (uint32_t i = 0; i < EMPTY_PAIRS; i++) {
        float milliseconds = 0.0f;
        CU(cudaEventElapsedTime(&milliseconds, profile->begin[i], profile->end[i]));
        times[i] = milliseconds;
    }
    qsort(times, EMPTY_PAIRS, sizeof *times, compare_doubles);
    profile->empty_ms = times[EMPTY_PAIRS / 2];
    return OK;
}

static Status take(GpuProfile *profile, Error *error) {
    for (uint32_t i = 0; i < PAIRS_MAX; i++) {
        CU(cudaEventCreate(&profile->begin[i]));
        CU(cudaEventCreate(&profile->end[i]));
    }
    return measure_empty(profile, error);
}

static void fill_device(GpuProfile *profile) {
    DeviceTable *device = &profile->device;
    device->name = profile->inner.device->name;
    device->overlaps = profile->inner.device->overlaps;
    device->scans = profile->inner.device->scans;
    device->take = device_take;
    device->give = device_give;
    device->take_host = device_take_host;
    device->give_host = device_give_host;
    device->upload = device_upload;
    device->download = device_download;
    device->wait = device_wait;
    device->mark = device_mark;
    device->reach = device_reach;
    device->kv_page_bytes = profile->inner.device->kv_page_bytes;
    device->expect_weights = device_expect_weights;
    device->place_matrix = device_place_matrix;
    device->place_floats = device_place_floats;
    device->memory_bytes = device_memory_bytes;
    device->graphs = &profile_graphs;
}

Status gpu_profile_open(const Backend *cuda, uint32_t vocab_count, uint64_t delay_rounds,
                        GpuProfile **out, Backend *wrapped, Error *error) {
    static OpTable ops;
    ops = profile_ops;
    ops.linear = profile_any_linear;
    *out = NULL;
    GpuProfile *profile = (GpuProfile *)calloc(1, sizeof *profile);
    if (profile == NULL) {
        return error_set(error, E_MEMORY, "no memory for the profile");
    }
    profile->inner = *cuda;
    profile->context = (CudaContext *)cuda->context;
    profile->vocab_count = vocab_count;
    profile->delay_rounds = delay_rounds;
    fill_device(profile);
    Status status = take(profile, error);
    if (status != OK) {
        gpu_profile_close(profile);
        return status;
    }
    *wrapped = {&ops, &profile->device, profile, NULL};
    *out = profile;
    return OK;
}

void gpu_profile_close(GpuProfile *profile) {
    for (uint32_t i = 0; profile != NULL && i < PAIRS_MAX; i++) {
        if (profile->begin[i] != NULL) {
            cudaEventDestroy(profile->begin[i]);
        }
        if (profile->end[i] != NULL) {
            cudaEventDestroy(profile->end[i]);
        }
    }
    free(profile);
}

void gpu_profile_set(GpuProfile *profile, ProfileMode mode) {
    profile->mode = mode;
    profile->device.overlaps = profile->inner.device->overlaps && mode != PROFILE_TIMED;
    profile->step_count = profile->pair_count = profile->first_rows = 0;
}

static int compare_steps(const void *a, const void *b) {
    return compare_doubles(&((const GpuStepTimes *)a)->kernels_ms,
                           &((const GpuStepTimes *)b)->kernels_ms);
}

bool gpu_profile_step(const GpuProfile *profile, uint32_t rows, GpuStepTimes *out) {
    static GpuStepTimes found[STEPS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < profile->step_count; i++) {
        if (profile->steps_rows[i] == rows) {
            found[count++] = profile->steps[i];
        }
    }
    qsort(found, count, sizeof *found, compare_steps);
    if (count > 0) {
        *out = found[count / 2];
    }
    return count > 0;
}
