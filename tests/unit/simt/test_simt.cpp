// SPDX-License-Identifier: Apache-2.0
// The emulator itself: correct kernels give the same result under every schedule, and each fault
// that a GPU would punish is planted once and seen caught, with its place. Fragment layouts are
// held against CuTe's published ones (NVIDIA/cutlass, include/cute/atom/mma_traits_sm80.hpp), as
// numbers.
#include "cuda/launch.h"
#include "cuda/prim/prim.cuh"

#include <criterion/criterion.h>

#include <vector>

static std::vector<void *> taken;

static void free_all(void) {
    for (void *p : taken) {
        cudaFree(p);
    }
    taken.clear();
    cr_assert_eq(simt_memory_used(), 0);
}

template <typename T> static T *device_copy(const std::vector<T> &host) {
    void *p;
    cr_assert_eq(cudaMalloc(&p, host.size() * sizeof(T)), cudaSuccess);
    taken.push_back(p);
    cudaMemcpyAsync(p, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice, nullptr);
    return (T *)p;
}

template <typename T> static std::vector<T> host_copy(const T *device, size_t count) {
    std::vector<T> host(count);
    cudaMemcpyAsync(host.data(), device, count * sizeof(T), cudaMemcpyDeviceToHost, nullptr);
    return host;
}

static void reset(uint64_t seed, bool profile = false) {
    SimtOptions options = {seed, profile, 0, 0, false, false};
    simt_reset(&options);
}

static void expect_fault(const char *says) {
    cr_assert(strstr(simt_fault(), says) != nullptr, "\"%s\" does not say \"%s\"", simt_fault(),
              says);
    cr_assert(strstr(simt_fault(), "test_simt.cpp") != nullptr || strstr(simt_fault(), "scheduler"),
              "no place in \"%s\"", simt_fault());
}

struct Args {
    int *data;
    int *out;
    int n;
};

// ---- Good kernels -------------------------------------------------------------------------------

static void add_one(Args a) {
    int i = (int)(block_x() * thread_count() + thread_index());
    if (i < a.n) {
        global_store(a.out + i, global_load(a.data + i) + 1);
    }
}

Test(simt, every_thread_of_every_block_runs_once) {
    for (uint64_t seed = 0; seed < 5; seed++) {
        reset(seed);
        std::vector<int> host(1000);
        for (int i = 0; i < 1000; i++) {
            host[i] = i * i;
        }
        Args a = {device_copy(host), nullptr, 1000};
        a.out = device_copy(std::vector<int>(1000));
        cr_assert_eq(LAUNCH(add_one, dim3(8), 128, 0, nullptr, a), cudaSuccess, "%s", simt_fault());
        std::vector<int> out = host_copy(a.out, 1000);
        for (int i = 0; i < 1000; i++) {
            cr_assert_eq(out[i], i * i + 1);
        }
        free_all();
    }
}

// Sum of a block by shuffles and shared memory.
static void block_sum(Args a) {
    int *partial = (int *)shared_base();
    int sum = warp_sum(global_load(a.data + thread_index()));
    if (thread_lane() == 0) {
        shared_store(partial + thread_warp(), sum);
    }
    block_sync();
    if (thread_warp() == 0) {
        unsigned warps = thread_count() / 32;
        int mine = thread_lane() < warps ? shared_load(partial + thread_lane()) : 0;
        mine = warp_sum(mine);
        if (thread_lane() == 0) {
            global_store(a.out, mine);
        }
    }
}

Test(simt, barriers_and_shuffles_give_one_answer_under_all_schedules) {
    for (uint64_t seed = 0; seed < 30; seed++) {
        reset(seed);
        std::vector<int> host(256);
        int expected = 0;
        for (int i = 0; i < 256; i++) {
            host[i] = i * 7 % 31;
            expected += host[i];
        }
        Args a = {device_copy(host), device_copy(std::vector<int>(1)), 256};
        cr_assert_eq(LAUNCH(block_sum, dim3(1), 256, 32, nullptr, a), cudaSuccess, "seed %d: %s",
                     (int)seed, simt_fault());
        cr_assert_eq(host_copy(a.out, 1)[0], expected);
        cr_assert_eq(simt_report()->barriers, 1);
        free_all();
    }
}

// ---- Fragments ----------------------------------------------------------------------------------

