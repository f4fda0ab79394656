// SPDX-License-Identifier: Apache-2.0
// A tile of attention over pages that keep keys and values separate: the query, a chunk of
// positions. attention_tile.cuh walks the chunks.
//
// Positions go by in chunks of 64 = 4 pages at absolute places. Warp w scores page w of the chunk:
//   S = Q K^T     Q: A fragments in shared memory; K: B fragments, loaded straight from the page
// then the warps meet over the largest score of each row, put probabilities into shared memory, and
// each blends its own columns of all four pages:
//   O += P V      P: A fragments in shared memory; V: B fragments, loaded straight from the page
// so that every cached number is read once, 16 bytes a lane, and never staged. O stays in
// registers: 16 rows x 128 columns are 64 a thread at head_dim 512.
//
// Fragments (g = lane / 4, t = lane % 4). The order of d within a dot product is free:
//   K bf16, block u of 32 numbers, tokens 8n + g: a lane's 16 bytes are d = 32u + 8t + 0..7; step s
//     of two takes words 2s and 2s + 1, so slot (register r, half i) of the mma is
//     d = 32u + 8t + 4s + 2r + i
//   K int8, block u of 64 numbers, tokens 8n + g: a lane's 16 bytes are d = 64u + 16t + 0..15; slot
//     (register r, byte i) of step s is d = 64u + 16t + 8s + 4r + i
//   V, block u of 64 columns: a lane holds columns 64u + 8g + c, c = 0..7, of tokens 2t, 2t + 1,
//     2t + 8, 2t + 9; n8 tile c takes number c of each, so lane (g, t) ends with rows g, g + 8 of
//     columns 64u + 16t + 8e + c in out[..][8u + c][e], out[..][8u + c][2 + e]: natural order again
//
// Precision. q is two bf16 (q = high + low, 16 bits), or for int8 pages two int8 (q = step * (128
// high + low), 15 bits, exact integer scores); probabilities are bf16, summed as rounded, or for
// int8 pages f16 times the scale of their value.
#ifndef CUDA_KERNELS_ATTENTION_SEPARATE_KV_CUH
#define CUDA_KERNELS_ATTENTION_SEPARATE_KV_CUH

#include "cuda/kernels/attention_shape.cuh"
#include "cuda/kernels/exp.cuh"

// ---- The query in shared memory -----------------------------------------------------------------

// Four numbers from d on of a row of the tile; zeros for a row that is not there.
template <class S>
DEVICE Vector16 query_numbers(const TileArgs &args, const Tile<S> &tile, uint32_t row, uint32_t d) {
    if (row >= tile.tokens * args.group) {
        return {{0, 0, 0, 0}};
    }
    uint32_t head = tile.kv_head * args.group + row % args.group;
    const float *q = args.q + (size_t)(tile.row + row / args.group) * args.q_stride +
                     (size_t)head * S::HEAD_DIM + d;
    return global_load((const Vector16 *)q);
}

// The fragment of (m tile, unit, step): part 0 is the high one.
template <class S> DEVICE Vector16 *query_fragment(int m, int unit, int step, int part) {
    int index = ((m * S::KEY_UNITS + unit) * 2 + step) * 2 + part;
    return tile_shared<Vector16>(S::QUERY) + index * 32;
}

DEVICE void split_four(const Vector16 &x, uint32_t high[2], uint32_t low[2]) {
    UNROLL
    for (int i = 0; i < 2; i++) {
        split_bf16(bits_to_float(x.word[2 * i]), bits_to_float(x.word[2 * i + 1]), &high[i],
                   &low[i]);
    }
}

DEVICE void split_int8(const Vector16 &x, float factor, uint32_t *high, uint32_t *low) {
    *high = *low = 0;
    UNROLL
    for (int i = 0; i < 4; i++) {
        int whole = round_to_int(bits_to_float(x.word[i]) * factor);
        int top = (whole + 64) >> 7;
        *high |= (uint32_t)(top & 0xff) << 8 * i;
        *low |= (uint32_t)((whole - 128 * top) & 0xff) << 8 * i;
    }
}

