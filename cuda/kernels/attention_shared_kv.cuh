// SPDX-License-Identifier: Apache-2.0
// A tile of attention over shared pages (kv_layout.cuh): the query, a chunk of positions.
// attention_tile.cuh walks the chunks.
//
// A shared page's values serve both products, so they are staged: each number comes from the page
// once, by cp.async, and lies in shared memory while its chunk of 16 positions, a page, is worked
// on, the next two on their way. The columns are dealt out in quarters, of keys as of values, and a
// warp has one quarter and 16 rows:
//   S = Q K^T     Q: A fragments in registers; K: B fragments by ldmatrix, from the staged values,
//                 and for the first half of the columns of quarters 0 and 2 from the staged turned
//                 numbers, which are keys for just those columns
// gives each warp a quarter of every score. The warps exchange the quarters through shared memory,
// and each adds all four and does the whole softmax, whose fragments are those of P:
//   O += P V      P: A fragments in registers; V: B fragments by ldmatrix.trans, from the stage
// The barrier of the exchange is the chunk's only one: behind it the next chunk's stage is there
// for all, and the stage of the chunk before is free. At head_dim 512 query and O are 64 registers
// each.
//
// A stage is the page's part of the kv head, in its order but for one thing: pieces of 16 bytes lie
// in lines of 128 bytes, and piece p of a token at p ^ (token % 8) of its line, so that the same
// piece of eight tokens, which is what ldmatrix reads, touches every bank once. (Keys of smaller
// heads, with less than eight pieces a token, alike.)
//
// Precision. q is two bf16 (q = high + low, 16 bits); probabilities are bf16, summed as rounded.
#ifndef CUDA_KERNELS_ATTENTION_SHARED_KV_CUH
#define CUDA_KERNELS_ATTENTION_SHARED_KV_CUH

#include "cuda/kernels/attention_shape.cuh"
#include "cuda/kernels/exp.cuh"

// ---- The stage ----------------------------------------------------------------------------------

// The staged values of the chunk at `position`, the keys behind them.
template <class S> DEVICE Vector16 *stage_at(uint32_t position) {
    return tile_shared<Vector16>(S::STAGES) +
           position / S::CHUNK % S::STAGE_COUNT * (S::VALUE_PIECES + S::KEY_PIECES);
}

// Where the piece of a token lies among rows of LINE pieces, 16 tokens a block.
template <int LINE> DEVICE uint32_t stage_place(uint32_t block, uint32_t token, uint32_t piece) {
    return (block * KV_PAGE_TOKENS + token) * LINE + (piece ^ token / (8 / LINE) % LINE);
}

// Zeros for tokens from `tokens` on.
template <class S, int PIECES, int LINE>
DEVICE void stage_pieces(Vector16 *to, const unsigned char *from, uint32_t tokens) {
    UNROLL
    for (uint32_t first = 0; first < PIECES; first += S::THREADS) {
        uint32_t i = first + thread_index(), row = i / LINE, token = row % KV_PAGE_TOKENS;
        if (i < PIECES) {
            cp_async_16(to + stage_place<LINE>(row / KV_PAGE_TOKENS, token, i % LINE),
                        from + i * 16, token < tokens ? 16 : 0);
        }
    }
}

// Sends for the chunk at `position`. What no row sees becomes zeros: its probabilities are 0, the
// page's numbers may be NaN.
template <class S>
DEVICE void stage_chunk(const TileArgs &args, const Tile<S> &tile, uint32_t position) {
    const KvForm form = S::form(args.cache);
    const unsigned char *page = kv_page(args.cache, tile.table, position);
    uint32_t tokens = tile.end - position;
    Vector16 *to = stage_at<S>(position);
    stage_pieces<S, S::VALUE_PIECES, S::LINE>(
        to, page + kv_number_offset(form, KV_VALUES, tile.kv_head, 0, 0), tokens);
    stage_pieces<S, S::KEY_PIECES, S::KEY_LINE>(
        to + S::VALUE_PIECES, page + kv_number_offset(form, KV_KEYS, tile.kv_head, 0, 0), tokens);
}

// The address of piece `piece` of the warp's quarter of a token's value.
template <class S>
DEVICE const Vector16 *stage_value(uint32_t position, uint32_t token, uint32_t piece) {
    piece += S::quarter() * S::OUT_TILES;
    return stage_at<S>(position) + stage_place<S::LINE>(piece / S::LINE, token, piece % S::LINE);
}