struct MmaArgs {
    const uint8_t *a, *b;
    int32_t *d;
    float *df;
};

// Value v of lane (t, g) is element t*S0 + g*S1 + digits of v times the value strides,
// column-major.
static void fragment_s8(MmaArgs m) {
    int g = (int)thread_lane() / 4, t = (int)thread_lane() % 4;
    uint8_t a[16], b[8];
    for (int v = 0; v < 16; v++) { // ((4,8),(4,2,2)) : ((64,1),(16,8,256))
        int e = t * 64 + g + v % 4 * 16 + v / 4 % 2 * 8 + v / 8 * 256;
        a[v] = m.a[e % 16 * 32 + e / 16];
    }
    for (int v = 0; v < 8; v++) { // ((4,8),(4,2)) : ((32,1),(8,128))
        int e = t * 32 + g + v % 4 * 8 + v / 4 * 128;
        b[v] = m.b[e % 8 * 32 + e / 8];
    }
    uint32_t ar[4], br[2];
    memcpy(ar, a, 16);
    memcpy(br, b, 8);
    int32_t c[4] = {0, 0, 0, 0}, d[4];
    mma_s8(d, ar, br, c);
    mma_s8(d, ar, br, d);         // accumulates
    for (int v = 0; v < 4; v++) { // ((4,8),(2,2)) : ((32,1),(16,8))
        int e = t * 32 + g + v % 2 * 16 + v / 2 * 8;
        m.d[e % 16 * 8 + e / 16] = d[v];
    }
}

static void fragment_bf16(MmaArgs m) {
    int g = (int)thread_lane() / 4, t = (int)thread_lane() % 4;
    const uint16_t *am = (const uint16_t *)m.a, *bm = (const uint16_t *)m.b;
    uint16_t a[8], b[4];
    for (int v = 0; v < 8; v++) { // ((4,8),(2,2,2)) : ((32,1),(16,8,128))
        int e = t * 32 + g + v % 2 * 16 + v / 2 % 2 * 8 + v / 4 * 128;
        a[v] = am[e % 16 * 16 + e / 16];
    }
    for (int v = 0; v < 4; v++) { // ((4,8),(2,2)) : ((16,1),(8,64))
        int e = t * 16 + g + v % 2 * 8 + v / 2 * 64;
        b[v] = bm[e % 8 * 16 + e / 8];
    }
    uint32_t ar[4], br[2];
    memcpy(ar, a, 16);
    memcpy(br, b, 8);
    float c[4] = {1, 1, 1, 1}, d[4];
    mma_bf16(d, ar, br, c);
    for (int v = 0; v < 4; v++) {
        int e = t * 32 + g + v % 2 * 16 + v / 2 * 8;
        m.df[e % 16 * 8 + e / 16] = d[v];
    }
}

Test(simt, mma_s8_has_the_published_layout) {
    reset(1);
    std::vector<uint8_t> a(16 * 32), b(8 * 32);
    for (size_t i = 0; i < a.size(); i++) {
        a[i] = (uint8_t)(i * 37 + 11);
    }
    for (size_t i = 0; i < b.size(); i++) {
        b[i] = (uint8_t)(i * 91 + 5);
    }
    MmaArgs m = {device_copy(a), device_copy(b), device_copy(std::vector<int32_t>(128)), nullptr};
    cr_assert_eq(LAUNCH(fragment_s8, dim3(1), 32, 0, nullptr, m), cudaSuccess, "%s", simt_fault());
    std::vector<int32_t> d = host_copy(m.d, 128);
    for (int row = 0; row < 16; row++) {
        for (int n = 0; n < 8; n++) {
            int32_t sum = 0;
            for (int k = 0; k < 32; k++) {
                sum += (int8_t)a[row * 32 + k] * (int8_t)b[n * 32 + k];
            }
            cr_assert_eq(d[row * 8 + n], 2 * sum, "(%d, %d)", row, n);
        }
    }
    free_all();
}

