// SPDX-License-Identifier: Apache-2.0
// A CUDA backend in front of which one can choose how steps run: replayed, eagerly, or eagerly with
// a pair of events around every op, whose sum is what the kernels of a step take when nothing else
// matters. The engine does not know; results are the same.
//
// For the sum the GPU is kept busy until the step is queued, so that no op waits for the host, and
// there is one step under way at a time; what an empty pair of events takes is subtracted from
// each.
#ifndef BENCH_GPU_PROFILE_H
#define BENCH_GPU_PROFILE_H

#ifdef __cplusplus
extern "C" {
#endif

#include "model/ops.h"

typedef enum ProfileMode { PROFILE_REPLAYED, PROFILE_EAGER, PROFILE_TIMED } ProfileMode;

// Ops as they are summed up; the product with the vocabulary is apart from the others.
typedef enum GpuOp {
#define OP(name, arguments, text) GPU_OP_##name,
#include "model/ops.def"
#undef OP
    GPU_OP_lm_head,
    GPU_OP_COUNT
} GpuOp;

const char *gpu_op_name(GpuOp op);

typedef struct GpuProfile GpuProfile;

// Milliseconds of a step, of all its kernels and op by op.
typedef struct GpuStepTimes {
    double kernels_ms;
    double op_ms[GPU_OP_COUNT];
} GpuStepTimes;

// `cuda` stays the caller's and open. `wrapped` is what the engine is opened with; it begins
// replayed. `delay_rounds` of gpu_launch_delay come before a timed step.
Status gpu_profile_open(const Backend *cuda, uint32_t vocab_count, uint64_t delay_rounds,
                        GpuProfile **out, Backend *wrapped, Error *error);
void gpu_profile_close(GpuProfile *profile); // NULL is fine

// Forgets what was timed. Between steps only.
void gpu_profile_set(GpuProfile *profile, ProfileMode mode);

// The step in the middle of the timed ones whose first product had `rows` rows, by the sum of its
// kernels. False: there was none.
bool gpu_profile_step(const GpuProfile *profile, uint32_t rows, GpuStepTimes *out);

#ifdef __cplusplus
}
#endif

#endif
