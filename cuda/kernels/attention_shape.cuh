// SPDX-License-Identifier: Apache-2.0
// The sizes of an attention tile, what a thread keeps of it, and the few operations that differ
// between pages of bf16 and of int8 (attention_tile.cuh has the walk, attention_separate_kv.cuh and
// attention_shared_kv.cuh a chunk of it).
#ifndef CUDA_KERNELS_ATTENTION_SHAPE_CUH
#define CUDA_KERNELS_ATTENTION_SHAPE_CUH

#include "cuda/kernels/activation.cuh"
#include "cuda/kernels/attention.h"

enum {
    TILE_WARPS = 4, // that share the columns
    SPLIT_TOKENS = 128,
    QUERY_STEPS = 127 * 128, // of a row's largest query with int8 pages
};

typedef struct TileArgs {
    KvView cache;
    const float *q;
    uint32_t q_stride;
    float *scratch; // [rows][heads * head_dim]
    Activation out;
    uint32_t group;                // query heads of a kv head
    uint32_t tokens;               // of a full tile
    uint32_t rows_from, rows_upto; // sequences with so many rows are this launch's
    uint32_t parts;                // blocks that share a tile, a split each; 1: a block walks all
    uint32_t slot_first, slots;    // of this launch
    float *partials;               // [slots][kv heads][parts][PARTIAL_FLOATS]
    unsigned *tickets;             // [slots][kv heads] of splits, then [slots] of kv heads
} TileArgs;

// ---- What differs between bf16 and int8 pages ---------------------------------------------------

template <KvKind KIND> struct KvMath;

template <> struct KvMath<KV_BF16> {
    typedef float Sum;
    typedef Vector16 Value; // 8 numbers
    enum { NUMBER_BYTES = 2 };
    DEVICE void score(float d[4], const uint32_t a[4], const uint32_t b[2]) {
        mma_bf16(d, a, b, d);
    }
    DEVICE void blend(float d[4], const uint32_t a[4], const uint32_t b[2]) {
        mma_bf16(d, a, b, d);
    }
    DEVICE Value load(const unsigned char *from) {
        return global_load_once((const Vector16 *)from);
    }
    // Number c of two tokens in one register.
    DEVICE uint32_t pair(const Value &first, const Value &second, int c) {
        return byte_permute_two(first.word[c / 2], second.word[c / 2],
                                c % 2 == 0 ? 0x5410u : 0x7632u);
    }
    DEVICE uint32_t probabilities(float low, float high) {
        return bf16_pair(low, high);
    }
    DEVICE float probability_kept(float p) {
        return bf16_to_float(bf16_from_float(p));
    }
};

template <> struct KvMath<KV_INT8> {
    typedef int32_t Sum;
    typedef Vector8 Value;
    enum { NUMBER_BYTES = 1 };
    DEVICE void score(int32_t d[4], const uint32_t a[4], const uint32_t b[2]) {
        mma_s8(d, a, b, d);
    }
    DEVICE void blend(float d[4], const uint32_t a[4], const uint32_t b[2]) {
        mma_f16(d, a, b, d);
    }
    DEVICE Value load(const unsigned char *from) {
        return global_load((const Vector8 *)from);
    }
    // A byte u below 0x64 is the f16 1024 + u; u has 128 added.
    DEVICE uint32_t pair(const Value &first, const Value &second, int c) {
        uint32_t mixed =
            byte_permute_two(first.word[c / 4], second.word[c / 4], c % 4 < 2 ? 0x5140u : 0x7362u);
        uint32_t halves = byte_permute_two(mixed, 0x64646464u, c % 2 == 0 ? 0x4140u : 0x4342u);
        return f16x2_add(halves, 0xe480e480u); // -1152
    }
    DEVICE uint32_t probabilities(float low, float high) {
        return f16_pair(low, high);
    }
    DEVICE float probability_kept(float p) {
        return p;
    }
};

// ---- Sizes --------------------------------------------------------------------------------------

// A tile has ROWS rows; a thread has of 2 * M_TILES of them, (m, h) for row row_first() + 16 m + 8
// h
// + g, the columns of OUT_TILES n8 tiles of mma.

