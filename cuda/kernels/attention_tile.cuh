// SPDX-License-Identifier: Apache-2.0
// A tile of attention: up to 16 or 32 rows of mma, which are the (token, head) pairs of one
// sequence that share a kv head, over the positions they see. Here: which rows a tile has, the walk
// over its positions, what happens to the result, and the launch. What a chunk of positions costs a
// tile is attention_separate_kv.cuh for pages with separate keys and values and
// attention_shared_kv.cuh for shared ones.
//
// A row's bits depend on nothing but the row. Positions are split every 128; a split begins anew,
// and splits are folded in ascending order with the same three operations whether one block walks
// them all or each has a block of its own and the last to arrive folds them. What a row does not
// see adds exact zeros.
#ifndef CUDA_KERNELS_ATTENTION_TILE_CUH
#define CUDA_KERNELS_ATTENTION_TILE_CUH

#include "base/check.h"
#include "cuda/kernels/attention_separate_kv.cuh"
#include "cuda/kernels/attention_shared_kv.cuh"

// ---- Which tile ---------------------------------------------------------------------------------

// Tile j of sequence s has slot (row_first - s) / tokens + s + j: slots of different tiles differ,
// and a launch needs no table to find its own. Slots between them stay empty. `index` is the slot's
// within this launch. False: nothing to do.
template <class S>
DEVICE bool tile_find(const TileArgs &args, uint32_t index, uint32_t kv_head, Tile<S> &tile) {
    uint32_t slot = args.slot_first + index;
    const BatchSequence *sequences = args.cache.sequences;
    uint32_t low = 0, high = args.cache.sequence_count;
    while (high - low > 1) {
        uint32_t step = (high - low + 31) / 32, s = low + thread_lane() * step;
        bool starts = false;
        if (s < high) {
            starts = (global_load(&sequences[s].row_first) - s) / args.tokens + s <= slot;
        }
        low += (warp_sum(starts ? 1u : 0u) - 1) * step;
        high = low + step < high ? low + step : high;
    }
    uint32_t row_first = global_load(&sequences[low].row_first);
    uint32_t row_count = global_load(&sequences[low].row_count);
    uint32_t done = (slot - ((row_first - low) / args.tokens + low)) * args.tokens;
    if (done >= row_count || row_count < args.rows_from || row_count > args.rows_upto) {
        return false;
    }
    tile.slot = index;
    tile.kv_head = kv_head;
    tile.row = row_first + done;
    tile.tokens = row_count - done < args.tokens ? row_count - done : args.tokens;
    tile.table = kv_sequence_table(args.cache, low);
    return true;
}

// What each row sees, and what any of them sees.
template <class S> DEVICE void tile_ranges(const TileArgs &args, Tile<S> &tile) {
    uint32_t *firsts = tile_shared<uint32_t>(S::RANGES), *ends = firsts + S::ROWS;
    if (thread_index() < S::ROWS) {
        KvRange range = {0, 0};
        if (thread_index() < tile.tokens * args.group) {
            range = kv_range(args.cache, tile.row + thread_index() / args.group);
        }
        shared_store(firsts + thread_index(), range.first);
        shared_store(ends + thread_index(), range.end);
    }
    block_sync();
    uint32_t g = thread_lane() / 4;
    tile.first = UINT32_MAX;
    tile.end = 0;
    UNROLL
    for (int i = 0; i < S::ROWS / 8; i++) {
        KvRange range = {shared_load(firsts + 8 * i + g), shared_load(ends + 8 * i + g)};
        if (range.end > 0) {
            tile.first = range.first < tile.first ? range.first : tile.first;
            tile.end = range.end > tile.end ? range.end : tile.end;
        }
    }
    for (int mask = 4; mask < 32; mask *= 2) {
        uint32_t first = warp_shuffle_xor(tile.first, mask);
        uint32_t end = warp_shuffle_xor(tile.end, mask);
        tile.first = first < tile.first ? first : tile.first;
        tile.end = end > tile.end ? end : tile.end;
    }
}

