// SPDX-License-Identifier: Apache-2.0
// ldmatrix and mma for a whole warp at once, straight from the index formulas of prim.cuh.
#include "tests/simt/prim_simt.h"

static uint16_t matrix_element(void *const args[32], int matrix, int row, int column) {
    const SimtMatrixLoad *load = static_cast<const SimtMatrixLoad *>(args[matrix * 8 + row]);
    uint16_t value;
    memcpy(&value, (const unsigned char *)load->row + column * 2, sizeof value);
    return value;
}

static void run_ldmatrix(void *const args[32], bool transposed) {
    uint32_t out[32][4];
    for (int lane = 0; lane < 32; lane++) {
        int g = lane / 4, t = lane % 4;
        for (int j = 0; j < 4; j++) {
            uint16_t low =
                transposed ? matrix_element(args, j, 2 * t, g) : matrix_element(args, j, g, 2 * t);
            uint16_t high = transposed ? matrix_element(args, j, 2 * t + 1, g)
                                       : matrix_element(args, j, g, 2 * t + 1);
            out[lane][j] = (uint32_t)low | (uint32_t)high << 16;
        }
    }
    for (int lane = 0; lane < 32; lane++) {
        memcpy(static_cast<SimtMatrixLoad *>(args[lane])->r, out[lane], sizeof out[lane]);
    }
}

void simt_run_ldmatrix(void *const args[32]) {
    run_ldmatrix(args, false);
}

void simt_run_ldmatrix_trans(void *const args[32]) {
    run_ldmatrix(args, true);
}

void simt_run_mma_s8(void *const args[32]) {
    int8_t a[16][32], b[8][32];
    for (int lane = 0; lane < 32; lane++) {
        const SimtMmaS8 *mma = static_cast<const SimtMmaS8 *>(args[lane]);
        int g = lane / 4, t = lane % 4;
        for (int r = 0; r < 4; r++) {
            memcpy(&a[g + 8 * (r % 2)][4 * t + 16 * (r / 2)], &mma->a[r], 4);
        }
        for (int r = 0; r < 2; r++) {
            memcpy(&b[g][4 * t + 16 * r], &mma->b[r], 4);
        }
    }
    int32_t sums[16][8];
    for (int m = 0; m < 16; m++) {
        for (int n = 0; n < 8; n++) {
            int32_t sum = 0; // 32 products of at most 2^14: no overflow
            for (int k = 0; k < 32; k++) {
                sum += a[m][k] * b[n][k];
            }
            sums[m][n] = sum;
        }
    }
    for (int lane = 0; lane < 32; lane++) {
        const SimtMmaS8 *mma = static_cast<const SimtMmaS8 *>(args[lane]);
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; i++) { // wraps, as the instruction without .satfinite does
            uint32_t sum = (uint32_t)mma->c[i] + (uint32_t)sums[g + 8 * (i / 2)][2 * t + i % 2];
            mma->d[i] = (int32_t)sum;
        }
    }
}

static float bf16_half(uint32_t pair, int half) {
    uint32_t bits = (half == 0 ? pair << 16 : pair & 0xffff0000u);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float f16_half(uint32_t pair, int half) {
    return f16_to_f32((uint16_t)(pair >> 16 * half));
}

static void run_mma_16(void *const args[32], float (*widen)(uint32_t pair, int half)) {
    float a[16][16], b[8][16];
    for (int lane = 0; lane < 32; lane++) {
        const SimtMma16 *mma = static_cast<const SimtMma16 *>(args[lane]);
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 2; i++) {
            for (int r = 0; r < 4; r++) {
                a[g + 8 * (r % 2)][2 * t + i + 8 * (r / 2)] = widen(mma->a[r], i);
            }
            for (int r = 0; r < 2; r++) {
                b[g][2 * t + i + 8 * r] = widen(mma->b[r], i);
            }
        }
    }
    for (int lane = 0; lane < 32; lane++) {
        const SimtMma16 *mma = static_cast<const SimtMma16 *>(args[lane]);
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; i++) {
            double sum =
                (double)mma->c[i]; // the machine's own order is unknown: sum exactly, round once
            for (int k = 0; k < 16; k++) {
                sum += (double)a[g + 8 * (i / 2)][k] * (double)b[2 * t + i % 2][k];
            }
            mma->d[i] = (float)sum;
        }
    }
}

void simt_run_mma_bf16(void *const args[32]) {
    run_mma_16(args, bf16_half);
}

void simt_run_mma_f16(void *const args[32]) {
    run_mma_16(args, f16_half);
}
