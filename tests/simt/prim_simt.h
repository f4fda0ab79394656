// SPDX-License-Identifier: Apache-2.0
// prim.cuh in the emulator. Every operation carries its place in the source, so that a fault can
// name it.
#ifndef TESTS_SIMT_PRIM_SIMT_H
#define TESTS_SIMT_PRIM_SIMT_H

#include "tests/simt/simt.h"

extern "C" {
#include "base/f16.h"
}

#include <math.h>

#define DEVICE        static inline __attribute__((unused))
#define HOST_DEVICE   DEVICE
#define KERNEL        extern "C"
#define DEVICE_METHOD inline __attribute__((unused))
#define KERNEL_TEMPLATE
#define UNROLL
#define NO_UNROLL
#define KERNEL_BOUNDS(threads, blocks)
#define SIMT_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()
#define SIMT_HERE                                                                                  \
    SimtSite {                                                                                     \
        file, line                                                                                 \
    }

typedef struct SimtSite {
    const char *file;
    int line;
} SimtSite;

typedef struct SimtIndex {
    unsigned thread, threads, block_x, block_y, grid_x;
} SimtIndex;

// The running thread's place, and the operations that need the emulator (simt.cpp).
extern SimtIndex simt_index;
enum SimtOp {
    SIMT_WARP_SYNC,
    SIMT_SHUFFLE,
    SIMT_SHUFFLE_XOR,
    SIMT_BALLOT,
    SIMT_LDMATRIX,
    SIMT_LDMATRIX_TRANS,
    SIMT_MMA_S8,
    SIMT_MMA_BF16,
    SIMT_MMA_F16,
};

unsigned char *simt_shared_base(void);
void simt_block_sync(int id, int threads, SimtSite site);
// All lanes meet; `args` are laid side by side and `run` does the operation for the warp.
void simt_warp_meet(SimtOp op, void *args, void (*run)(void *const args[32]), SimtSite site);
void simt_shared_access(const void *pointer, size_t bytes, bool store, SimtSite site);
void simt_global_access(const void *pointer, size_t bytes, bool store, SimtSite site);
void simt_cp_async(void *shared, const void *global, unsigned bytes, SimtSite site);
void simt_cp_async_commit(void);
void simt_cp_async_wait(int pending, SimtSite site);
void simt_run_ldmatrix(void *const args[32]);
void simt_run_ldmatrix_trans(void *const args[32]);
void simt_run_mma_s8(void *const args[32]);
void simt_run_mma_bf16(void *const args[32]);
void simt_run_mma_f16(void *const args[32]);

DEVICE unsigned thread_index() {
    return simt_index.thread;
}
DEVICE unsigned thread_count() {
    return simt_index.threads;
}
DEVICE unsigned thread_lane() {
    return simt_index.thread % 32;
}
DEVICE unsigned thread_warp() {
    return simt_index.thread / 32;
}
DEVICE unsigned block_x() {
    return simt_index.block_x;
}
DEVICE unsigned block_y() {
    return simt_index.block_y;
}
DEVICE unsigned grid_x() {
    return simt_index.grid_x;
}

DEVICE void block_sync(SIMT_SITE) {
    simt_block_sync(0, (int)simt_index.threads, SIMT_HERE);
}
DEVICE void block_sync_named(int id, int threads, SIMT_SITE) {
    simt_block_sync(id, threads, SIMT_HERE);
}
DEVICE void warp_sync(SIMT_SITE) {
    char none = 0;
    simt_warp_meet(
        SIMT_WARP_SYNC, &none, [](void *const *) {}, SIMT_HERE);
}

template <typename T> struct SimtShuffle {
    T value, result;
    int lane;
};
template <typename T> DEVICE T simt_shuffle(SimtOp op, T value, int lane, SimtSite site) {
    SimtShuffle<T> shuffle = {value, value, lane & 31};
    simt_warp_meet(
        op, &shuffle,
        [](void *const args[32]) {
            for (int i = 0; i < 32; i++) {
                auto *mine = static_cast<SimtShuffle<T> *>(args[i]);
                mine->result = static_cast<SimtShuffle<T> *>(args[mine->lane])->value;
            }
        },
        site);
    return shuffle.result;
}
template <typename T> DEVICE T warp_shuffle(T value, int lane, SIMT_SITE) {
    return simt_shuffle(SIMT_SHUFFLE, value, lane, SIMT_HERE);
}
template <typename T> DEVICE T warp_shuffle_xor(T value, int mask, SIMT_SITE) {
    return simt_shuffle(SIMT_SHUFFLE_XOR, value, (int)(simt_index.thread % 32) ^ mask, SIMT_HERE);
}
DEVICE unsigned warp_ballot(bool predicate, SIMT_SITE) {
    struct Ballot {
        bool predicate;
        unsigned result;
    } ballot = {predicate, 0};
    simt_warp_meet(
        SIMT_BALLOT, &ballot,
        [](void *const args[32]) {
            unsigned result = 0;
            for (int i = 0; i < 32; i++) {
                result |= (unsigned)static_cast<Ballot *>(args[i])->predicate << i;
            }
            for (int i = 0; i < 32; i++) {
                static_cast<Ballot *>(args[i])->result = result;
            }
        },
        SIMT_HERE);
    return ballot.result;
}