// ---- Splits -------------------------------------------------------------------------------------

template <class S> DEVICE void tile_clear(Tile<S> &tile) {
    UNROLL
    for (int i = 0; i < 2 * S::M_TILES; i++) {
        tile.highest[i / 2][i % 2] = -INFINITY;
        tile.sum[i / 2][i % 2] = 0.0f;
    }
    UNROLL
    for (int i = 0; i < S::M_TILES * S::OUT_TILES * 4; i++) {
        tile.out[i / (S::OUT_TILES * 4)][i / 4 % S::OUT_TILES][i % 4] = 0.0f;
    }
}

// O, highest and sum of one split, from nothing.
template <class S> DEVICE void tile_split(const TileArgs &args, Tile<S> &tile, uint32_t split) {
    tile_clear<S>(tile);
    NO_UNROLL
    for (uint32_t at = split * SPLIT_TOKENS; at < (split + 1) * SPLIT_TOKENS; at += S::CHUNK) {
        if (at < tile.end && at + S::CHUNK > tile.first) {
            tile_chunk(args, tile, at);
        }
    }
    tile_sums(tile);
}

// What one split adds to those before it: total = total * keep + split * take.
typedef struct Fold {
    float keep, take;
} Fold;

DEVICE Fold fold_row(float *highest, float *sum, float split_highest, float split_sum) {
    float before = *highest;
    *highest = fmaxf(before, split_highest);
    Fold fold;
    fold.keep = before == *highest ? 1.0f : exp_f32(before - *highest);
    fold.take = split_highest == *highest ? 1.0f : exp_f32(split_highest - *highest);
    *sum = fmaf(split_sum, fold.take, *sum * fold.keep);
    return fold;
}

DEVICE float fold_value(const Fold &fold, float total, float split) {
    return fmaf(split, fold.take, total * fold.keep);
}

// Where column `column` of row (m, h) lies in scratch; NULL for a row or column that is not there.
template <class S>
DEVICE float *tile_place(const TileArgs &args, const Tile<S> &tile, int m, int h, uint32_t column) {
    uint32_t row = S::row_first() + (uint32_t)(16 * m + 8 * h) + thread_lane() / 4;
    if (row >= tile.tokens * args.group || column >= S::HEAD_DIM) {
        return NULL;
    }
    uint32_t head = tile.kv_head * args.group + row % args.group;
    size_t at = (size_t)(tile.row + row / args.group) * args.cache.head_count + head;
    return args.scratch + at * S::HEAD_DIM + column;
}

// Runs `change(m, h, value*, what of scratch lies there)` over the lane's columns, a run of
// neighbours at a time, and stores them.
template <class S, typename Change>
DEVICE void tile_store(const TileArgs &args, Tile<S> &tile, bool reads, bool writes,
                       Change change) {
    UNROLL
    for (int i = 0; i < S::RUNS; i++) {
        Run run = S::run(i);
        float *place = tile_place<S>(args, tile, run.m, run.h, run.column);
        if (place == NULL) {
            continue;
        }
        typename S::RunVector *at = (typename S::RunVector *)(place + run.further), there = {};
        if (reads) {
            there = global_load(at);
        }
        UNROLL
        for (int j = 0; j < S::RUN; j++) {
            float &value =
                tile.out[run.m][run.tile + j * S::RUN_TILES][run.slot + j * S::RUN_SLOTS];
            value = change(run.m, run.h, value, bits_to_float(there.word[j]));
            there.word[j] = float_to_bits(value);
        }
        if (writes) {
            global_store(at, there);
        }
    }
}

// What a thread keeps of its rows between splits: the largest score and the sum of row i. In shared
// memory, where nobody else looks.
template <class S> DEVICE float *tile_total(int i, int which) {
    return tile_shared<float>(S::TOTALS) + (2 * i + which) * S::THREADS + (int)thread_index();
}