// Neighbouring columns of a lane, in out[m][tile + j * RUN_TILES][slot + j * RUN_SLOTS], j < RUN.
typedef struct Run {
    int m, h;
    int tile, slot;
    uint32_t column; // and `further` columns, a constant
    int further;
} Run;

// Pages with separate keys and values.
template <int HEAD_DIM_, int M_TILES_, KvKind KIND_> struct SeparateKvShape {
    typedef KvMath<KIND_> Math;
    static constexpr KvKind KIND = KIND_;
    static constexpr int HEAD_DIM = HEAD_DIM_, M_TILES = M_TILES_, ROWS = 16 * M_TILES;
    static constexpr int THREADS = TILE_WARPS * 32, BLOCKS = 2; // of a multiprocessor
    static constexpr int CHUNK = TILE_WARPS * KV_PAGE_TOKENS;   // positions
    static constexpr int KEY_UNITS = HEAD_DIM * Math::NUMBER_BYTES / KV_BLOCK_BYTES;
    // Keys in flight; fewer where registers are short.
    static constexpr int KEY_DEPTH = KEY_UNITS * M_TILES > 16  ? 1
                                     : 4 / M_TILES < KEY_UNITS ? 4 / M_TILES
                                                               : KEY_UNITS;
    static constexpr int VALUE_UNITS = HEAD_DIM / KV_VALUE_COLUMNS;
    static constexpr int UNITS = (VALUE_UNITS + TILE_WARPS - 1) / TILE_WARPS; // of a warp
    static constexpr int OUT_TILES = 8 * UNITS;                               // of 8 columns
    // Shared memory, in bytes.
    static constexpr int QUERY = 0;
    static constexpr int PROBABILITIES = QUERY + M_TILES * KEY_UNITS * 2 * 2 * 512;
    static constexpr int HIGHEST = PROBABILITIES + TILE_WARPS * M_TILES * 512;
    static constexpr int SUMS = HIGHEST + TILE_WARPS * ROWS * 4;
    static constexpr int RANGES = SUMS + TILE_WARPS * ROWS * 4;
    static constexpr int QUERY_ABSMAX = RANGES + ROWS * 8;
    static constexpr int TOTALS = QUERY_ABSMAX + ROWS * 4;
    static constexpr int FLAG = TOTALS + 4 * M_TILES * THREADS * 4;
    static constexpr int SMALL = FLAG + 16;
    static constexpr int SHARED_BYTES = SMALL + ACTIVATION_SHARED_BYTES;
    // What a block leaves of a split: O as fragments, then the largest score and the sum of rows.
    static constexpr int PARTIAL_VECTORS = M_TILES * OUT_TILES;
    static constexpr int PARTIAL_FLOATS = PARTIAL_VECTORS * THREADS * 4 + 2 * ROWS;

    DEVICE uint32_t row_first() {
        return 0;
    }
    DEVICE KvForm form(const KvView &cache) {
        return {KIND, cache.form.kv_heads, HEAD_DIM, HEAD_DIM};
    }

    typedef Vector16 RunVector;
    static constexpr int RUN = 4, RUNS = M_TILES * UNITS * 8, RUN_TILES = 1, RUN_SLOTS = 0;
    DEVICE Run run(int i) {
        int unit = i / 8 % UNITS, h = i / 4 % 2, e = i / 2 % 2, c = i % 2 * 4;
        uint32_t block = thread_warp() * UNITS + (uint32_t)unit;
        return {i / (UNITS * 8),
                h,
                8 * unit + c,
                2 * h + e,
                block * KV_VALUE_COLUMNS + thread_lane() % 4 * 16,
                8 * e + c};
    }

    typedef struct Query {
    } Query; // in shared memory
};

