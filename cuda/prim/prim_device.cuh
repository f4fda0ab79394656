// SPDX-License-Identifier: Apache-2.0
// prim.cuh on the GPU: PTX. The only file with inline assembly.
#ifndef CUDA_PRIM_PRIM_DEVICE_CUH
#define CUDA_PRIM_PRIM_DEVICE_CUH

#define DEVICE                         static __device__ __forceinline__
#define HOST_DEVICE                    static __host__ __device__ __forceinline__
#define DEVICE_METHOD                  __device__ __forceinline__
#define KERNEL                         extern "C" __global__
#define KERNEL_TEMPLATE                __global__
#define UNROLL                         _Pragma("unroll")
#define NO_UNROLL                      _Pragma("unroll 1")
#define KERNEL_BOUNDS(threads, blocks) __launch_bounds__(threads, blocks)

DEVICE unsigned thread_index() {
    return threadIdx.x;
}
DEVICE unsigned thread_count() {
    return blockDim.x;
}
DEVICE unsigned thread_lane() {
    return threadIdx.x % 32;
}
DEVICE unsigned thread_warp() {
    return threadIdx.x / 32;
}
DEVICE unsigned block_x() {
    return blockIdx.x;
}
DEVICE unsigned block_y() {
    return blockIdx.y;
}
DEVICE unsigned grid_x() {
    return gridDim.x;
}

DEVICE void block_sync() {
    __syncthreads();
}
DEVICE void block_sync_named(int id, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
DEVICE void warp_sync() {
    __syncwarp();
}
template <typename T> DEVICE T warp_shuffle(T value, int lane) {
    return __shfl_sync(0xffffffffu, value, lane);
}
template <typename T> DEVICE T warp_shuffle_xor(T value, int mask) {
    return __shfl_xor_sync(0xffffffffu, value, mask);
}
DEVICE unsigned warp_ballot(bool predicate) {
    return __ballot_sync(0xffffffffu, predicate);
}

// The block's dynamic shared memory.
DEVICE unsigned char *shared_base() {
    extern __shared__ __align__(1024) unsigned char shared_bytes[];
    return shared_bytes;
}
DEVICE unsigned shared_address(const void *pointer) {
    return (unsigned)__cvta_generic_to_shared(pointer);
}
template <typename T> DEVICE T shared_load(const T *pointer) {
    return *pointer;
}
template <typename T> DEVICE void shared_store(T *pointer, T value) {
    *pointer = value;
}
template <typename T> DEVICE T global_load(const T *pointer) {
    return *pointer;
}
template <typename T> DEVICE void global_store(T *pointer, T value) {
    *pointer = value;
}
template <typename T> DEVICE T global_load_once(const T *pointer) {
    static_assert(sizeof(T) == 16, "streams are read 16 bytes a lane");
    Vector16 value;
    asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(value.word[0]), "=r"(value.word[1]), "=r"(value.word[2]),
                   "=r"(value.word[3])
                 : "l"(pointer));
    return *reinterpret_cast<T *>(&value);
}

DEVICE void cp_async_16(void *shared, const void *global, unsigned bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
                 "l"(global), "r"(bytes)
                 : "memory");
}
DEVICE void cp_async_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int PENDING> DEVICE void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

DEVICE void ldmatrix_x4(uint32_t r[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}
DEVICE void ldmatrix_x4_trans(uint32_t r[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

DEVICE void mma_s8(int32_t d[4], const uint32_t a[4], const uint32_t b[2], const int32_t c[4]) {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(c[0]),
                   "r"(c[1]), "r"(c[2]), "r"(c[3]));
}
DEVICE void mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2], const float c[4]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
                 : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]),
                   "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

DEVICE void mma_f16(float d[4], const uint32_t a[4], const uint32_t b[2], const float c[4]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
                 : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]),
                   "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

DEVICE uint32_t f16_pair(float low, float high) {
    uint32_t result;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
    return result;
}
DEVICE uint32_t f16x2_add(uint32_t a, uint32_t b) {
    uint32_t result;
    asm("add.rn.f16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
    return result;
}
DEVICE float reciprocal_near(float x) {
    float result;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}
DEVICE float f16_to_float(uint16_t value) {
    float result;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value));
    return result;
}
DEVICE uint32_t bf16x2_add(uint32_t a, uint32_t b) { // as a * 1 + b: add.bf16x2 begins with sm_90
    uint32_t result;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(0x3f803f80u), "r"(b));
    return result;
}
DEVICE uint32_t byte_permute(uint32_t a, uint32_t selector) {
    return __byte_perm(a, 0, selector);
}
DEVICE uint32_t byte_permute_two(uint32_t a, uint32_t b, uint32_t selector) {
    return __byte_perm(a, b, selector);
}

// Returns the old value.
DEVICE unsigned atomic_add(unsigned *pointer, unsigned value) {
    return atomicAdd(pointer, value);
}
DEVICE uint32_t bits_count(uint32_t x) {
    return (uint32_t)__popc(x);
}
DEVICE void memory_fence() {
    __threadfence();
}

// x rounded to the nearest integer, ties to even.
DEVICE int round_to_int(float x) {
    return __float2int_rn(x);
}

#endif
