// SPDX-License-Identifier: Apache-2.0
// linear for every level and activation kind, in f32: the arithmetic of truth mode (f32
// activations) and of matrices stored in f32. One fmaf per product, ascending k: the bits of the
// cpu's float family.
//
//   tile     64 outputs x 32 tokens, 32 columns at a time; 256 threads, each 2 x 4 sums
//   shared   w f32 [32][80]: output c of column k at 80 k + c, so that a warp's two stores of 16
//            lie in different banks; x f32 [32][32]; 14,336 bytes
//   work     8 fmaf for 2 + 4/4 shared reads; weights are decoded once per 32 tokens
// promise: spills 0, calls 0
#include "cuda/kernels/linear_finish.cuh"

enum { PLAIN_THREADS = 256, PLAIN_OUTPUTS = 64, PLAIN_TOKENS = 32, PLAIN_K = 32, PLAIN_PITCH = 80 };
enum { PLAIN_SHARED = (PLAIN_K * PLAIN_PITCH + PLAIN_TOKENS * PLAIN_K) * 4 };

DEVICE float plain_input(const LinearArgs &args, uint32_t token, uint32_t k) {
    size_t at = (size_t)token * args.stride + k;
    switch (args.kind) {
    case ACTIVATION_F32:
        return global_load((const float *)args.x + at);
    case ACTIVATION_BF16:
        return bf16_to_float(global_load((const uint16_t *)args.x + at));
    default:
        return (float)global_load((const int8_t *)args.x + at);
    }
}

DEVICE void plain_load(const LinearArgs &args, uint32_t panel, uint32_t token, uint32_t k, float *w,
                       float *x) {
    for (uint32_t e = thread_index(); e < PLAIN_OUTPUTS * PLAIN_K; e += PLAIN_THREADS) {
        uint32_t c = e % 16, column = e / 16 % PLAIN_K, q = e / (16 * PLAIN_K);
        bool there = panel + q < args.weight.panels;
        float value = there ? weight_value(args.weight, (panel + q) * 16 + c, k + column) : 0.0f;
        shared_store(w + column * PLAIN_PITCH + q * 16 + c, value);
    }
    for (uint32_t e = thread_index(); e < PLAIN_TOKENS * PLAIN_K; e += PLAIN_THREADS) {
        uint32_t column = e % PLAIN_K, row = token + e / PLAIN_K;
        shared_store(x + e, row < args.rows ? plain_input(args, row, k + column) : 0.0f);
    }
}

// sums[i][h] for tokens 4 warp + i and outputs 32 h + lane.
DEVICE void plain_multiply(const float *w, const float *x, float sums[4][2]) {
    w += thread_lane();
    x += thread_warp() * 4 * PLAIN_K;
    for (int k = 0; k < PLAIN_K; k += 4) {
        Vector16 values[4];
        for (int i = 0; i < 4; i++) {
            values[i] = shared_load((const Vector16 *)(x + i * PLAIN_K + k));
        }
        UNROLL
        for (int j = 0; j < 4; j++) {
            float first = shared_load(w + (k + j) * PLAIN_PITCH);
            float second = shared_load(w + (k + j) * PLAIN_PITCH + 32);
            for (int i = 0; i < 4; i++) {
                float value = bits_to_float(values[i].word[j]);
                sums[i][0] = fmaf(first, value, sums[i][0]);
                sums[i][1] = fmaf(second, value, sums[i][1]);
            }
        }
    }
}

KERNEL void KERNEL_BOUNDS(PLAIN_THREADS, 2) linear_plain_any(LinearArgs args) {
    float *w = (float *)shared_base(), *x = w + PLAIN_K * PLAIN_PITCH;
    uint32_t panel = block_y() * (PLAIN_OUTPUTS / 16), token = block_x() * PLAIN_TOKENS;
    float sums[4][2] = {};
    for (uint32_t k = 0; k < args.weight.columns; k += PLAIN_K) {
        block_sync();
        plain_load(args, panel, token, k, w, x);
        block_sync();
        plain_multiply(w, x, sums);
    }
    if (args.pairs) {
        for (int i = 0; i < 4; i += 2) {
            for (int h = 0; h < 2; h++) {
                sums[i][h] = linear_join(sums[i][h], sums[i + 1][h]);
            }
        }
    }
    const uint32_t suppressed[2] = {linear_suppressed<true>(args, panel),
                                    linear_suppressed<true>(args, panel + 2)};
    UNROLL
    for (int i = 0; i < 4; i++) {
        uint32_t mine = token + thread_warp() * 4 + (uint32_t)i;
        if (mine < args.rows && !(args.pairs && i % 2 == 1)) {
            uint32_t to = linear_token(args, mine);
            LinearRow row = linear_row<true>(args, to);
            UNROLL
            for (uint32_t h = 0; h < 2; h++) {
                linear_finish<true>(args, panel + 2 * h, suppressed[h], to, row, sums[i][h]);
            }
        }
    }
}

static cudaError_t launch_plain(const CudaContext *context, const LinearArgs *args) {
    dim3 grid((unsigned)num_ceil_div(args->rows, PLAIN_TOKENS),
              (unsigned)num_ceil_div(args->weight.panels * 16, PLAIN_OUTPUTS));
    return LAUNCH(linear_plain_any, grid, PLAIN_THREADS, PLAIN_SHARED, context->stream, *args);
}

const LinearVariant linear_plain_variant = {
    "linear_plain_any", LEVEL_F32,    ACTIVATION_F32, 0,
    PLAIN_OUTPUTS,      PLAIN_TOKENS, false,          launch_plain};
