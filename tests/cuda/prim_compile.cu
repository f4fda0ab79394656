// SPDX-License-Identifier: Apache-2.0
// Every primitive of cuda/prim in one kernel, compiled by nvcc for every architecture we serve. It
// is never run: that it compiles without warnings and without spills is the test (preset cuda).
#include "cuda/prim/prim.cuh"

extern "C" __global__ void KERNEL_BOUNDS(256, 2)
    every_primitive(const Vector16 *in, Vector16 *out, unsigned *counter) {
    unsigned char *shared = shared_base();
    unsigned lane = thread_lane(), thread = thread_index();
    cp_async_16(shared + thread * 16, in + thread, 16);
    cp_async_commit();
    Vector16 stream = global_load_once(in + thread_count() * block_x() + block_y());
    cp_async_wait<0>();
    block_sync();
    uint32_t a[4], b[4];
    ldmatrix_x4(a, shared + lane * 16);
    ldmatrix_x4_trans(b, shared + lane * 16);
    int32_t d[4] = {0, 0, 0, 0};
    mma_s8(d, a, b, d);
    float f[4] = {0, 0, 0, 0};
    mma_bf16(f, a, b, f);
    mma_f16(f, a, b, f);
    b[0] = f16x2_add(f16_pair(f[0], f[1]), byte_permute_two(a[0], a[1], 0x5410));
    mma_f16(f, a, b, f);
    warp_sync();
    float top = warp_max(warp_sum(f[0] + f[1]));
    unsigned votes = bits_count(warp_ballot(top > 0));
    int other = warp_shuffle(d[0], 3) + warp_shuffle_xor(d[1], 1) + round_to_int(f[2]);
    shared_store((uint32_t *)shared + thread, votes + bf16_pair(f[2], f[3]));
    block_sync_named(1, (int)thread_count());
    stream.word[0] += shared_load((uint32_t *)shared + (thread ^ 32)) + (uint32_t)other;
    stream.word[1] += float_to_bits(bf16_to_float(bf16_from_float(top)));
    stream.word[3] += byte_permute(bf16x2_add(a[0], b[0]), 0x3120) +
                      float_to_bits(divide(top, 3.0f)) +
                      float_to_bits(f16_to_float((uint16_t)a[1]));
    memory_fence();
    stream.word[2] += atomic_add(counter, grid_x() + thread_warp());
    global_store(out + thread, stream);
}
