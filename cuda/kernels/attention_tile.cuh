// SPDX-License-Identifier: Apache-2.0
// A tile of attention: up to 16 or 32 rows of mma, which are the (token, head) pairs of one
// sequence that share a kv head, over the positions they see. attention_tile.cu launches it.
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
//   K bf16, block u of 32 numbers, tokens 8n + g: a lane's 16 bytes are d 32u + 8t + 0..7; step s
//   of
//     two takes words 2s, 2s + 1, so slot (register r, half i) of mma is d = 32u + 8t + 4s + 2r + i
//   K int8, block u of 64: d 64u + 16t + 0..15; slot (r, byte i) of step s is 64u + 16t + 8s + 4r +
//   i V, block u of 64 columns: a lane holds columns 64u + 8g + c, c = 0..7, of tokens 2t, 2t + 1,
//     2t + 8, 2t + 9; n8 tile c takes number c of each, so lane (g, t) ends with rows g, g + 8 of
//     columns 64u + 16t + 8e + c in out[..][c][e], out[..][c][2 + e]: natural order again
//
// Precision. q is two bf16 (q = high + low, 16 bits), or for int8 pages two int8 (q = step * (128
// high + low), 15 bits, exact integer scores); probabilities are bf16, summed as rounded, or for
// int8 pages f16 times the scale of their value.
//
// A row's bits depend on nothing but the row. Positions are split every 128; a split begins anew,
// and splits are folded in ascending order with the same three operations whether one block walks
// them all or each has a block of its own and the last to arrive folds them. What a row does not
// see adds exact zeros.
#ifndef CUDA_KERNELS_ATTENTION_TILE_CUH
#define CUDA_KERNELS_ATTENTION_TILE_CUH

#include "cuda/kernels/attention_shape.cuh"
#include "cuda/kernels/exp.cuh"

// ---- Which tile ---------------------------------------------------------------------------------

