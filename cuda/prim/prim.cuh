// SPDX-License-Identifier: Apache-2.0
// The machine instructions kernels are written with: one wrapper per instruction, with its index
// formula. Kernels contain no inline assembly, no launch syntax and no CUDA intrinsics of their
// own; so the same kernel file is compiled by nvcc, where these are PTX, and by g++, where they are
// the emulator in tests/simt (docs/cuda.md). What both sides promise is written here, once; the two
// implementations are prim_device.cuh and tests/simt/prim_simt.h.
//
// Names: lane l of a warp, g = l / 4, t = l % 4.
//
// thread_*, block_*        indices
// block_sync()             every thread of the block; block_sync_named(id, threads) some
// warp_sync(), warp_shuffle(v, lane), warp_shuffle_xor(v, mask), warp_ballot(p)   whole warps only
//
// shared_load<T>(p), shared_store<T>(p, v)   every access to shared memory; T of 1, 2, 4, 8 or 16
//                          bytes, aligned to its size
// global_load<T>(p), global_store<T>(p, v)   every access to global memory that the roofline counts
// global_load_once<T>(p)   the same for data read once (weights): not in L1, evicted first
//
// cp_async_16(shared, global, bytes)   copies `bytes` (0..16) and zero-fills to 16, both ends
//                          16-byte aligned; done only after the wait for its group
// cp_async_commit()        ends a group
// cp_async_wait<N>()       leaves the N newest groups pending; a barrier makes it visible to others
//
// ldmatrix_x4(r, p)        lane l gives the address of row l % 8 of matrix l / 8 (16 bytes each, in
//                          shared memory); r[j] = elements (row g, columns 2t, 2t + 1) of matrix j
// ldmatrix_x4_trans(r, p)  r[j] = elements (rows 2t, 2t + 1, column g); elements of 16 bits
//
// mma_s8(d, a, b, c)       d = a b + c, m16n8k32, s8 x s8 -> s32, wrapping
//   a[r], byte i: row g + 8 (r % 2), k = 4t + i + 16 (r / 2)
//   b[r], byte i: k = 4t + i + 16 r, n = g
//   c[i], d[i]:   row g + 8 (i / 2), n = 2t + i % 2
// mma_bf16(d, a, b, c)     m16n8k16, bf16 x bf16 -> f32; products are exact, the order of the sums
//                          is the machine's own
//   a[r], half i: row g + 8 (r % 2), k = 2t + i + 8 (r / 2)
//   b[r], half i: k = 2t + i + 8 r, n = g;   c and d as above
// mma_f16(d, a, b, c)      the same for f16 x f16 -> f32
//
// f16_to_float(h)          exact
// f16_pair(low, high)      two f16 in one register, each rounded to nearest even
// f16x2_add, bf16x2_add    both halves, each sum rounded to nearest even
// reciprocal_near(x)       1 / x within 2 units in the last place, for normal x and result
// byte_permute(a, selector)         byte i of the result is byte (selector >> 4 i & 3) of a
// byte_permute_two(a, b, selector)  of a for 0..3, of b for 4..7
// bits_count(x)            how many bits are set
//
// UNROLL                   before a loop whose arrays must live in registers
// NO_UNROLL                before a loop that stays one
// KERNEL_BOUNDS(threads, blocks)    the largest block, and how many of them share a multiprocessor
//
// Arithmetic is what it says: a * b + c rounds twice on both sides (nvcc -fmad=false), fmaf(a, b,
// c) once. Formulas: PTX ISA, "Matrix fragments for mma.m16n8k16 / k32"; kernels.md section 8.
#ifndef CUDA_PRIM_PRIM_CUH
#define CUDA_PRIM_PRIM_CUH

#include <stddef.h>
#include <stdint.h>

typedef struct alignas(16) Vector16 {
    uint32_t word[4];
} Vector16;

typedef struct alignas(8) Vector8 {
    uint32_t word[2];
} Vector8;

#ifdef TESSERA_SIMT
#include "tests/simt/prim_simt.h"
#else
#include "cuda/prim/prim_device.cuh"
#endif

// ---- Built from the above, the same on both sides -----------------------------------------------

template <typename T> DEVICE T warp_sum(T value) {
    for (int mask = 16; mask > 0; mask /= 2) {
        value += warp_shuffle_xor(value, mask);
    }
    return value;
}

DEVICE float warp_max(float value) {
    for (int mask = 16; mask > 0; mask /= 2) {
        float other = warp_shuffle_xor(value, mask);
        value = value > other ? value : other;
    }
    return value;
}

HOST_DEVICE float bits_to_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

HOST_DEVICE uint32_t float_to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

HOST_DEVICE float bf16_to_float(uint16_t value) {
    return bits_to_float((uint32_t)value << 16);
}

// Round to nearest even; NaN stays NaN.
HOST_DEVICE uint16_t bf16_from_float(float value) {
    uint32_t bits = float_to_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)(bits >> 16 | 0x40u);
    }
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

// Two bf16 in one register, `low` in the low half, as mma fragments want them.
DEVICE uint32_t bf16_pair(float low, float high) {
    return (uint32_t)bf16_from_float(low) | (uint32_t)bf16_from_float(high) << 16;
}

// a / b rounded to nearest even, as the operator has it, for b of any size from 2^-100 and a and
// a / b of at least 2^-100, or a = 0. The operator compiles to a call on the GPU, this does not:
// two corrections of a near quotient, each with an exact remainder; a large b is scaled so that its
// reciprocal is normal.
DEVICE float divide(float a, float b) {
    float scale = fabsf(b) > 0x1p64f ? 0x1p-64f : 1.0f;
    a *= scale;
    b *= scale;
    float r = reciprocal_near(b);
    r = fmaf(fmaf(-b, r, 1.0f), r, r);
    float q = a * r;
    q = fmaf(fmaf(-b, q, a), r, q);
    return fmaf(fmaf(-b, q, a), r, q);
}

#endif