Test(simt, mma_bf16_has_the_published_layout) {
    reset(1);
    std::vector<uint16_t> a(16 * 16), b(8 * 16);
    for (size_t i = 0; i < a.size(); i++) {
        a[i] = bf16_from_float((float)((int)(i * 37 % 41) - 20) / 8);
    }
    for (size_t i = 0; i < b.size(); i++) {
        b[i] = bf16_from_float((float)((int)(i * 91 % 37) - 18) / 4);
    }
    MmaArgs m = {(uint8_t *)device_copy(a), (uint8_t *)device_copy(b), nullptr,
                 device_copy(std::vector<float>(128))};
    cr_assert_eq(LAUNCH(fragment_bf16, dim3(1), 32, 0, nullptr, m), cudaSuccess, "%s",
                 simt_fault());
    std::vector<float> d = host_copy(m.df, 128);
    for (int row = 0; row < 16; row++) {
        for (int n = 0; n < 8; n++) {
            float sum = 1; // these sums are exact in f32
            for (int k = 0; k < 16; k++) {
                sum += bf16_to_float(a[row * 16 + k]) * bf16_to_float(b[n * 16 + k]);
            }
            cr_assert_eq(d[row * 8 + n], sum, "(%d, %d)", row, n);
        }
    }
    free_all();
}

// ---- A small product with all the machinery: cp.async, two stages, ldmatrix, swizzle ------------

struct GemmArgs {
    const int8_t *a, *b; // [16][k], [16][k]
    int32_t *d;          // [16][16]
    int k;
    bool swizzle;
};

// Rows of 64 bytes: chunk c of row r lies at c ^ (r / 2 % 4), so that the 8 rows of an ldmatrix
// phase fall into different banks.
static int chunk_at(const GemmArgs &g, int row, int chunk) {
    return row * 64 + (g.swizzle ? chunk ^ (row / 2 % 4) : chunk) * 16;
}

static void fill_stage(const GemmArgs &g, unsigned char *stage, int k0) {
    for (int i = (int)thread_index(); i < 128; i += (int)thread_count()) {
        const int8_t *source = i < 64 ? g.a : g.b;
        int row = i % 64 / 4, chunk = i % 4;
        cp_async_16(stage + (i < 64 ? 0 : 1024) + chunk_at(g, row, chunk),
                    source + (size_t)row * g.k + k0 + chunk * 16, 16);
    }
    cp_async_commit();
}

static void small_gemm(GemmArgs g) {
    unsigned char *shared = shared_base();
    int lane = (int)thread_lane(), warp = (int)thread_warp();
    int32_t acc[4] = {0, 0, 0, 0};
    fill_stage(g, shared, 0);
    for (int k0 = 0; k0 < g.k; k0 += 64) {
        unsigned char *stage = shared + k0 / 64 % 2 * 2048;
        if (k0 + 64 < g.k) {
            fill_stage(g, shared + (k0 / 64 + 1) % 2 * 2048, k0 + 64);
            cp_async_wait<1>();
        } else {
            cp_async_wait<0>();
        }
        block_sync();
        for (int step = 0; step < 2; step++) {
            uint32_t a[4], b[4];
            ldmatrix_x4(a, stage + chunk_at(g, lane % 16, step * 2 + lane / 16));
            ldmatrix_x4(b, stage + 1024 +
                               chunk_at(g, lane % 8 + 8 * (lane / 16), step * 2 + lane / 8 % 2));
            mma_s8(acc, a, b + 2 * warp, acc);
        }
        block_sync();
    }
    for (int i = 0; i < 4; i++) {
        int row = lane / 4 + 8 * (i / 2), n = lane % 4 * 2 + i % 2 + 8 * warp;
        global_store(g.d + row * 16 + n, acc[i]);
    }
}

static uint64_t run_small_gemm(uint64_t seed, bool swizzle) {
    reset(seed, true);
    enum { K = 256 };
    std::vector<int8_t> a(16 * K), b(16 * K);
    for (size_t i = 0; i < a.size(); i++) {
        a[i] = (int8_t)(i * 7919 % 255 - 127);
        b[i] = (int8_t)(i * 104729 % 255 - 127);
    }
    GemmArgs g = {device_copy(a), device_copy(b), device_copy(std::vector<int32_t>(256)), K,
                  swizzle};
    cr_assert_eq(LAUNCH(small_gemm, dim3(1), 64, 4096, nullptr, g), cudaSuccess, "seed %d: %s",
                 (int)seed, simt_fault());
    std::vector<int32_t> d = host_copy(g.d, 256);
    for (int m = 0; m < 16; m++) {
        for (int n = 0; n < 16; n++) {
            int32_t sum = 0;
            for (int k = 0; k < K; k++) {
                sum += a[m * K + k] * b[n * K + k];
            }
            cr_assert_eq(d[m * 16 + n], sum, "seed %d (%d, %d)", (int)seed, m, n);
        }
    }
    cr_assert_eq(simt_report()->load_sectors, simt_report()->load_sectors_min);
    cr_assert_eq(simt_report()->load_sectors, 2 * 16 * K / 32);
    free_all();
    return simt_report()->bank_conflicts;
}

