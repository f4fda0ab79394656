// SPDX-License-Identifier: Apache-2.0
// attention with mma over shared pages (attention_shared_kv.cuh): full layers whose value is the
// key.
//
// Tile: 16 rows, all query heads of one row where 16 share a kv head, for sequences with no more
// (decode); 32 for the others; by chunks of 16 positions. 128 and 256 threads. Bytes: a chunk reads
// 16 x 5/4 x head_dim numbers, 20 KB at head_dim 512, and nothing twice, for 16 or 32 rows; for
// decode that is the minimum. Operations: 4 x rows x head_dim a position, half of them twice for
// the second part of q.
//
//   head_dim  rows  shared KB  registers (sm_86)
//      512     16      70          228
//      512     32      80          251
//      128     16      25          124
//      128     32      35          128
//
// promise: spills 0, calls 0
// promise SharedKvShapeILi512E: hmma 48, ldsm 16, ldgsts >= 15, loop hmma 48, loop per hmma <= 17.5
// promise SharedKvShapeILi256E: hmma 24, ldsm 8, ldgsts >= 9
// promise SharedKvShapeILi128E: hmma 12, ldsm 4, ldgsts >= 6
// promise SharedKvShapeILi64E: hmma 6, ldsm 2, ldgsts >= 6
#include "cuda/kernels/attention_tile.cuh"

bool attention_shared_kv_fits(const OpAttention *op) {
    return tile_fits(op) && kv_is_shared(kv_form(op->cache.kind, &op->cache.shape));
}

template <int HEAD_DIM> static Status launch(CudaContext *cuda, const OpAttention *op) {
    return tile_launch_both<SharedKvShape<HEAD_DIM, 1>, SharedKvShape<HEAD_DIM, 2>>(cuda, op);
}

Status attention_shared_kv(CudaContext *cuda, const OpAttention *op) {
    switch (op->cache.shape.head_dim) {
    case 64:
        return launch<64>(cuda, op);
    case 128:
        return launch<128>(cuda, op);
    case 256:
        return launch<256>(cuda, op);
    default:
        return launch<512>(cuda, op);
    }
}
