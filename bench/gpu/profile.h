// SPDX-License-Identifier: Apache-2.0
// A CUDA backend in front of which one can choose how steps run: replayed, eagerly, or eagerly with
// a pair of events around every op, whose sum is what the kernels of a step take when nothing else
// matters. The engine does not know; results are the same.
//
// For the sum the GPU is kept busy until the step is queued, so that no op waits for the host; what
// an empty pair of events takes is subtracted from each.
#ifndef BENCH_GPU_PROFILE_H
#define BENCH_GPU_PROFILE_H

#ifdef __cplusplus
extern "C" {
#endif

#include "model/ops.h"

typedef enum ProfileMode { PROFILE_REPLAYED, PROFILE_EAGER, PROFILE_TIMED } ProfileMode;

typedef struct GpuProfile GpuProfile;

// `cuda` stays the caller's and open. `wrapped` is what the engine is opened with; it begins
// replayed. `delay_rounds` of gpu_launch_delay come before a timed step.
Status gpu_profile_open(const Backend *cuda, uint64_t delay_rounds, GpuProfile **out,
                        Backend *wrapped, Error *error);
void gpu_profile_close(GpuProfile *profile); // NULL is fine

// Forgets what was timed. Between steps only.
void gpu_profile_set(GpuProfile *profile, ProfileMode mode);

// Median over the timed steps whose first product had `rows` rows; NAN: there was none.
double gpu_profile_kernels_ms(GpuProfile *profile, uint32_t rows);

#ifdef __cplusplus
}
#endif

#endif