// Adds the split to the total of those before it, which lies in scratch. The last one leaves the
// total where the split was.
template <class S>
DEVICE void tile_fold(const TileArgs &args, Tile<S> &tile, bool first, bool last) {
    Fold fold[S::M_TILES][2];
    UNROLL
    for (int i = 0; i < 2 * S::M_TILES; i++) {
        int m = i / 2, h = i % 2;
        float highest = first ? -INFINITY : shared_load(tile_total<S>(i, 0));
        float sum = first ? 0.0f : shared_load(tile_total<S>(i, 1));
        fold[m][h] = fold_row(&highest, &sum, tile.highest[m][h], tile.sum[m][h]);
        shared_store(tile_total<S>(i, 0), highest);
        shared_store(tile_total<S>(i, 1), sum);
        tile.sum[m][h] = sum;
    }
    tile_store<S>(args, tile, !first, !last, [&](int m, int h, float mine, float total) {
        return fold_value(fold[m][h], total, mine);
    });
}

// True for the block that arrives as the last of `expected`, which leaves the ticket at zero and
// sees what the others wrote.
template <class S> DEVICE bool last_to_arrive(unsigned *ticket, uint32_t expected) {
    memory_fence();
    block_sync();
    if (thread_index() == 0) {
        bool last = atomic_add(ticket, 1) == expected - 1;
        if (last) {
            global_store(ticket, 0u);
        }
        shared_store(tile_shared<uint32_t>(S::FLAG), last ? 1u : 0u);
        memory_fence();
    }
    block_sync();
    return shared_load(tile_shared<uint32_t>(S::FLAG)) != 0;
}

// Whether a fragment vector of m tile m has a row that is there.
template <class S> DEVICE bool fragment_used(const TileArgs &args, const Tile<S> &tile, int m) {
    return S::row_first() + 16 * (uint32_t)m + thread_lane() / 4 < tile.tokens * args.group;
}

template <class S>
DEVICE void partial_write(const TileArgs &args, const Tile<S> &tile, float *partial) {
    UNROLL
    for (int i = 0; i < S::PARTIAL_VECTORS; i++) {
        int m = i / S::OUT_TILES;
        const float *o = tile.out[m][i % S::OUT_TILES];
        Vector16 vector = {
            {float_to_bits(o[0]), float_to_bits(o[1]), float_to_bits(o[2]), float_to_bits(o[3])}};
        if (fragment_used<S>(args, tile, m)) {
            global_store((Vector16 *)partial + i * S::THREADS + (int)thread_index(), vector);
        }
    }
    float *rows = partial + S::PARTIAL_VECTORS * S::THREADS * 4;
    UNROLL
    for (int i = 0; i < 2 * S::M_TILES; i++) {
        uint32_t row = S::row_first() + 8 * (uint32_t)i + thread_lane() / 4;
        if (thread_warp() % TILE_WARPS == 0 && thread_lane() % 4 == 0) {
            global_store(rows + 2 * row, tile.highest[i / 2][i % 2]);
            global_store(rows + 2 * row + 1, tile.sum[i / 2][i % 2]);
        }
    }
}

template <class S>
DEVICE void partials_fold(const TileArgs &args, Tile<S> &tile, const float *partial,
                          uint32_t count) {
    tile_clear<S>(tile);
    for (uint32_t split = 0; split < count; split++, partial += S::PARTIAL_FLOATS) {
        const float *rows = partial + S::PARTIAL_VECTORS * S::THREADS * 4;
        Fold fold[S::M_TILES][2];
        UNROLL
        for (int i = 0; i < 2 * S::M_TILES; i++) {
            int m = i / 2, h = i % 2;
            const float *row = rows + 2 * ((int)S::row_first() + 8 * i + (int)thread_lane() / 4);
            fold[m][h] = fold_row(&tile.highest[m][h], &tile.sum[m][h], global_load(row),
                                  global_load(row + 1));
        }
        UNROLL
        for (int i = 0; i < S::PARTIAL_VECTORS; i++) {
            int m = i / S::OUT_TILES;
            float *o = tile.out[m][i % S::OUT_TILES];
            if (fragment_used<S>(args, tile, m)) {
                Vector16 vector =
                    global_load((const Vector16 *)partial + i * S::THREADS + (int)thread_index());
                UNROLL
                for (int j = 0; j < 4; j++) {
                    o[j] = fold_value(fold[m][j / 2], o[j], bits_to_float(vector.word[j]));
                }
            }
        }
    }
}

