// SPDX-License-Identifier: Apache-2.0
// attention with mma (attention_tile.cuh): which sequences go to tiles of 16 or of 32 rows, and
// whether a tile's positions are walked by one block or dealt to several.
//
// Tile: 16 rows for sequences with few rows (decode: of 16 query heads on one kv head all, of 2
// heads two), 32 for the others, by chunks of 64 positions. 128 threads; two blocks or more a
// multiprocessor, of 74 KB one. Bytes: a chunk reads 64 x 2 x head_dim numbers and nothing twice,
// for 16 or 32 rows; for decode that is the minimum. Operations: 4 x rows x head_dim a position,
// half of them twice for the second part of q.
//
//   head_dim  pages  rows  shared KB  registers (sm_86)
//      256    bf16    16      21          138
//      256    bf16    32      42          198
//      256    int8    16      13          136
//      512    bf16    16      37          176
//      512    bf16    32      74          255
//      512    int8    32      42          253
//
// Keys are read 16 bytes a lane, values too for bf16, 8 for int8.
//
// promise: spills 0, calls 0
// promise KvKind1E: ldg128 >= 30, hmma >= 24
// promise KvKind2E: ldg128 >= 23, imma >= 8, hmma >= 8
#include "cuda/kernels/attention_tile.cuh"

enum { GROUP_MOST = 16, BLOCKS_PER_MULTIPROCESSOR = 2 };

bool attention_tile_fits(const OpAttention *op) {
    const LayerShape *shape = &op->cache.shape;
    uint32_t head_dim = shape->head_dim;
    bool size = head_dim == 64 || head_dim == 128 || head_dim == 256 || head_dim == 512;
    uint32_t slots = op->rows.row_count + op->rows.sequence_count;
    return size && kv_is_tiled(op->cache.kind, head_dim) && op->q_stride % 4 == 0 &&
           shape->head_count / shape->kv_head_count <= GROUP_MOST &&
           (size_t)slots * (shape->kv_head_count + 1) * sizeof(unsigned) <= CUDA_TICKET_BYTES;
}

// The splits that the tile with the longest view may need. A row of a sliding layer sees its window
// and what of its image comes after it; the rows of a tile, and images, lie within one sequence.
static uint32_t splits_most(const OpAttention *op) {
    const PagedRows *rows = &op->rows;
    uint64_t length = rows->kv_length_max;
    if (op->cache.shape.kind == LAYER_SLIDING) {
        uint64_t seen = (uint64_t)op->window + rows->row_count - rows->sequence_count;
        length = seen < length ? seen : length;
    }
    return (uint32_t)((length + SPLIT_TOKENS - 1) / SPLIT_TOKENS) + 1; // it may begin within one
}

template <class S>
static Status launch(CudaContext *cuda, const OpAttention *op, uint32_t rows_from,
                     uint32_t rows_upto) {
    const LayerShape *shape = &op->cache.shape;
    uint32_t kv_heads = shape->kv_head_count, group = shape->head_count / kv_heads;
    TileArgs args = {};
    args.cache = kv_view(&op->cache, &op->rows, op->window);
    args.q = op->q;
    args.q_stride = op->q_stride;
    args.scratch = op->scratch;
    args.out = op->out;
    args.group = group;
    args.tokens = S::ROWS / group;
    args.rows_from = rows_from;
    args.rows_upto = rows_upto;
    uint32_t sequences = op->rows.sequence_count;
    args.slots = (op->rows.row_count - sequences) / args.tokens + sequences;
    args.partials = (float *)cuda->scratch;
    args.tickets = (unsigned *)(cuda->scratch + CUDA_SCRATCH_BYTES - CUDA_TICKET_BYTES);
    args.parts = 1;
    uint32_t tiles = args.slots * kv_heads, splits = splits_most(op);
    size_t bytes = (size_t)tiles * splits * S::PARTIAL_FLOATS * sizeof(float);
    if (tiles < (uint32_t)cuda->multiprocessors * BLOCKS_PER_MULTIPROCESSOR &&
        bytes <= CUDA_SCRATCH_BYTES - CUDA_TICKET_BYTES) {
        args.parts = splits;
    }
    dim3 grid(args.slots, kv_heads * args.parts);
    return cuda_launched(
        cuda, "attention_tile",
        LAUNCH(attention_tile_kernel<S>, grid, TILE_THREADS, S::SHARED_BYTES, cuda->stream, args));
}

// Sequences with up to `upto` rows fit one short tile.
template <int HEAD_DIM, KvKind KIND>
static Status launch_both(CudaContext *cuda, const OpAttention *op) {
    typedef TileShape<HEAD_DIM, 1, KIND> Short;
    typedef TileShape<HEAD_DIM, 2, KIND> Long;
    uint32_t group = op->cache.shape.head_count / op->cache.shape.kv_head_count;
    uint32_t upto = Short::ROWS / group;
    uint32_t rows = op->rows.row_count, sequences = op->rows.sequence_count;
    // The longest sequence has at most rows - sequences + 1 rows, one alone has them all.
    Status status = OK;
    if (sequences > 1 || rows <= upto) {
        status = launch<Short>(cuda, op, 1, upto);
    }
    if (rows - sequences + 1 > upto && status == OK) {
        status = launch<Long>(cuda, op, upto + 1, UINT32_MAX);
    }
    return status;
}

template <KvKind KIND> static Status launch_size(CudaContext *cuda, const OpAttention *op) {
    switch (op->cache.shape.head_dim) {
    case 64:
        return launch_both<64, KIND>(cuda, op);
    case 128:
        return launch_both<128, KIND>(cuda, op);
    case 256:
        return launch_both<256, KIND>(cuda, op);
    default:
        return launch_both<512, KIND>(cuda, op);
    }
}

Status attention_tile(CudaContext *cuda, const OpAttention *op) {
    return op->cache.kind == KV_INT8 ? launch_size<KV_INT8>(cuda, op)
                                     : launch_size<KV_BF16>(cuda, op);
}