template <class S> DEVICE void query_absmax(const TileArgs &args, const Tile<S> &tile) {
    for (uint32_t row = thread_warp(); row < S::ROWS; row += TILE_WARPS) {
        float absmax = 0.0f;
        for (uint32_t d = thread_lane() * 4; d < S::HEAD_DIM; d += 128) {
            Vector16 x = query_numbers<S>(args, tile, row, d);
            UNROLL
            for (int i = 0; i < 4; i++) {
                absmax = fmaxf(absmax, fabsf(bits_to_float(x.word[i])));
            }
        }
        absmax = warp_max(absmax);
        if (thread_lane() == 0) {
            shared_store(tile_shared<float>(S::QUERY_ABSMAX) + row, absmax);
        }
    }
}

DEVICE float query_factor(float absmax) {
    return absmax < KV_ABSMAX_MIN ? 0.0f : (float)QUERY_STEPS / absmax;
}

template <class S> DEVICE void tile_query_int8(const TileArgs &args, const Tile<S> &tile) {
    const float *absmax = tile_shared<float>(S::QUERY_ABSMAX);
    query_absmax<S>(args, tile);
    block_sync();
    for (uint32_t i = thread_index(); i < S::M_TILES * S::KEY_UNITS * 64; i += S::THREADS) {
        uint32_t lane = i % 32, step = i / 32 % 2, unit = i / 64 % S::KEY_UNITS;
        uint32_t m = i / (64 * S::KEY_UNITS), row = 16 * m + lane / 4;
        uint32_t d = 64 * unit + 16 * (lane % 4) + 8 * step;
        Vector16 high, low;
        UNROLL
        for (int r = 0; r < 4; r++) {
            uint32_t at = row + 8 * (uint32_t)(r % 2);
            Vector16 x = query_numbers<S>(args, tile, at, d + 4 * (uint32_t)(r / 2));
            split_int8(x, query_factor(shared_load(absmax + at)), &high.word[r], &low.word[r]);
        }
        shared_store(query_fragment<S>((int)m, (int)unit, (int)step, 0) + lane, high);
        shared_store(query_fragment<S>((int)m, (int)unit, (int)step, 1) + lane, low);
    }
}

template <class S> DEVICE void tile_query_bf16(const TileArgs &args, const Tile<S> &tile) {
    for (uint32_t i = thread_index(); i < S::M_TILES * S::KEY_UNITS * 64; i += S::THREADS) {
        uint32_t lane = i % 32, step = i / 32 % 2, unit = i / 64 % S::KEY_UNITS;
        uint32_t m = i / (64 * S::KEY_UNITS), row = 16 * m + lane / 4;
        uint32_t d = 32 * unit + 8 * (lane % 4) + 4 * step;
        uint32_t high[2][2], low[2][2];
        split_four(query_numbers<S>(args, tile, row, d), high[0], low[0]);
        split_four(query_numbers<S>(args, tile, row + 8, d), high[1], low[1]);
        Vector16 highs = {{high[0][0], high[1][0], high[0][1], high[1][1]}};
        Vector16 lows = {{low[0][0], low[1][0], low[0][1], low[1][1]}};
        shared_store(query_fragment<S>((int)m, (int)unit, (int)step, 0) + lane, highs);
        shared_store(query_fragment<S>((int)m, (int)unit, (int)step, 1) + lane, lows);
    }
}

// What comes before the first chunk.
template <int HEAD_DIM, int M_TILES, KvKind KIND>
DEVICE void tile_begin(const TileArgs &args, Tile<SeparateKvShape<HEAD_DIM, M_TILES, KIND>> &tile,
                       uint32_t first) {
    (void)first;
    typedef SeparateKvShape<HEAD_DIM, M_TILES, KIND> S;
    if (KIND == KV_INT8) {
        tile_query_int8<S>(args, tile);
    } else {
        tile_query_bf16<S>(args, tile);
    }
    block_sync();
}

// ---- One chunk ----------------------------------------------------------------------------------

template <class S>
DEVICE void unit_products(int unit, const Vector16 k[2],
                          typename S::Math::Sum sums[2][S::M_TILES][2][4]) {
    UNROLL
    for (int i = 0; i < 4 * S::M_TILES; i++) {
        int m = i / 4, step = i / 2 % 2, part = i % 2;
        Vector16 a = shared_load(query_fragment<S>(m, unit, step, part) + thread_lane());
        S::Math::score(sums[part][m][0], a.word, &k[0].word[2 * step]);
        S::Math::score(sums[part][m][1], a.word, &k[1].word[2 * step]);
    }
}