// Normalizes; the last kv head of the tile's tokens makes their rows an activation.
template <class S> DEVICE void tile_finish(const TileArgs &args, Tile<S> &tile) {
    tile_store<S>(args, tile, false, true,
                  [&](int m, int h, float mine, float) { return mine / tile.sum[m][h]; });
    uint32_t kv_heads = args.cache.form.kv_heads;
    unsigned *ticket = args.tickets + (size_t)args.slots * kv_heads + tile.slot;
    if (!last_to_arrive<S>(ticket, kv_heads)) {
        return;
    }
    size_t columns = (size_t)args.cache.head_count * S::HEAD_DIM;
    for (uint32_t token = 0; token < tile.tokens; token++) {
        const float *x = args.scratch + (tile.row + token) * columns;
        activation_store(args.out, tile.row + token, tile_shared<float>(S::SMALL),
                         [=](uint32_t i) { return global_load(x + i); });
        block_sync();
    }
}

template <class S>
KERNEL_TEMPLATE void KERNEL_BOUNDS(S::THREADS, S::BLOCKS)
    attention_tile_kernel(const TileArgs args) {
    Tile<S> tile;
    uint32_t part = block_y() % args.parts;
    if (!tile_find<S>(args, block_x(), block_y() / args.parts, tile)) {
        return;
    }
    tile_ranges<S>(args, tile);
    // The splits of this block: one, or all.
    uint32_t first = tile.first / SPLIT_TOKENS;
    uint32_t end = (tile.end + SPLIT_TOKENS - 1) / SPLIT_TOKENS, count = end - first;
    if (part >= count) {
        return;
    }
    bool shares = args.parts > 1 && count > 1, walks = args.parts == 1 && count > 1;
    uint32_t stop = args.parts > 1 ? first + part + 1 : end;
    tile.stop = stop * SPLIT_TOKENS < tile.end ? stop * SPLIT_TOKENS : tile.end;
    tile_begin(args, tile, (first + part) * SPLIT_TOKENS);
    NO_UNROLL
    for (uint32_t split = first + part; split < stop; split++) {
        tile_split<S>(args, tile, split);
        if (walks) {
            tile_fold<S>(args, tile, split == first, split + 1 == end);
        }
    }
    if (shares) {
        uint32_t index = tile.slot * args.cache.form.kv_heads + tile.kv_head;
        float *partials = args.partials + (size_t)index * args.parts * S::PARTIAL_FLOATS;
        partial_write<S>(args, tile, partials + (size_t)part * S::PARTIAL_FLOATS);
        if (!last_to_arrive<S>(args.tickets + index, count)) {
            return;
        }
        partials_fold<S>(args, tile, partials, count);
    }
    tile_finish<S>(args, tile);
}

// ---- Launch -------------------------------------------------------------------------------------

enum { TILE_GROUP_MOST = 16, TILE_BLOCKS_PER_MULTIPROCESSOR = 2 };

// What both kinds of tile ask for: of the layer, never of the step, for a row's bits must not
// depend on the rows beside it.
static inline bool tile_fits(const OpAttention *op) {
    const LayerShape *shape = &op->cache.shape;
    uint32_t head_dim = shape->head_dim;
    bool size = head_dim == 64 || head_dim == 128 || head_dim == 256 || head_dim == 512;
    return size && kv_is_tiled(kv_form(op->cache.kind, shape)) &&
           shape->head_count / shape->kv_head_count <= TILE_GROUP_MOST;
}

// Slots of a step in tiles of so many tokens, at most.
static inline uint32_t tile_slots(const OpAttention *op, uint32_t tokens) {
    uint32_t sequences = op->rows.sequence_count;
    return (op->rows.row_count - sequences) / tokens + sequences;
}