// Of a token's key.
template <class S>
DEVICE const Vector16 *stage_key(uint32_t position, uint32_t token, uint32_t piece) {
    if (S::quarter() % 2 == 0 && piece < S::KEY_LINE) {
        return stage_at<S>(position) + S::VALUE_PIECES +
               stage_place<S::KEY_LINE>(S::quarter() / 2, token, piece);
    }
    return stage_value<S>(position, token, piece);
}

// ---- The query ----------------------------------------------------------------------------------

// Two numbers from d on of a row of the tile; zeros for a row that is not there.
template <class S>
DEVICE Vector8 query_pair(const TileArgs &args, const Tile<S> &tile, uint32_t row, uint32_t d) {
    if (row >= tile.tokens * args.group) {
        return {{0, 0}};
    }
    uint32_t head = tile.kv_head * args.group + row % args.group;
    const float *q = args.q + (size_t)(tile.row + row / args.group) * args.q_stride +
                     (size_t)head * S::HEAD_DIM + d;
    return global_load((const Vector8 *)q);
}

// What comes before the first chunk, the one at `first`: the warp's rows and columns of the query.
template <int HEAD_DIM, int ROW_TILES>
DEVICE void tile_begin(const TileArgs &args, Tile<SharedKvShape<HEAD_DIM, ROW_TILES>> &tile,
                       uint32_t first) {
    typedef SharedKvShape<HEAD_DIM, ROW_TILES> S;
    stage_chunk<S>(args, tile, first);
    cp_async_commit();
    if (first + S::CHUNK < tile.stop) {
        stage_chunk<S>(args, tile, first + S::CHUNK);
    }
    cp_async_commit();
    uint32_t row = S::row_first() + thread_lane() / 4;
    uint32_t column = S::quarter() * S::COLUMNS + thread_lane() % 4 * 2;
    UNROLL
    for (int i = 0; i < S::STEPS * 4; i++) {
        int step = i / 4, r = i % 4;
        Vector8 q = query_pair<S>(args, tile, row + 8 * (uint32_t)(r % 2),
                                  column + (uint32_t)(16 * step + 8 * (r / 2)));
        split_bf16(bits_to_float(q.word[0]), bits_to_float(q.word[1]), &tile.query.part[step][0][r],
                   &tile.query.part[step][1][r]);
    }
    cp_async_wait<1>();
    block_sync();
}

// ---- One chunk ----------------------------------------------------------------------------------

// The warp's quarter of the scores; tile n has positions 8n + 2t + i % 2, i as mma has it.
template <class S>
DEVICE void chunk_products(const Tile<S> &tile, uint32_t position, float scores[2][4]) {
    uint32_t lane = thread_lane(), token = lane / 16 * 8 + lane % 8;
    UNROLL
    for (int step = 0; step < S::STEPS; step++) {
        uint32_t keys[4]; // the step's two pieces of positions 0..7, then of 8..15
        ldmatrix_x4(keys, stage_key<S>(position, token, 2 * (uint32_t)step + lane / 8 % 2));
        UNROLL
        for (int part = 0; part < 2; part++) {
            const uint32_t *q = tile.query.part[step][part];
            mma_bf16(scores[0], q, keys, scores[0]);
            mma_bf16(scores[1], q, keys + 2, scores[1]);
        }
    }
}

// The quarters of the row tile's warps, added. Two chunks have places of their own: a warp that is
// a barrier ahead writes where nobody reads any more.
template <class S> DEVICE void chunk_exchange(uint32_t position, float scores[2][4]) {
    Vector16 *shared = tile_shared<Vector16>(S::SCORES) +
                       position / S::CHUNK % 2 * S::SCORE_VECTORS + thread_lane();
    UNROLL
    for (uint32_t n = 0; n < 2; n++) {
        Vector16 mine = {{float_to_bits(scores[n][0]), float_to_bits(scores[n][1]),
                          float_to_bits(scores[n][2]), float_to_bits(scores[n][3])}};
        shared_store(shared + (thread_warp() * 2 + n) * 32, mine);
    }
    cp_async_wait<0>(); // for the next chunk
    block_sync();
    shared += thread_warp() / TILE_WARPS * TILE_WARPS * 2 * 32;
    UNROLL
    for (uint32_t n = 0; n < 2; n++) {
        Vector16 quarter[TILE_WARPS];
        UNROLL
        for (uint32_t i = 0; i < TILE_WARPS; i++) {
            quarter[i] = shared_load(shared + (i * 2 + n) * 32);
        }
        UNROLL
        for (int i = 0; i < 4; i++) {
            scores[n][i] = (bits_to_float(quarter[0].word[i]) + bits_to_float(quarter[1].word[i])) +
                           (bits_to_float(quarter[2].word[i]) + bits_to_float(quarter[3].word[i]));
        }
    }
}