// Scores of a page for all rows; tile n has tokens 8n + 2t + i % 2.
template <class S>
DEVICE void page_products(const unsigned char *keys,
                          typename S::Math::Sum sums[2][S::M_TILES][2][4]) {
    const Vector16 *from = (const Vector16 *)keys + thread_lane();
    Vector16 k[S::KEY_DEPTH][2];
    UNROLL
    for (int u = 0; u < S::KEY_DEPTH; u++) {
        k[u][0] = global_load_once(from + u * 64);
        k[u][1] = global_load_once(from + u * 64 + 32);
    }
    NO_UNROLL
    for (int first = 0; first < S::KEY_UNITS; first += S::KEY_DEPTH) {
        UNROLL
        for (int u = 0; u < S::KEY_DEPTH; u++) {
            unit_products<S>(first + u, k[u], sums);
            if (first + S::KEY_DEPTH < S::KEY_UNITS) {
                k[u][0] = global_load_once(from + (first + u + S::KEY_DEPTH) * 64);
                k[u][1] = global_load_once(from + (first + u + S::KEY_DEPTH) * 64 + 32);
            }
        }
    }
}

// A scale of the lane's token 8 n + 2 t + i of the page; 1 where pages have none.
template <class S>
DEVICE float page_scale(const KvView &cache, const unsigned char *page, KvSide side,
                        uint32_t kv_head, int n, int i) {
    if (S::KIND != KV_INT8) {
        return 1.0f;
    }
    uint32_t token = (uint32_t)(8 * n + i) + thread_lane() % 4 * 2;
    size_t at = kv_scale_offset(S::form(cache), side, kv_head, token);
    return global_load((const float *)(page + at));
}

// Scores of the page at `position`, -inf for what a row does not see.
template <class S>
DEVICE void page_scores(const TileArgs &args, const Tile<S> &tile, const unsigned char *page,
                        uint32_t position, float scores[S::M_TILES][2][4]) {
    typename S::Math::Sum sums[2][S::M_TILES][2][4] = {};
    const KvView &cache = args.cache;
    page_products<S>(page + kv_number_offset(S::form(cache), KV_KEYS, tile.kv_head, 0, 0), sums);
    float scale[4];
    UNROLL
    for (int i = 0; i < 4; i++) {
        scale[i] = page_scale<S>(cache, page, KV_KEYS, tile.kv_head, i / 2, i % 2);
    }
    UNROLL
    for (int i = 0; i < 2 * S::M_TILES; i++) {
        int m = i / 2, h = i % 2, row = 8 * i + (int)thread_lane() / 4;
        const uint32_t *range = tile_shared<uint32_t>(S::RANGES) + row;
        uint32_t first = shared_load(range), end = shared_load(range + S::ROWS);
        float query_scale = 1.0f;
        if (S::KIND == KV_INT8) {
            query_scale =
                shared_load(tile_shared<float>(S::QUERY_ABSMAX) + row) / (float)QUERY_STEPS;
        }
        UNROLL
        for (int j = 0; j < 4; j++) { // token 8 (j / 2) + 2t + j % 2
            int n = j / 2, e = 2 * h + j % 2;
            uint32_t at = position + (uint32_t)(8 * n + j % 2) + thread_lane() % 4 * 2;
            float score = S::KIND == KV_INT8 ? (float)(128 * sums[0][m][n][e] + sums[1][m][n][e]) *
                                                   (query_scale * scale[j])
                                             : (float)sums[0][m][n][e] + (float)sums[1][m][n][e];
            scores[m][n][e] = at >= first && at < end ? score : -INFINITY;
        }
    }
}

