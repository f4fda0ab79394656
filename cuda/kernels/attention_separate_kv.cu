// SPDX-License-Identifier: Apache-2.0
// attention with mma over pages that keep keys and values separate (attention_separate_kv.cuh):
// which sequences go to tiles of 16 or of 32 rows.
//
// Tile: 16 rows for sequences with few rows (decode: of 16 query heads on one kv head all, of 2
// heads two), 32 for the others, by chunks of 64 positions. 128 threads; two blocks or more a
// multiprocessor, of 74 KB one. Bytes: a chunk reads 64 x 2 x head_dim numbers and nothing twice,
// for 16 or 32 rows; for decode that is the minimum. Operations: 4 x rows x head_dim a position,
// half of them twice for the second part of q.
//
//   head_dim  pages  rows  shared KB  registers (sm_86)
//      256    bf16    16      21          138
//      256    bf16    32      42          196
//      256    int8    16      13          136
//      512    bf16    16      37          173
//      512    bf16    32      74          254
//      512    int8    32      42          254
//
// Keys are read 16 bytes a lane, values too for bf16, 8 for int8.
//
// promise: spills 0, calls 0
// promise KvKind1E: ldg128 >= 30, hmma >= 24
// promise KvKind2E: ldg128 >= 23, imma >= 8, hmma >= 8
#include "cuda/kernels/attention_tile.cuh"

bool attention_separate_kv_fits(const OpAttention *op) {
    return tile_fits(op) && !kv_is_shared(kv_form(op->cache.kind, &op->cache.shape));
}

template <int HEAD_DIM, KvKind KIND>
static Status launch(CudaContext *cuda, const OpAttention *op) {
    return tile_launch_both<SeparateKvShape<HEAD_DIM, 1, KIND>, SeparateKvShape<HEAD_DIM, 2, KIND>>(
        cuda, op);
}

template <KvKind KIND> static Status launch_size(CudaContext *cuda, const OpAttention *op) {
    switch (op->cache.shape.head_dim) {
    case 64:
        return launch<64, KIND>(cuda, op);
    case 128:
        return launch<128, KIND>(cuda, op);
    case 256:
        return launch<256, KIND>(cuda, op);
    default:
        return launch<512, KIND>(cuda, op);
    }
}

Status attention_separate_kv(CudaContext *cuda, const OpAttention *op) {
    return op->cache.kind == KV_INT8 ? launch_size<KV_INT8>(cuda, op)
                                     : launch_size<KV_BF16>(cuda, op);
}
