// SPDX-License-Identifier: Apache-2.0
// The sizes of an attention tile, what a thread keeps of it, and the few operations that differ
// between pages of bf16 and of int8 (attention_tile.cuh is the algorithm).
#ifndef CUDA_KERNELS_ATTENTION_SHAPE_CUH
#define CUDA_KERNELS_ATTENTION_SHAPE_CUH

#include "cuda/kernels/activation.cuh"
#include "cuda/kernels/attention.h"

enum {
    TILE_WARPS = 4,
    TILE_THREADS = TILE_WARPS * 32,
    CHUNK_TOKENS = TILE_WARPS * KV_PAGE_TOKENS,
    SPLIT_TOKENS = 2 * CHUNK_TOKENS,
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
    uint32_t slots;
    float *partials;   // [slots][kv heads][parts][PARTIAL_FLOATS]
    unsigned *tickets; // [slots][kv heads] of splits, then [slots] of kv heads
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

template <int HEAD_DIM_, int M_TILES_, KvKind KIND_> struct TileShape {
    typedef KvMath<KIND_> Math;
    static constexpr KvKind KIND = KIND_;
    static constexpr int HEAD_DIM = HEAD_DIM_, M_TILES = M_TILES_, ROWS = 16 * M_TILES;
    static constexpr int KEY_UNITS = HEAD_DIM * Math::NUMBER_BYTES / KV_BLOCK_BYTES;
    static constexpr int KEY_DEPTH = 4 / M_TILES < KEY_UNITS ? 4 / M_TILES : KEY_UNITS; // in flight
    static constexpr int VALUE_UNITS = HEAD_DIM / KV_VALUE_COLUMNS;
    static constexpr int UNITS = (VALUE_UNITS + TILE_WARPS - 1) / TILE_WARPS; // of a warp
    // Shared memory, in bytes.
    static constexpr int QUERY = 0;
    static constexpr int PROBABILITIES = QUERY + M_TILES * KEY_UNITS * 2 * 2 * 512;
    static constexpr int HIGHEST = PROBABILITIES + TILE_WARPS * M_TILES * 512;
    static constexpr int SUMS = HIGHEST + TILE_WARPS * ROWS * 4;
    static constexpr int RANGES = SUMS + TILE_WARPS * ROWS * 4;
    static constexpr int QUERY_ABSMAX = RANGES + ROWS * 8;
    static constexpr int TOTALS = QUERY_ABSMAX + ROWS * 4;
    static constexpr int FLAG = TOTALS + 4 * M_TILES * TILE_THREADS * 4;
    static constexpr int SMALL = FLAG + 16;
    static constexpr int SHARED_BYTES = SMALL + ACTIVATION_SHARED_BYTES;
    // What a block leaves of a split: O as fragments, then the largest score and the sum of rows.
    static constexpr int PARTIAL_VECTORS = M_TILES * UNITS * 8;
    static constexpr int PARTIAL_FLOATS = PARTIAL_VECTORS * TILE_THREADS * 4 + 2 * ROWS;
};

// A thread's view of the tile. Rows of a lane: [m][h] is row 16 m + g + 8 h.
template <class S> struct Tile {
    uint32_t slot, kv_head;
    uint32_t row, tokens;  // first row of the step, and how many
    uint32_t first, end;   // positions that any row sees
    const uint32_t *table; // of the sequence's pages
    float out[S::M_TILES][S::UNITS][8][4];
    float highest[S::M_TILES][2], sum[S::M_TILES][2];
};

template <typename T> DEVICE T *tile_shared(int offset) {
    return (T *)(shared_base() + offset);
}

#endif