// The largest score of each row over the four pages, and with it the rows' new reference; returns
// in `factor` what older sums and outputs are to be multiplied by.
template <class S>
DEVICE void chunk_highest(Tile<S> &tile, const float scores[S::M_TILES][2][4],
                          float factor[S::M_TILES][2]) {
    float *shared = tile_shared<float>(S::HIGHEST);
    uint32_t g = thread_lane() / 4, t = thread_lane() % 4;
    UNROLL
    for (int i = 0; i < 2 * S::M_TILES; i++) {
        const float(*s)[4] = scores[i / 2];
        int e = i % 2 * 2;
        float top = fmaxf(fmaxf(s[0][e], s[0][e + 1]), fmaxf(s[1][e], s[1][e + 1]));
        top = fmaxf(top, warp_shuffle_xor(top, 1));
        top = fmaxf(top, warp_shuffle_xor(top, 2));
        if (t == 0) {
            shared_store(shared + thread_warp() * S::ROWS + 8 * (uint32_t)i + g, top);
        }
    }
    block_sync();
    UNROLL
    for (int i = 0; i < 2 * S::M_TILES; i++) {
        float before = tile.highest[i / 2][i % 2], top = before;
        UNROLL
        for (int page = 0; page < TILE_WARPS; page++) {
            top = fmaxf(top, shared_load(shared + page * S::ROWS + 8 * i + g));
        }
        tile.highest[i / 2][i % 2] = top;
        factor[i / 2][i % 2] = before == top ? 1.0f : exp_f32(before - top);
    }
}

// Scores to probabilities in shared memory, as A fragments of the warp's page.
template <class S>
DEVICE void page_probabilities(const TileArgs &args, Tile<S> &tile, const unsigned char *page,
                               const float scores[S::M_TILES][2][4]) {
    float scale[2][2];
    UNROLL
    for (int i = 0; i < 4; i++) {
        scale[i / 2][i % 2] =
            page_scale<S>(args.cache, page, KV_VALUES, tile.kv_head, i / 2, i % 2);
    }
    UNROLL
    for (int m = 0; m < S::M_TILES; m++) {
        Vector16 fragment;
        UNROLL
        for (int r = 0; r < 4; r++) { // row g + 8 (r % 2), tokens of tile r / 2
            int h = r % 2, n = r / 2;
            float p[2];
            // A row that has seen nothing has only scores of -inf.
            float highest = tile.highest[m][h] == -INFINITY ? 0.0f : tile.highest[m][h];
            UNROLL
            for (int i = 0; i < 2; i++) {
                p[i] = exp_f32(scores[m][n][2 * h + i] - highest);
                tile.sum[m][h] += S::Math::probability_kept(p[i]);
                // A scale behind the last token may be anything.
                p[i] = S::KIND == KV_INT8 && p[i] > 0.0f ? p[i] * scale[n][i] : p[i];
            }
            fragment.word[r] = S::Math::probabilities(p[0], p[1]);
        }
        Vector16 *to = tile_shared<Vector16>(S::PROBABILITIES);
        shared_store(to + (thread_warp() * S::M_TILES + (uint32_t)m) * 32 + thread_lane(),
                     fragment);
    }
}

// Columns of the lane in block `unit` of a page, for its four tokens. Tokens behind the last one
// that any row sees give way to it: their probabilities are 0, their numbers may be NaN.
template <class S>
DEVICE void value_load(const TileArgs &args, const Tile<S> &tile, uint32_t position, uint32_t page,
                       uint32_t unit, typename S::Math::Value value[4]) {
    const KvView &cache = args.cache;
    position += page * KV_PAGE_TOKENS;
    uint32_t g = thread_lane() / 4, t = thread_lane() % 4, last = tile.end - position - 1;
    const unsigned char *from = kv_page(cache, tile.table, position) +
                                kv_number_offset(S::form(cache), KV_VALUES, tile.kv_head, 0,
                                                 unit * KV_VALUE_COLUMNS + 8 * g);
    UNROLL
    for (int i = 0; i < 4; i++) {
        uint32_t token = 2 * t + (uint32_t)(i % 2 + i / 2 * 8);
        token = token < last ? token : last;
        value[i] = S::Math::load(from + token * KV_VALUE_COLUMNS * S::Math::NUMBER_BYTES);
    }
}

template <class S>
DEVICE void value_blend(Tile<S> &tile, int page, int unit, const typename S::Math::Value value[4]) {
    const Vector16 *from = tile_shared<Vector16>(S::PROBABILITIES);
    Vector16 p[S::M_TILES];
    UNROLL
    for (int m = 0; m < S::M_TILES; m++) {
        p[m] = shared_load(from + (page * S::M_TILES + m) * 32 + (int)thread_lane());
    }
    UNROLL
    for (int c = 0; c < 8; c++) {
        uint32_t b[2] = {S::Math::pair(value[0], value[1], c),
                         S::Math::pair(value[2], value[3], c)};
        UNROLL
        for (int m = 0; m < S::M_TILES; m++) {
            S::Math::blend(tile.out[m][8 * unit + c], p[m].word, b);
        }
    }
}

