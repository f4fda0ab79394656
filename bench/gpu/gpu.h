// SPDX-License-Identifier: Apache-2.0
// `tessera bench gpu`: what an NVIDIA GPU gives, part by part. Ceilings are measured first (copy
// and read bandwidth, mma peaks) and everything after them is a share of them. Kernels are timed
// between CUDA events, the median of several rounds, and every launch takes the next copy of its
// weights or pages, so that nothing is found in L2. The same code runs under the emulator with the
// tiny plan, where its times mean nothing and its rows say so.
#ifndef BENCH_GPU_GPU_H
#define BENCH_GPU_GPU_H

#ifdef __cplusplus
extern "C" {
#endif

#include "bench/row.h"
#include "model/ops.h"

typedef struct GpuLinearShape {
    const char *name;
    uint32_t rows, columns; // of the weights: outputs, inputs
    LinearEpilogue epilogue;
    bool head; // int8 or bf16 only, few rows only
} GpuLinearShape;

typedef struct GpuAttentionCase {
    const char *name;
    LayerShape shape;
    uint32_t cached, rows, batch; // positions before the step, rows of each of `batch` sequences
} GpuAttentionCase;

// What is measured and how long.
typedef struct GpuPlan {
    const char *name;
    const GpuLinearShape *shapes;
    uint32_t shape_count;
    const uint32_t *row_counts;              // M, ascending
    uint32_t row_count_count, head_rows_max; // of what has `head`
    const GpuAttentionCase *attention;
    uint32_t attention_count, window;
    uint32_t group;
    size_t arena_bytes;   // device memory for copies of weights and pages, at most half of what is
                          // free
    uint64_t peak_rounds; // of the loops that measure the mma peaks
    uint32_t rounds;      // the median of so many counts
    uint32_t tune_launches; // of each kernel at each shape
    double round_ms;        // about how long one is
    // End to end.
    const char *model; // synthetic
    uint32_t prompt, patches, output, step_rows;
    const uint32_t *batches; // ascending; 0, the last: as many as fit, at most batch_max
    uint32_t batch_count, batch_max;
    uint32_t step_batches[2]; // at which whole steps are held against their kernels; 0: none
    uint32_t step_output;     // tokens of the answers there
    uint64_t delay_rounds;    // of mma by which the GPU is kept busy, about a millisecond
} GpuPlan;

extern const GpuPlan gpu_plan_12b;  // the shapes of the 12B
extern const GpuPlan gpu_plan_tiny; // every part in seconds on the emulator

typedef struct GpuCeilings {
    double copy_gbs, read_gbs;     // 10^9 bytes a second; a copied byte counts twice
    double bandwidth_gbs;          // the larger of the two
    double bf16_tflops, int8_tops; // of mma.sync with f32 and s32 sums, random operands
} GpuCeilings;

typedef struct GpuBench GpuBench;

// Takes the GPU and the arena. `kernels`: a file of kernel choices or NULL. E_* of cuda_open;
// E_MEMORY.
Status gpu_bench_open(const GpuPlan *plan, const char *kernels, GpuBench **out, Error *error);
void gpu_bench_close(GpuBench *bench);

// Each prints rows on stdout and a table on stderr. The first must have run before the others.
Status gpu_measure_ceilings(GpuBench *bench, Error *error);
Status gpu_measure_linear(GpuBench *bench, Error *error);
Status gpu_measure_attention(GpuBench *bench, Error *error);

// Measures every kernel of linear that fits a shape of the plan, for every bucket of rows up to the
// plan's most, and writes the choices to `path`.
Status gpu_tune(GpuBench *bench, const char *path, Error *error);

// Captioning end to end, with whole steps beside the sum of their kernels. Opens the GPU by itself,
// so nobody else may hold it; settings that no longer fit `seconds` get a row that says so.
Status gpu_measure_captions(const GpuPlan *plan, const char *kernels, double seconds, Error *error);

// The driver's name of the card in a DeviceTable's name of the device.
const char *gpu_card_name(const char *device_name);

// A row with "gpu", the card's name; under the emulator also with "measured", which says no.
Row gpu_row(const char *what, const char *device_name);

#ifdef __cplusplus
}
#endif

#endif