// Shared pages of bf16. Warp w has columns of quarter w % 4 and rows of tile w / 4.
template <int HEAD_DIM_, int ROW_TILES_> struct SharedKvShape {
    static constexpr int HEAD_DIM = HEAD_DIM_, ROW_TILES = ROW_TILES_, ROWS = 16 * ROW_TILES;
    static constexpr int M_TILES = 1;
    static constexpr int THREADS = ROW_TILES * TILE_WARPS * 32, BLOCKS = 2 / ROW_TILES;
    static constexpr int CHUNK = KV_PAGE_TOKENS;             // positions
    static constexpr int COLUMNS = HEAD_DIM / TILE_WARPS;    // of a warp, of keys as of values
    static constexpr int STEPS = COLUMNS / 16;               // of a product over them
    static constexpr int OUT_TILES = COLUMNS / 8;            // of 8 columns
    static constexpr int LINE = 8, KEY_LINE = HEAD_DIM / 64; // pieces of 16 bytes that lie together
    static constexpr int VALUE_PIECES = CHUNK * HEAD_DIM / 8, KEY_PIECES = VALUE_PIECES / 4;
    static constexpr int SCORE_VECTORS = THREADS * CHUNK / 8;
    // Shared memory, in bytes.
    static constexpr int STAGES = 0, STAGE_COUNT = 3;
    static constexpr int SCORES = STAGES + STAGE_COUNT * (VALUE_PIECES + KEY_PIECES) * 16;
    static constexpr int RANGES = SCORES + 2 * SCORE_VECTORS * 16;
    static constexpr int TOTALS = RANGES + ROWS * 8;
    static constexpr int FLAG = TOTALS + 4 * THREADS * 4;
    static constexpr int SMALL = FLAG + 16;
    static constexpr int SHARED_BYTES = SMALL + ACTIVATION_SHARED_BYTES;
    // As above.
    static constexpr int PARTIAL_VECTORS = OUT_TILES;
    static constexpr int PARTIAL_FLOATS = PARTIAL_VECTORS * THREADS * 4 + 2 * ROWS;

    DEVICE uint32_t row_first() {
        return thread_warp() / TILE_WARPS * 16;
    }
    DEVICE uint32_t quarter() {
        return thread_warp() % TILE_WARPS;
    }
    DEVICE KvForm form(const KvView &cache) {
        return {KV_BF16, cache.form.kv_heads, HEAD_DIM, HEAD_DIM / 4};
    }

    typedef Vector8 RunVector;
    static constexpr int RUN = 2, RUNS = 2 * OUT_TILES, RUN_TILES = 0, RUN_SLOTS = 1;
    DEVICE Run run(int i) {
        int tile = i / 2, h = i % 2;
        return {0, h, tile, 2 * h, quarter() * COLUMNS + thread_lane() % 4 * 2, 8 * tile};
    }

    typedef struct Query {
        uint32_t part[STEPS][2][4]; // A fragments of its rows and columns: high, low
    } Query;
};

// A thread's view of the tile.
template <class S> struct Tile {
    uint32_t slot, kv_head;
    uint32_t row, tokens;  // first row of the step, and how many
    uint32_t first, end;   // positions that any row sees
    uint32_t stop;         // where this block's walk ends
    const uint32_t *table; // of the sequence's pages
    typename S::Query query;
    float out[S::M_TILES][S::OUT_TILES][4];
    float highest[S::M_TILES][2], sum[S::M_TILES][2];
};

template <typename T> DEVICE T *tile_shared(int offset) {
    return (T *)(shared_base() + offset);
}

template <class S> DEVICE void tile_scale(Tile<S> &tile, const float factor[S::M_TILES][2]) {
    UNROLL
    for (int i = 0; i < S::M_TILES * S::OUT_TILES * 4; i++) {
        int m = i / (S::OUT_TILES * 4), h = i / 2 % 2;
        tile.out[m][i / 4 % S::OUT_TILES][i % 4] *= factor[m][h];
    }
}

// The query as a sum of two bf16, two numbers at a time.
DEVICE void split_bf16(float a, float b, uint32_t *high, uint32_t *low) {
    *high = bf16_pair(a, b);
    *low = bf16_pair(a - bits_to_float(*high << 16), b - bits_to_float(*high & 0xffff0000u));
}

#endif
