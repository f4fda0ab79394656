// SPDX-License-Identifier: Apache-2.0
// The end of every kernel of linear: a warp has finished sums of 32 outputs (2 panels) of a token,
// one a lane, and makes them outputs. The same operations in the same order as the cpu's finish
// (cpu/linear_lanes.h, cpu/lanes.h), so equal sums give equal bits. A store writes 128 bytes. The
// 32 outputs of a warp are a chunk of logits: what the sampler wants to know of it is left here,
// where they are in registers.
#ifndef CUDA_KERNELS_LINEAR_FINISH_CUH
#define CUDA_KERNELS_LINEAR_FINISH_CUH

#include "cuda/kernels/exp.cuh"
#include "cuda/kernels/linear.h"
#include "cuda/kernels/logit_scan.cuh"

// Floats between the tokens of sums in shared memory: what the lanes (g, t) of an mma store lies in
// 32 banks, 8 t + g, and what the lanes of a finish read as well.
enum { LINEAR_SUM_PITCH = 36 };

DEVICE float linear_gelu(float x) {
    float cube = x * x * x;
    float inner = fmaf(cube, 0.044715f, x);
    return divide(x, 1.0f + exp_f32(inner * -1.5957691216057308f));
}

// cap * tanh(y) with y = x / cap and tanh(|y|) = 1 - 2 / (exp(2 |y|) + 1). The quotient leaves the
// range of divide only where it is too small to change the 1.
DEVICE float linear_soft_cap(float x, float cap) {
    float twice = x * (2.0f / cap);
    twice = twice > 80.0f ? 80.0f : twice; // a NaN stays
    twice = twice < -80.0f ? -80.0f : twice;
    float below = divide(2.0f, exp_f32(fabsf(twice)) + 1.0f);
    float capped = cap * (1.0f - below);
    return (twice < 0.0f ? 0.0f - capped : capped) + twice * 0.0f;
}

// The row of the op that a row of x belongs to.
DEVICE uint32_t linear_token(const LinearArgs &args, uint32_t row) {
    return args.pairs ? row / 2 : row;
}

// The sum of an int8x2 row from those of its parts; 128 high is exact, so it is rounded once.
DEVICE float linear_join(float high, float low) {
    return high * 128.0f + low;
}

// What the finish wants to know of a token, and of the columns of 2 panels. They are read before
// the rows of a warp are gone through: a load in every turn would keep it waiting.
typedef struct LinearRow {
    float scale, inverse_temperature;
} LinearRow;

// SCANS, here and below: whether the kernel can be asked for a scan.
template <bool SCANS> DEVICE LinearRow linear_row(const LinearArgs &args, uint32_t token) {
    bool scans = SCANS && args.scan.chunks != nullptr;
    return {args.kind == ACTIVATION_INT8 ? global_load(args.row_scales + token) : 1.0f,
            scans ? global_load(args.scan.inverse_temperature + token) : 1.0f};
}

template <bool SCANS> DEVICE uint32_t linear_suppressed(const LinearArgs &args, uint32_t panel) {
    bool scans = SCANS && args.scan.chunks != nullptr && panel * 16 < args.out_columns;
    return scans ? global_load(args.scan.suppressed + panel / 2) : 0;
}

// `sum`: of output 16 panel + lane for the token; for a gelu the even panel is gate, the odd up.
template <bool SCANS>
DEVICE void linear_finish(const LinearArgs &args, uint32_t panel, uint32_t suppressed,
                          uint32_t token, LinearRow row, float sum) {
    uint32_t lane = thread_lane();
    float value = sum * row.scale;
    uint32_t column = panel * 16 + lane;
    bool mine = true;
    if (args.gelu) {
        float up = warp_shuffle_xor(value, 16);
        value = linear_gelu(value) * up;
        column = panel * 8 + lane;
        mine = lane < 16;
    }
    mine = mine && column < args.out_columns;
    if (args.bias != nullptr && mine) {
        value = value + global_load(args.bias + column);
    }
    if (args.softcap != 0.0f) {
        value = linear_soft_cap(value, args.softcap);
    }
    // The last block may have panels beyond the columns.
    if (SCANS && args.scan.chunks != nullptr && panel * 16 < args.out_columns) {
        value = (suppressed >> lane & 1) != 0 ? -INFINITY : value;
        logit_scan_chunk(args.scan, token, panel / 2, logit_chunk_count(args.out_columns),
                         row.inverse_temperature, mine ? value : -INFINITY);
    }
    if (mine) {
        size_t to = args.out_rows != nullptr ? global_load(args.out_rows + token) : token;
        global_store(args.out + to * args.out_stride + column, value);
    }
}

// Rows [row, row + count) of x, 32 at most, whose sums lie in shared memory, written by this warp:
// row r, lane c at LINEAR_SUM_PITCH r + c.
template <class Form>
DEVICE void linear_finish_rows(const LinearArgs &args, uint32_t panel, uint32_t row, uint32_t count,
                               const float *sums) {
    warp_sync();
    uint32_t lane = thread_lane(), step = args.pairs ? 2 : 1;
    bool there = lane < count && row + lane < args.rows;
    LinearRow all = {};
    if (there) {
        all = linear_row<Form::SCANS>(args, linear_token(args, row + lane));
    }
    uint32_t suppressed = linear_suppressed<Form::SCANS>(args, panel);
    sums += lane;
    NO_UNROLL
    for (uint32_t r = 0; r < count && row + r < args.rows; r += step) {
        float sum = shared_load(sums + r * LINEAR_SUM_PITCH);
        if (args.pairs) {
            sum = linear_join(sum, shared_load(sums + (r + 1) * LINEAR_SUM_PITCH));
        }
        LinearRow one = {warp_shuffle(all.scale, (int)r),
                         warp_shuffle(all.inverse_temperature, (int)r)};
        linear_finish<Form::SCANS>(args, panel, suppressed, linear_token(args, row + r), one,
                                   sum * Form::FINISH);
    }
    warp_sync();
}

#endif