DEVICE unsigned char *shared_base() {
    return simt_shared_base();
}
template <typename T> DEVICE T shared_load(const T *pointer, SIMT_SITE) {
    simt_shared_access(pointer, sizeof(T), false, SIMT_HERE);
    return *pointer;
}
template <typename T> DEVICE void shared_store(T *pointer, T value, SIMT_SITE) {
    simt_shared_access(pointer, sizeof(T), true, SIMT_HERE);
    *pointer = value;
}
template <typename T> DEVICE T global_load(const T *pointer, SIMT_SITE) {
    simt_global_access(pointer, sizeof(T), false, SIMT_HERE);
    return *pointer;
}
template <typename T> DEVICE T global_load_once(const T *pointer, SIMT_SITE) {
    static_assert(sizeof(T) == 16, "streams are read 16 bytes a lane");
    simt_global_access(pointer, sizeof(T), false, SIMT_HERE);
    return *pointer;
}
template <typename T> DEVICE void global_store(T *pointer, T value, SIMT_SITE) {
    simt_global_access(pointer, sizeof(T), true, SIMT_HERE);
    *pointer = value;
}

DEVICE void cp_async_16(void *shared, const void *global, unsigned bytes, SIMT_SITE) {
    simt_cp_async(shared, global, bytes, SIMT_HERE);
}
DEVICE void cp_async_commit() {
    simt_cp_async_commit();
}
template <int PENDING> DEVICE void cp_async_wait(SIMT_SITE) {
    simt_cp_async_wait(PENDING, SIMT_HERE);
}

typedef struct SimtMatrixLoad {
    uint32_t *r;
    const void *row;
} SimtMatrixLoad;
DEVICE void ldmatrix_x4(uint32_t r[4], const void *row, SIMT_SITE) {
    simt_shared_access(row, 16, false, SIMT_HERE);
    SimtMatrixLoad load = {r, row};
    simt_warp_meet(SIMT_LDMATRIX, &load, simt_run_ldmatrix, SIMT_HERE);
}
DEVICE void ldmatrix_x4_trans(uint32_t r[4], const void *row, SIMT_SITE) {
    simt_shared_access(row, 16, false, SIMT_HERE);
    SimtMatrixLoad load = {r, row};
    simt_warp_meet(SIMT_LDMATRIX_TRANS, &load, simt_run_ldmatrix_trans, SIMT_HERE);
}

typedef struct SimtMmaS8 {
    int32_t *d;
    const uint32_t *a, *b;
    const int32_t *c;
} SimtMmaS8;
DEVICE void mma_s8(int32_t d[4], const uint32_t a[4], const uint32_t b[2], const int32_t c[4],
                   SIMT_SITE) {
    SimtMmaS8 mma = {d, a, b, c};
    simt_warp_meet(SIMT_MMA_S8, &mma, simt_run_mma_s8, SIMT_HERE);
}
typedef struct SimtMma16 {
    float *d;
    const uint32_t *a, *b;
    const float *c;
} SimtMma16;
DEVICE void mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2], const float c[4],
                     SIMT_SITE) {
    SimtMma16 mma = {d, a, b, c};
    simt_warp_meet(SIMT_MMA_BF16, &mma, simt_run_mma_bf16, SIMT_HERE);
}
DEVICE void mma_f16(float d[4], const uint32_t a[4], const uint32_t b[2], const float c[4],
                    SIMT_SITE) {
    SimtMma16 mma = {d, a, b, c};
    simt_warp_meet(SIMT_MMA_F16, &mma, simt_run_mma_f16, SIMT_HERE);
}

// One unit off, so that nothing leans on an exact one.
DEVICE float reciprocal_near(float x) {
    return nextafterf(1.0f / x, 0.0f);
}
DEVICE float f16_to_float(uint16_t value) {
    return f16_to_f32(value);
}
DEVICE uint32_t bf16x2_add(uint32_t a, uint32_t b) {
    uint32_t low = bf16_from_f32(bf16_to_f32((uint16_t)a) + bf16_to_f32((uint16_t)b));
    uint32_t high =
        bf16_from_f32(bf16_to_f32((uint16_t)(a >> 16)) + bf16_to_f32((uint16_t)(b >> 16)));
    return low | high << 16;
}
DEVICE uint32_t byte_permute(uint32_t a, uint32_t selector) {
    uint32_t result = 0;
    for (int i = 0; i < 4; i++) {
        result |= (a >> 8 * (selector >> 4 * i & 3) & 0xffu) << 8 * i;
    }
    return result;
}
DEVICE uint32_t byte_permute_two(uint32_t a, uint32_t b, uint32_t selector) {
    uint64_t bytes = (uint64_t)b << 32 | a;
    uint32_t result = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t byte = (uint32_t)(bytes >> (selector >> 4 * i & 7) * 8) & 0xff;
        result |= byte << 8 * i;
    }
    return result;
}
DEVICE uint32_t f16_pair(float low, float high) {
    return (uint32_t)f16_from_f32(low) | (uint32_t)f16_from_f32(high) << 16;
}
DEVICE uint32_t f16x2_add(uint32_t a, uint32_t b) {
    return f16_pair(f16_to_float((uint16_t)a) + f16_to_float((uint16_t)b),
                    f16_to_float((uint16_t)(a >> 16)) + f16_to_float((uint16_t)(b >> 16)));
}

DEVICE unsigned atomic_add(unsigned *pointer, unsigned value, SIMT_SITE) {
    simt_global_access(pointer, sizeof *pointer, true, SIMT_HERE);
    unsigned old = *pointer;
    *pointer = old + value;
    return old;
}
DEVICE uint32_t bits_count(uint32_t x) {
    return (uint32_t)__builtin_popcount(x);
}
DEVICE void memory_fence() {
}

DEVICE int round_to_int(float x) {
    return (int)lrintf(x); // the default rounding mode is nearest even
}

#endif