// Slots that a launch has tickets for: of the 12B 1,820 in a sliding layer, 8,192 in a full one. A
// step with more is several launches.
static inline uint32_t tile_slots_most(const OpAttention *op) {
    return CUDA_TICKET_BYTES / sizeof(unsigned) / (op->cache.shape.kv_head_count + 1);
}

// The splits that the tile with the longest view may need. A row of a sliding layer sees its window
// and what of its image comes after it; the rows of a tile, and images, lie within one sequence.
static inline uint32_t tile_splits_most(const OpAttention *op) {
    const PagedRows *rows = &op->rows;
    uint64_t length = rows->kv_length_max;
    if (op->cache.shape.kind == LAYER_SLIDING) {
        uint64_t seen = (uint64_t)op->window + rows->row_count - rows->sequence_count;
        length = seen < length ? seen : length;
    }
    return (uint32_t)((length + SPLIT_TOKENS - 1) / SPLIT_TOKENS) + 1; // it may begin within one
}

static inline TileArgs tile_args(CudaContext *cuda, const OpAttention *op, uint32_t tile_rows) {
    const LayerShape *shape = &op->cache.shape;
    REQUIRE(op->q_stride % 4 == 0 && tile_slots_most(op) > 0);
    TileArgs args = {};
    args.cache = kv_view(&op->cache, &op->rows, op->window);
    args.q = op->q;
    args.q_stride = op->q_stride;
    args.scratch = op->scratch;
    args.out = op->out;
    args.group = shape->head_count / shape->kv_head_count;
    args.tokens = tile_rows / args.group;
    args.parts = 1;
    args.partials = (float *)cuda->scratch;
    args.tickets = (unsigned *)(cuda->scratch + CUDA_SCRATCH_BYTES - CUDA_TICKET_BYTES);
    return args;
}

// The tiles of sequences with `rows_from` to `rows_upto` rows.
template <class S>
static Status tile_launch(CudaContext *cuda, const OpAttention *op, uint32_t rows_from,
                          uint32_t rows_upto) {
    TileArgs args = tile_args(cuda, op, S::ROWS);
    args.rows_from = rows_from;
    args.rows_upto = rows_upto;
    uint32_t slots = tile_slots(op, args.tokens), most = tile_slots_most(op);
    uint32_t kv_heads = args.cache.form.kv_heads;
    uint32_t tiles = slots * kv_heads, splits = tile_splits_most(op);
    size_t bytes = (size_t)tiles * splits * S::PARTIAL_FLOATS * sizeof(float);
    if (tiles < (uint32_t)cuda->multiprocessors * TILE_BLOCKS_PER_MULTIPROCESSOR &&
        bytes <= CUDA_SCRATCH_BYTES - CUDA_TICKET_BYTES) {
        args.parts = splits;
    }
    Status status = OK;
    for (; args.slot_first < slots && status == OK; args.slot_first += args.slots) {
        args.slots = slots - args.slot_first < most ? slots - args.slot_first : most;
        dim3 grid(args.slots, kv_heads * args.parts);
        status = cuda_launched(cuda, "attention_tile",
                               LAUNCH(attention_tile_kernel<S>, grid, S::THREADS, S::SHARED_BYTES,
                                      cuda->stream, args));
    }
    return status;
}

// Sequences whose rows fit one tile of the short shape get it, the others tiles of the long one.
template <class Short, class Long>
static Status tile_launch_both(CudaContext *cuda, const OpAttention *op) {
    uint32_t group = op->cache.shape.head_count / op->cache.shape.kv_head_count;
    uint32_t upto = (uint32_t)Short::ROWS / group;
    uint32_t rows = op->rows.row_count, sequences = op->rows.sequence_count;
    // The longest sequence has at most rows - sequences + 1 rows, one alone has them all.
    Status status = OK;
    if (sequences > 1 || rows <= upto) {
        status = tile_launch<Short>(cuda, op, 1, upto);
    }
    if (rows - sequences + 1 > upto && status == OK) {
        status = tile_launch<Long>(cuda, op, upto + 1, UINT32_MAX);
    }
    return status;
}

#endif
