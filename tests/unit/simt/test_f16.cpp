// SPDX-License-Identifier: Apache-2.0
// The half-precision primitives: mma_f16 against CuTe's published layout (written as test_simt.cpp
// writes those of s8 and bf16), sums and byte picks against plain arithmetic.
#include "cuda/launch.h"
#include "cuda/prim/prim.cuh"

#include <criterion/criterion.h>

extern "C" {
#include "base/f16.h"
}

struct HalfArgs {
    const uint16_t *a, *b; // [16][16], [8][16]
    float *d;              // [16][8]
    uint32_t *words;       // [32]
};

KERNEL_TEMPLATE void half_kernel(const HalfArgs m) {
    int g = (int)thread_lane() / 4, t = (int)thread_lane() % 4;
    uint16_t a[8], b[4];
    for (int v = 0; v < 8; v++) { // ((4,8),(2,2,2)) : ((32,1),(16,8,128))
        int e = t * 32 + g + v % 2 * 16 + v / 2 % 2 * 8 + v / 4 * 128;
        a[v] = m.a[e % 16 * 16 + e / 16];
    }
    for (int v = 0; v < 4; v++) { // ((4,8),(2,2)) : ((16,1),(8,64))
        int e = t * 16 + g + v % 2 * 8 + v / 2 * 64;
        b[v] = m.b[e % 8 * 16 + e / 8];
    }
    uint32_t ar[4], br[2];
    memcpy(ar, a, 16);
    memcpy(br, b, 8);
    float c[4] = {1, 1, 1, 1}, d[4];
    mma_f16(d, ar, br, c);
    for (int v = 0; v < 4; v++) {
        int e = t * 32 + g + v % 2 * 16 + v / 2 * 8;
        m.d[e % 16 * 8 + e / 16] = d[v];
    }
    // An unsigned byte u as the half 1024 + u, minus 1152: what attention does with int8 values.
    uint32_t u = thread_lane() * 8;
    uint32_t pair = byte_permute_two(u | (255 - u) << 8, 0x64646464u, 0x4140);
    m.words[thread_lane()] = f16x2_add(pair, f16_pair(-1152.0f, -1152.0f));
}

Test(simt, mma_f16_has_the_published_layout_and_bytes_become_halves) {
    SimtOptions options = {};
    options.seed = 1;
    simt_reset(&options);
    HalfArgs m = {};
    uint16_t *a, *b;
    cr_assert_eq(cudaMalloc((void **)&a, 512) + cudaMalloc((void **)&b, 256) +
                     cudaMalloc((void **)&m.d, 512) + cudaMalloc((void **)&m.words, 128),
                 cudaSuccess);
    for (int i = 0; i < 256; i++) { // the emulator's device memory is host memory
        a[i] = f16_from_f32((float)(i * 37 % 41 - 20) / 8);
        b[i % 128] = f16_from_f32((float)(i % 128 * 91 % 37 - 18) / 4);
    }
    m.a = a;
    m.b = b;
    cr_assert_eq(LAUNCH(half_kernel, dim3(1), 32, 0, nullptr, m), cudaSuccess, "%s", simt_fault());
    for (int row = 0; row < 16; row++) {
        for (int n = 0; n < 8; n++) {
            float sum = 1; // these sums are exact in f32
            for (int k = 0; k < 16; k++) {
                sum += f16_to_f32(a[row * 16 + k]) * f16_to_f32(b[n * 16 + k]);
            }
            cr_assert_eq(m.d[row * 8 + n], sum, "(%d, %d)", row, n);
        }
    }
    for (int lane = 0; lane < 32; lane++) {
        cr_assert_eq(f16_to_f32((uint16_t)m.words[lane]), (float)(lane * 8 - 128));
        cr_assert_eq(f16_to_f32((uint16_t)(m.words[lane] >> 16)), (float)(127 - lane * 8));
    }
    cudaFree(a);
    cudaFree(b);
    cudaFree(m.d);
    cudaFree(m.words);
    cr_assert_eq(simt_memory_used(), 0);
}