Test(simt, a_pipelined_product_is_exact_and_its_swizzle_has_no_conflicts) {
    for (uint64_t seed = 0; seed < 12; seed++) {
        cr_assert_eq(run_small_gemm(seed, true), 0);
    }
    cr_assert_gt(run_small_gemm(0, false), 0); // 64-byte rows unswizzled do conflict
}

static void transpose_load(MmaArgs m) {
    uint16_t *tile = (uint16_t *)shared_base();
    for (int i = (int)thread_lane(); i < 256; i += 32) {
        shared_store(tile + i,
                     (uint16_t)i); // four 8 x 8 matrices, element = matrix * 64 + row * 8 + column
    }
    warp_sync();
    uint32_t plain[4], turned[4];
    const uint16_t *row = tile + thread_lane() * 8;
    ldmatrix_x4(plain, row);
    ldmatrix_x4_trans(turned, row);
    for (int j = 0; j < 4; j++) {
        m.d[thread_lane() * 8 + j] = (int32_t)plain[j];
        m.d[thread_lane() * 8 + 4 + j] = (int32_t)turned[j];
    }
}

Test(simt, ldmatrix_gives_rows_and_transposed_gives_columns) {
    reset(3);
    MmaArgs m = {nullptr, nullptr, device_copy(std::vector<int32_t>(256)), nullptr};
    cr_assert_eq(LAUNCH(transpose_load, dim3(1), 32, 512, nullptr, m), cudaSuccess, "%s",
                 simt_fault());
    std::vector<int32_t> d = host_copy(m.d, 256);
    for (int lane = 0; lane < 32; lane++) {
        int g = lane / 4, t = lane % 4;
        for (int j = 0; j < 4; j++) {
            uint32_t plain =
                (uint32_t)(j * 64 + g * 8 + 2 * t) | (uint32_t)(j * 64 + g * 8 + 2 * t + 1) << 16;
            uint32_t turned =
                (uint32_t)(j * 64 + 2 * t * 8 + g) | (uint32_t)(j * 64 + (2 * t + 1) * 8 + g) << 16;
            cr_assert_eq((uint32_t)d[lane * 8 + j], plain);
            cr_assert_eq((uint32_t)d[lane * 8 + 4 + j], turned);
        }
    }
    free_all();
}

// ---- Planted faults -----------------------------------------------------------------------------

static void read_unwritten(Args a) {
    global_store(a.out, shared_load((int *)shared_base() + thread_index()));
}
static void missing_barrier(Args a) {
    int *s = (int *)shared_base();
    shared_store(s + thread_index(), 1);
    block_sync();
    shared_store(s + thread_index(), 2);
    global_store(a.out, shared_load(s + (thread_index() + 40) % 64));
}
static void write_after_read(Args a) {
    int *s = (int *)shared_base();
    shared_store(s + thread_index(), 1);
    block_sync();
    global_store(a.out, shared_load(s + (thread_index() + 40) % 64));
    shared_store(s + thread_index(), 2);
}
static void early_read(Args a) {
    unsigned char *s = shared_base();
    cp_async_16(s + thread_index() * 16, a.data, 16);
    cp_async_commit();
    global_store(a.out, (int)shared_load((int *)(s + thread_index() * 16)));
}
static void never_waited(Args a) {
    cp_async_16(shared_base() + thread_index() * 16, a.data, 16);
    cp_async_commit();
}
static void wait_too_few(Args a) {
    unsigned char *s = shared_base() + thread_index() * 32;
    cp_async_16(s, a.data, 16);
    cp_async_commit();
    cp_async_16(s + 16, a.data, 16);
    cp_async_commit();
    cp_async_wait<1>(); // the second is still on its way
    global_store(a.out, shared_load((int *)(s + 16)));
    cp_async_wait<0>();
}
static void shared_out_of_bounds(Args a) {
    shared_store((int *)shared_base() + 64 + thread_index(), 1);
    global_store(a.out, 1);
}
static void shared_misaligned(Args a) {
    shared_store((Vector16 *)(shared_base() + 8), Vector16{{0, 0, 0, 0}});
    global_store(a.out, 1);
}
static void global_out_of_bounds(Args a) {
    global_store(a.out, global_load(a.data + a.n));
}
static void global_misaligned(Args a) {
    Vector16 v = global_load((const Vector16 *)(a.data + 1));
    global_store(a.out, (int)v.word[0]);
}
static void divergent_barrier(Args a) {
    if (thread_warp() == 0) {
        block_sync();
    } else {
        block_sync();
    }
    global_store(a.out, 1);
}
static void barrier_without_all(Args a) {
    if (thread_index() < 32) {
        block_sync();
    }
    global_store(a.out, 1);
}
static void divergent_warp(Args a) {
    int v = thread_lane() < 16 ? warp_shuffle(1, 0) : warp_shuffle_xor(2, 1);
    global_store(a.out, v);
}
static void half_warp(Args a) {
    if (thread_lane() < 16) {
        global_store(a.out, (int)warp_ballot(true));
    }
}
static void named_deadlock(Args a) {
    block_sync_named(1 + (int)thread_warp(), 64); // each warp waits for two, at its own barrier
    global_store(a.out, 1);
}