// O += P V over pages [page, page_end) of the chunk, the next values on their way meanwhile.
// value[0] has the first ones.
template <class S>
DEVICE void chunk_blend(const TileArgs &args, Tile<S> &tile, uint32_t position, uint32_t page,
                        uint32_t page_end, typename S::Math::Value value[2][4]) {
    uint32_t block = thread_warp() * S::UNITS;
    NO_UNROLL
    for (; page < page_end; page++) {
        UNROLL
        for (int unit = 0; unit < S::UNITS; unit++) {
            uint32_t next = page + (uint32_t)((unit + 1) / S::UNITS);
            if (next < page_end) {
                value_load<S>(args, tile, position, next, block + (uint32_t)((unit + 1) % S::UNITS),
                              value[(unit + 1) % 2]);
            }
            value_blend<S>(tile, (int)page, unit, value[unit % 2]);
        }
        UNROLL
        for (int i = 0; i < 4 && S::UNITS % 2 == 1; i++) {
            value[0][i] = value[1][i];
        }
    }
}

template <int HEAD_DIM, int M_TILES, KvKind KIND>
DEVICE void tile_chunk(const TileArgs &args, Tile<SeparateKvShape<HEAD_DIM, M_TILES, KIND>> &tile,
                       uint32_t position) {
    typedef SeparateKvShape<HEAD_DIM, M_TILES, KIND> S;
    // The pages that any row sees.
    uint32_t first = tile.first > position ? (tile.first - position) / KV_PAGE_TOKENS : 0;
    uint32_t end = (tile.end - position + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
    end = end < TILE_WARPS ? end : (uint32_t)TILE_WARPS;
    bool scores_page = thread_warp() >= first && thread_warp() < end;
    bool blends = thread_warp() * S::UNITS < S::VALUE_UNITS;
    const unsigned char *page = args.cache.pages;
    float scores[S::M_TILES][2][4], factor[S::M_TILES][2];
    UNROLL
    for (int i = 0; i < S::M_TILES * 8; i++) {
        scores[i / 8][i / 4 % 2][i % 4] = -INFINITY;
    }
    if (scores_page) {
        uint32_t mine = position + thread_warp() * KV_PAGE_TOKENS;
        page = kv_page(args.cache, tile.table, mine);
        page_scores<S>(args, tile, page, mine, scores);
    }
    typename S::Math::Value value[2][4] = {};
    if (blends) { // under way while the warps meet
        value_load<S>(args, tile, position, first, thread_warp() * S::UNITS, value[0]);
    }
    chunk_highest<S>(tile, scores, factor);
    UNROLL
    for (int i = 0; i < 2 * S::M_TILES; i++) {
        tile.sum[i / 2][i % 2] *= factor[i / 2][i % 2];
    }
    if (scores_page) {
        page_probabilities<S>(args, tile, page, scores);
    }
    tile_scale<S>(tile, factor);
    block_sync();
    if (blends) {
        chunk_blend<S>(args, tile, position, first, end, value);
    }
}

// The sums of the rows over the four warps.
template <int HEAD_DIM, int M_TILES, KvKind KIND>
DEVICE void tile_sums(Tile<SeparateKvShape<HEAD_DIM, M_TILES, KIND>> &tile) {
    typedef SeparateKvShape<HEAD_DIM, M_TILES, KIND> S;
    float *shared = tile_shared<float>(S::SUMS);
    uint32_t g = thread_lane() / 4;
    UNROLL
    for (int i = 0; i < 2 * S::M_TILES; i++) {
        float sum = tile.sum[i / 2][i % 2];
        sum += warp_shuffle_xor(sum, 1);
        sum += warp_shuffle_xor(sum, 2);
        if (thread_lane() % 4 == 0) {
            shared_store(shared + thread_warp() * S::ROWS + 8 * (uint32_t)i + g, sum);
        }
    }
    block_sync();
    UNROLL
    for (int i = 0; i < 2 * S::M_TILES; i++) {
        float sum = 0.0f;
        UNROLL
        for (int page = 0; page < TILE_WARPS; page++) {
            sum += shared_load(shared + page * S::ROWS + 8 * i + g);
        }
        tile.sum[i / 2][i % 2] = sum;
    }
}

#endif