// Tile j of sequence s has slot (row_first - s) / tokens + s + j: slots of different tiles differ,
// and a launch needs no table to find its own. Slots between them stay empty. False: nothing to do.
template <class S>
DEVICE bool tile_find(const TileArgs &args, uint32_t slot, uint32_t kv_head, Tile<S> &tile) {
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
    tile.slot = slot;
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
    for (int i = 0; i < 2 * S::M_TILES; i++) {
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

DEVICE void split_bf16(const Vector16 &x, uint32_t high[2], uint32_t low[2]) {
    UNROLL
    for (int i = 0; i < 2; i++) {
        float a = bits_to_float(x.word[2 * i]), b = bits_to_float(x.word[2 * i + 1]);
        high[i] = bf16_pair(a, b);
        low[i] =
            bf16_pair(a - bits_to_float(high[i] << 16), b - bits_to_float(high[i] & 0xffff0000u));
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
    for (uint32_t i = thread_index(); i < S::M_TILES * S::KEY_UNITS * 64; i += TILE_THREADS) {
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
    for (uint32_t i = thread_index(); i < S::M_TILES * S::KEY_UNITS * 64; i += TILE_THREADS) {
        uint32_t lane = i % 32, step = i / 32 % 2, unit = i / 64 % S::KEY_UNITS;
        uint32_t m = i / (64 * S::KEY_UNITS), row = 16 * m + lane / 4;
        uint32_t d = 32 * unit + 8 * (lane % 4) + 4 * step;
        uint32_t high[2][2], low[2][2];
        split_bf16(query_numbers<S>(args, tile, row, d), high[0], low[0]);
        split_bf16(query_numbers<S>(args, tile, row + 8, d), high[1], low[1]);
        Vector16 highs = {{high[0][0], high[1][0], high[0][1], high[1][1]}};
        Vector16 lows = {{low[0][0], low[1][0], low[0][1], low[1][1]}};
        shared_store(query_fragment<S>((int)m, (int)unit, (int)step, 0) + lane, highs);
        shared_store(query_fragment<S>((int)m, (int)unit, (int)step, 1) + lane, lows);
    }
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
    return global_load((const float *)(page + kv_scale_offset(KV_INT8, side, cache.kv_head_count,
                                                              S::HEAD_DIM, kv_head, token)));
}

// Scores of the page at `position`, -inf for what a row does not see.
template <class S>
DEVICE void page_scores(const TileArgs &args, const Tile<S> &tile, const unsigned char *page,
                        uint32_t position, float scores[S::M_TILES][2][4]) {
    typename S::Math::Sum sums[2][S::M_TILES][2][4] = {};
    const KvView &cache = args.cache;
    page_products<S>(page + kv_number_offset(S::KIND, KV_KEYS, cache.kv_head_count, S::HEAD_DIM,
                                             tile.kv_head, 0, 0),
                     sums);
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
    const unsigned char *from =
        kv_page(cache, tile.table, position) +
        kv_number_offset(S::KIND, KV_VALUES, cache.kv_head_count, S::HEAD_DIM, tile.kv_head, 0,
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
            S::Math::blend(tile.out[m][unit][c], p[m].word, b);
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

template <class S> DEVICE void tile_chunk(const TileArgs &args, Tile<S> &tile, uint32_t position) {
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
    UNROLL
    for (int i = 0; i < S::M_TILES * S::UNITS * 32; i++) {
        int m = i / (S::UNITS * 32), h = i / 2 % 2;
        tile.out[m][i / 32 % S::UNITS][i / 4 % 8][i % 4] *= factor[m][h];
    }
    block_sync();
    if (blends) {
        chunk_blend<S>(args, tile, position, first, end, value);
    }
}

// ---- Splits -------------------------------------------------------------------------------------

// O, highest and sum of one split, from nothing.
template <class S> DEVICE void tile_split(const TileArgs &args, Tile<S> &tile, uint32_t split) {
    UNROLL
    for (int i = 0; i < 2 * S::M_TILES; i++) {
        tile.highest[i / 2][i % 2] = -INFINITY;
        tile.sum[i / 2][i % 2] = 0.0f;
    }
    UNROLL
    for (int i = 0; i < S::M_TILES * S::UNITS * 32; i++) {
        tile.out[i / (S::UNITS * 32)][i / 32 % S::UNITS][i / 4 % 8][i % 4] = 0.0f;
    }
    NO_UNROLL
    for (uint32_t at = split * SPLIT_TOKENS; at < (split + 1) * SPLIT_TOKENS; at += CHUNK_TOKENS) {
        if (at < tile.end && at + CHUNK_TOKENS > tile.first) {
            tile_chunk<S>(args, tile, at);
        }
    }
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

// Where a lane's eight columns of row (m, h), block `unit` and half e lie in scratch; NULL for a
// row that is not there.
template <class S>
DEVICE float *tile_place(const TileArgs &args, const Tile<S> &tile, int m, int h, int unit, int e) {
    uint32_t row = 16 * (uint32_t)m + 8 * (uint32_t)h + thread_lane() / 4;
    uint32_t block = thread_warp() * S::UNITS + (uint32_t)unit;
    if (row >= tile.tokens * args.group || block >= S::VALUE_UNITS) {
        return NULL;
    }
    uint32_t head = tile.kv_head * args.group + row % args.group;
    size_t at = (size_t)(tile.row + row / args.group) * args.cache.head_count + head;
    return args.scratch + at * S::HEAD_DIM + block * KV_VALUE_COLUMNS + thread_lane() % 4 * 16 +
           (uint32_t)e * 8;
}

// Runs `change(m, h, value*, vector of what lies there)` over the lane's columns, four at a time,
// and stores them.
template <class S, typename Change>
DEVICE void tile_store(const TileArgs &args, Tile<S> &tile, bool reads, bool writes,
                       Change change) {
    UNROLL
    for (int i = 0; i < S::M_TILES * S::UNITS * 8; i++) {
        int m = i / (S::UNITS * 8), unit = i / 8 % S::UNITS, h = i / 4 % 2, e = i / 2 % 2;
        int c = i % 2 * 4;
        float *place = tile_place<S>(args, tile, m, h, unit, e);
        if (place == NULL) {
            continue;
        }
        Vector16 *at = (Vector16 *)(place + c), there = {{0, 0, 0, 0}};
        if (reads) {
            there = global_load(at);
        }
        UNROLL
        for (int j = 0; j < 4; j++) {
            float &value = tile.out[m][unit][c + j][2 * h + e];
            value = change(m, h, value, bits_to_float(there.word[j]));
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
    return tile_shared<float>(S::TOTALS) + (2 * i + which) * TILE_THREADS + (int)thread_index();
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
    return 16 * (uint32_t)m + thread_lane() / 4 < tile.tokens * args.group;
}

template <class S>
DEVICE void partial_write(const TileArgs &args, const Tile<S> &tile, float *partial) {
    UNROLL
    for (int i = 0; i < S::PARTIAL_VECTORS; i++) {
        int m = i / (S::UNITS * 8);
        const float *o = tile.out[m][i / 8 % S::UNITS][i % 8];
        Vector16 vector = {
            {float_to_bits(o[0]), float_to_bits(o[1]), float_to_bits(o[2]), float_to_bits(o[3])}};
        if (fragment_used<S>(args, tile, m)) {
            global_store((Vector16 *)partial + i * TILE_THREADS + (int)thread_index(), vector);
        }
    }
    float *rows = partial + S::PARTIAL_VECTORS * TILE_THREADS * 4;
    UNROLL
    for (int i = 0; i < 2 * S::M_TILES; i++) {
        uint32_t row = 8 * (uint32_t)i + thread_lane() / 4;
        if (thread_warp() == 0 && thread_lane() % 4 == 0) {
            global_store(rows + 2 * row, tile.highest[i / 2][i % 2]);
            global_store(rows + 2 * row + 1, tile.sum[i / 2][i % 2]);
        }
    }
}

template <class S>
DEVICE void partials_fold(const TileArgs &args, Tile<S> &tile, const float *partial,
                          uint32_t count) {
    UNROLL
    for (int i = 0; i < 2 * S::M_TILES; i++) {
        tile.highest[i / 2][i % 2] = -INFINITY;
        tile.sum[i / 2][i % 2] = 0.0f;
    }
    UNROLL
    for (int i = 0; i < S::M_TILES * S::UNITS * 32; i++) {
        tile.out[i / (S::UNITS * 32)][i / 32 % S::UNITS][i / 4 % 8][i % 4] = 0.0f;
    }
    for (uint32_t split = 0; split < count; split++, partial += S::PARTIAL_FLOATS) {
        const float *rows = partial + S::PARTIAL_VECTORS * TILE_THREADS * 4;
        Fold fold[S::M_TILES][2];
        UNROLL
        for (int i = 0; i < 2 * S::M_TILES; i++) {
            int m = i / 2, h = i % 2;
            const float *row = rows + 2 * (8 * i + (int)thread_lane() / 4);
            fold[m][h] = fold_row(&tile.highest[m][h], &tile.sum[m][h], global_load(row),
                                  global_load(row + 1));
        }
        UNROLL
        for (int i = 0; i < S::PARTIAL_VECTORS; i++) {
            int m = i / (S::UNITS * 8);
            float *o = tile.out[m][i / 8 % S::UNITS][i % 8];
            if (fragment_used<S>(args, tile, m)) {
                Vector16 vector =
                    global_load((const Vector16 *)partial + i * TILE_THREADS + (int)thread_index());
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
    uint32_t kv_heads = args.cache.kv_head_count;
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
KERNEL_TEMPLATE void KERNEL_BOUNDS(TILE_THREADS, 2) attention_tile_kernel(const TileArgs args) {
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
    if (S::KIND == KV_INT8) {
        tile_query_int8<S>(args, tile);
    } else {
        tile_query_bf16<S>(args, tile);
    }
    block_sync();
    bool shares = args.parts > 1 && count > 1, walks = args.parts == 1 && count > 1;
    uint32_t stop = args.parts > 1 ? first + part + 1 : end;
    NO_UNROLL
    for (uint32_t split = first + part; split < stop; split++) {
        tile_split<S>(args, tile, split);
        if (walks) {
            tile_fold<S>(args, tile, split == first, split + 1 == end);
        }
    }
    if (shares) {
        uint32_t index = tile.slot * args.cache.kv_head_count + tile.kv_head;
        float *partials = args.partials + (size_t)index * args.parts * S::PARTIAL_FLOATS;
        partial_write<S>(args, tile, partials + (size_t)part * S::PARTIAL_FLOATS);
        if (!last_to_arrive<S>(args.tickets + index, count)) {
            return;
        }
        partials_fold<S>(args, tile, partials, count);
    }
    tile_finish<S>(args, tile);
}

#endif