struct Fault {
    void (*kernel)(Args);
    const char *says;
};

Test(simt, each_planted_fault_is_caught_and_named) {
    const Fault faults[] = {
        {read_unwritten, "before it is written"},
        {missing_barrier, "without a barrier"},
        {write_after_read, "without a barrier"},
        {early_read, "while cp.async is still filling it"},
        {never_waited, "never waited for"},
        {wait_too_few, "while cp.async is still filling it"},
        {shared_out_of_bounds, "shared memory out of bounds"},
        {shared_misaligned, "misaligned shared access"},
        {global_out_of_bounds, "not device memory"},
        {global_misaligned, "misaligned global access"},
        {divergent_barrier, "divergent barrier"},
        {barrier_without_all, "deadlock"},
        {divergent_warp, "lanes of a warp diverge"},
        {half_warp, "deadlock"},
        {named_deadlock, "deadlock"},
    };
    for (const Fault &fault : faults) {
        for (uint64_t seed = 0; seed < 3; seed++) {
            reset(seed);
            Args a = {device_copy(std::vector<int>(64)), device_copy(std::vector<int>(64)), 64};
            void (*kernel)(Args) = fault.kernel;
            struct Call {
                void (*kernel)(Args);
                Args args;
            } call = {kernel, a};
            cudaError_t status = simt_launch(
                "planted", (const void *)kernel, dim3(1), 64,
                fault.kernel == shared_out_of_bounds ? 256 : 4096, nullptr,
                [](const void *p) { ((const Call *)p)->kernel(((const Call *)p)->args); }, &call,
                sizeof call);
            cr_assert_eq(status, cudaErrorLaunchFailure, "%s: not caught with seed %d", fault.says,
                         (int)seed);
            if (fault.kernel != never_waited) {
                expect_fault(fault.says);
            }
            cr_assert_eq(cudaStreamSynchronize(nullptr), cudaErrorLaunchFailure); // sticky
            reset(seed);
            free_all();
        }
    }
}

Test(simt, launches_beyond_the_limits_are_refused) {
    Args a = {nullptr, nullptr, 0};
    reset(0);
    cr_assert_eq(LAUNCH(add_one, dim3(1), 1056, 0, nullptr, a), cudaErrorInvalidConfiguration);
    reset(0);
    cr_assert_eq(LAUNCH(add_one, dim3(1), 48, 0, nullptr, a), cudaErrorInvalidConfiguration);
    reset(0);
    cr_assert_eq(LAUNCH(add_one, dim3(1), 32, 101377, nullptr, a), cudaErrorInvalidConfiguration);
    cr_assert(strstr(simt_fault(), "101376") != nullptr);
    reset(0);
    cr_assert_eq(LAUNCH(add_one, dim3(0), 32, 0, nullptr, a), cudaErrorInvalidConfiguration);
    reset(0);
    cr_assert_eq(LAUNCH(add_one, dim3(1), 32, 101376, nullptr, a), cudaSuccess);
}