// Scores to probabilities, as an A fragment; returns in `factor` what older sums and outputs are to
// be multiplied by.
template <class S>
DEVICE void chunk_soften(Tile<S> &tile, uint32_t position, float scores[2][4], uint32_t fragment[4],
                         float factor[1][2]) {
    const uint32_t *ends = tile_shared<uint32_t>(S::RANGES) + S::ROWS + S::row_first();
    UNROLL
    for (int h = 0; h < 2; h++) {
        uint32_t end = shared_load(ends + 8 * h + thread_lane() / 4);
        float before = tile.highest[0][h], top = before;
        UNROLL
        for (int i = 0; i < 4; i++) {
            uint32_t at = position + (uint32_t)(i / 2 * 8 + i % 2) + thread_lane() % 4 * 2;
            float &score = scores[i / 2][2 * h + i % 2];
            score = at < end ? score : -INFINITY;
            top = fmaxf(top, score);
        }
        top = fmaxf(top, warp_shuffle_xor(top, 1));
        top = fmaxf(top, warp_shuffle_xor(top, 2));
        tile.highest[0][h] = top;
        factor[0][h] = before == top ? 1.0f : exp_f32(before - top);
        tile.sum[0][h] *= factor[0][h];
        float reference = top == -INFINITY ? 0.0f : top; // the row has seen nothing
        UNROLL
        for (int n = 0; n < 2; n++) {
            uint32_t pair = bf16_pair(exp_f32(scores[n][2 * h] - reference),
                                      exp_f32(scores[n][2 * h + 1] - reference));
            tile.sum[0][h] += bits_to_float(pair << 16) + bits_to_float(pair & 0xffff0000u);
            fragment[2 * n + h] = pair;
        }
    }
}

// O += P V, sixteen columns at a time.
template <class S>
DEVICE void chunk_blend(Tile<S> &tile, uint32_t position, const uint32_t fragment[4]) {
    uint32_t lane = thread_lane();
    UNROLL
    for (uint32_t n = 0; n < S::OUT_TILES; n += 2) {
        uint32_t values[4]; // positions 0..7 and 8..15 of a piece, then of the next
        ldmatrix_x4_trans(values, stage_value<S>(position, lane % 16, n + lane / 16));
        mma_bf16(tile.out[0][n], fragment, values, tile.out[0][n]);
        mma_bf16(tile.out[0][n + 1], fragment, values + 2, tile.out[0][n + 1]);
    }
}

template <int HEAD_DIM, int ROW_TILES>
DEVICE void tile_chunk(const TileArgs &args, Tile<SharedKvShape<HEAD_DIM, ROW_TILES>> &tile,
                       uint32_t position) {
    typedef SharedKvShape<HEAD_DIM, ROW_TILES> S;
    float scores[2][4] = {}, factor[1][2];
    uint32_t fragment[4];
    chunk_products<S>(tile, position, scores);
    chunk_exchange<S>(position, scores);
    if (position + 2 * S::CHUNK < tile.stop) {
        stage_chunk<S>(args, tile, position + 2 * S::CHUNK);
        cp_async_commit();
    }
    chunk_soften<S>(tile, position, scores, fragment, factor);
    tile_scale<S>(tile, factor);
    chunk_blend<S>(tile, position, fragment);
}

// The sums of the rows; every warp has seen all positions.
template <int HEAD_DIM, int ROW_TILES>
DEVICE void tile_sums(Tile<SharedKvShape<HEAD_DIM, ROW_TILES>> &tile) {
    UNROLL
    for (int h = 0; h < 2; h++) {
        tile.sum[0][h] += warp_shuffle_xor(tile.sum[0][h], 1);
        tile.sum[0][h] += warp_shuffle_xor(tile.sum[0][h], 2);
    }
}

#endif