// ---- Streams, graphs, memory --------------------------------------------------------------------

Test(simt, a_captured_graph_runs_at_each_launch_and_not_before) {
    reset(0);
    cudaStream_t stream;
    cudaStreamCreate(&stream);
    Args a = {device_copy(std::vector<int>(32)), nullptr, 32};
    a.out = a.data; // adds one in place
    cr_assert_eq(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    cr_assert_eq(LAUNCH(add_one, dim3(1), 32, 0, stream, a), cudaSuccess);
    cr_assert_eq(LAUNCH(add_one, dim3(1), 32, 0, stream, a), cudaSuccess);
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cr_assert_eq(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    cr_assert_eq(cudaGraphInstantiate(&exec, graph, 0), cudaSuccess);
    cr_assert_eq(host_copy(a.data, 1)[0], 0);
    for (int i = 1; i <= 3; i++) {
        cr_assert_eq(cudaGraphLaunch(exec, stream), cudaSuccess);
        cr_assert_eq(host_copy(a.data, 1)[0], 2 * i);
    }
    cudaGraphExecDestroy(exec);
    cudaGraphDestroy(graph);
    cudaStreamDestroy(stream);
    free_all();
}

Test(simt, late_work_is_done_when_the_host_waits_for_it_and_not_before) {
    SimtOptions options = {};
    options.late = true;
    simt_reset(&options);
    cudaStream_t stream;
    cudaEvent_t first, second;
    cudaStreamCreate(&stream);
    cudaEventCreate(&first);
    cudaEventCreate(&second);
    int *pinned, unpinned = 40;
    void *device;
    cr_assert_eq(cudaMallocHost((void **)&pinned, 3 * sizeof(int)), cudaSuccess);
    cr_assert_eq(cudaMalloc(&device, 2 * sizeof(int)), cudaSuccess);
    int *words = (int *)device;
    pinned[0] = 1;
    pinned[1] = pinned[2] = -1;
    cudaMemcpyAsync(words, pinned, 4, cudaMemcpyHostToDevice, stream);
    cudaMemcpyAsync(words + 1, &unpinned, 4, cudaMemcpyHostToDevice, stream);
    pinned[0] = 2; // too early
    unpinned = 41; // in time
    cudaMemcpyAsync(pinned + 1, words, 4, cudaMemcpyDeviceToHost, stream);
    cudaEventRecord(first, stream);
    cudaMemcpyAsync(pinned + 2, words + 1, 4, cudaMemcpyDeviceToHost, stream);
    cudaEventRecord(second, stream);
    cr_assert_eq(pinned[1], -1);
    cr_assert_eq(cudaEventSynchronize(first), cudaSuccess);
    cr_assert_eq(pinned[1], 2, "what was there when its turn came");
    cr_assert_eq(pinned[2], -1, "behind the event");
    cr_assert_eq(cudaEventSynchronize(second), cudaSuccess);
    cr_assert_eq(pinned[2], 40);
    Args a = {words, words, 1};
    cr_assert_eq(LAUNCH(add_one, dim3(1), 32, 0, stream, a), cudaSuccess);
    cudaMemcpyAsync(&unpinned, words, 4, cudaMemcpyDeviceToHost, stream);
    cr_assert_eq(unpinned, 3, "memory that is not pinned keeps the host waiting");
    cudaEventDestroy(first);
    cudaEventDestroy(second);
    cudaStreamDestroy(stream);
    cudaFreeHost(pinned);
    cudaFree(device);
}

Test(simt, memory_is_limited_poisoned_and_counted) {
    SimtOptions options = {0, false, 0, 1000, false, false};
    simt_reset(&options);
    void *a, *b;
    cr_assert_eq(cudaMalloc(&a, 900), cudaSuccess);
    cr_assert_eq(((unsigned char *)a)[899], 0xCD);
    cr_assert_eq(cudaMalloc(&b, 101), cudaErrorMemoryAllocation);
    cr_assert_eq(simt_memory_used(), 900);
    cr_assert_eq(cudaMemcpyAsync(a, &options, 901, cudaMemcpyHostToDevice, nullptr),
                 cudaErrorInvalidValue);
    cr_assert_eq(cudaFree(a), cudaSuccess);
    cr_assert_eq(cudaFree(&options), cudaErrorInvalidValue);
}
