// SPDX-License-Identifier: Apache-2.0
// linear by tiles: a block computes 32 CW outputs x 8 TW T tokens. Its CW x TW warps each own 2
// panels (a gate-up pair) x T mma columns; weights, scales and activations of DEPTH columns pass
// through STAGES buffers of shared memory filled by cp.async.
//
// A buffer, offsets in bytes (q: panel of the tile, k: column of the stage, r: token of the tile):
//   weights  q * 2 DEPTH CODE_BITS + 16 * (lane + 32 unit): as in global memory, so a lane's 16
//            bytes are one conflict-free read
//   scales   q * 32 DEPTH / GROUP + 32 (k / GROUP) + 4 g: one word, rows g and g + 8
//   x        r * DEPTH X_BYTES + C * (k / 32 ^ turn(r)) + k % 32 * X_BYTES with C = 32 X_BYTES,
//            turned by row so that the 8 bytes (int8: 4 rows side by side) or 16 bytes (bf16: 2
//            rows) that a quarter or half warp reads lie in different banks
// Tokens beyond the last, panels beyond the last and columns beyond the matrix are zero-filled.
//
// Per step of 32 columns and warp of 2 x T mma tiles: 2 expansions of weights, T reads of x, 2 T
// mma_s8 (4 T mma_bf16); per group and mma tile 4 links, with int8 activations after 4 subtractions
// (linear_fragment.cuh). Counts of a compiled loop are in docs/kernels-linear-cuda.md.
#ifndef CUDA_KERNELS_LINEAR_TILE_CUH
#define CUDA_KERNELS_LINEAR_TILE_CUH

#include "cuda/kernels/linear_fragment.cuh"

template <class Form_, int CW_, int TW_, int T_, int DEPTH_, int STAGES_> struct LinearTile {
    typedef Form_ Form;
    static constexpr int CW = CW_, TW = TW_, T = T_, DEPTH = DEPTH_, STAGES = STAGES_;
    static constexpr int THREADS = 32 * CW * TW;
    static constexpr int PANELS = 2 * CW, TOKENS = 8 * TW * T;
    static constexpr int PANEL_BYTES = 2 * DEPTH * Form::CODE_BITS;
    static constexpr int GROUPS = DEPTH / Form::GROUP;
    static constexpr int SCALE_BYTES = Form::SCALED ? 32 * GROUPS : 0; // of a panel
    static constexpr int ROW_BYTES = DEPTH * Form::X_BYTES;
    static constexpr int SCALES_AT = PANELS * PANEL_BYTES;
    static constexpr int X_AT = SCALES_AT + PANELS * SCALE_BYTES;
    static constexpr int STAGE_BYTES = X_AT + TOKENS * ROW_BYTES;
    static constexpr int SHARED_BYTES = STAGES * STAGE_BYTES;
    static constexpr int FINISH_TOKENS = 8 * (T < 4 ? T : 4); // of a warp, at once
    static_assert(CW * TW * FINISH_TOKENS * LINEAR_SUM_PITCH * 4 <= SHARED_BYTES, "sums fit");
    static_assert(DEPTH % 64 == 0 && DEPTH % Form::GROUP == 0, "whole units and groups");
    static_assert(SHARED_BYTES <= 101376, "what a block may use on every GPU we serve");
};

// Which of a row's chunks of 32 columns lies where.
template <class Tile> DEVICE uint32_t tile_turn(uint32_t row) {
    if (!Tile::Form::INT8) {
        return row % 2;
    }
    return Tile::DEPTH == 64 ? row / 2 % 2 : row % 4;
}

// `bytes` of every panel from `from`, `pitch` apart in global memory, to `bytes` apart in shared.
// Only the first `valid` bytes of a panel and `panels` panels are there.
template <class Tile, int BYTES>
DEVICE void tile_load_panels(unsigned char *to, const unsigned char *from, uint32_t pitch,
                             uint32_t valid, uint32_t panels) {
    UNROLL
    for (uint32_t first = 0; first < Tile::PANELS * BYTES / 16; first += Tile::THREADS) {
        uint32_t e = first + thread_index();
        if (Tile::PANELS * BYTES / 16 % Tile::THREADS != 0 && e >= Tile::PANELS * BYTES / 16) {
            break;
        }
        uint32_t q = e / (BYTES / 16), at = e % (BYTES / 16) * 16;
        bool there = q < panels && at < valid;
        cp_async_16(to + q * BYTES + at, there ? from + q * pitch + at : from, there ? 16 : 0);
    }
}

template <class Tile>
DEVICE void tile_load_inputs(unsigned char *to, const LinearArgs &args, uint32_t token,
                             uint32_t k) {
    constexpr uint32_t PIECES = Tile::ROW_BYTES / 16, CHUNK = 32 * Tile::Form::X_BYTES;
    const unsigned char *x =
        (const unsigned char *)args.x + ((size_t)token * args.stride + k) * Tile::Form::X_BYTES;
    uint32_t pitch = args.stride * Tile::Form::X_BYTES, rows = args.rows - token;
    UNROLL
    for (uint32_t first = 0; first < Tile::TOKENS * PIECES; first += Tile::THREADS) {
        uint32_t e = first + thread_index();
        if (Tile::TOKENS * PIECES % Tile::THREADS != 0 && e >= Tile::TOKENS * PIECES) {
            break;
        }
        uint32_t r = e / PIECES, at = e % PIECES * 16;
        uint32_t turned = (at / CHUNK ^ tile_turn<Tile>(r)) * CHUNK + at % CHUNK;
        bool there = r < rows;
        cp_async_16(to + r * Tile::ROW_BYTES + turned, there ? x + r * pitch + at : x,
                    there ? 16 : 0);
    }
}

template <class Tile>
DEVICE void tile_load(unsigned char *stage, const LinearArgs &args, uint32_t panel, uint32_t token,
                      uint32_t k) {
    constexpr int BITS = Tile::Form::CODE_BITS, GROUP = Tile::Form::GROUP;
    uint32_t columns = args.weight.columns, panels = args.weight.panels - panel;
    uint32_t pitch = columns * 2 * BITS;
    const unsigned char *codes = args.weight.codes + (size_t)panel * pitch + k * 2 * BITS;
    tile_load_panels<Tile, Tile::PANEL_BYTES>(stage, codes, pitch, (columns - k) * 2 * BITS,
                                              panels);
    if constexpr (Tile::Form::SCALED) {
        uint32_t scale_pitch = columns / GROUP * 32;
        const unsigned char *scales = (const unsigned char *)args.weight.scales +
                                      (size_t)panel * scale_pitch + k / GROUP * 32;
        tile_load_panels<Tile, Tile::SCALE_BYTES>(stage + Tile::SCALES_AT, scales, scale_pitch,
                                                  (columns - k) / GROUP * 32, panels);
    }
    tile_load_inputs<Tile>(stage + Tile::X_AT, args, token, k);
}

// The A operands of one group of a panel, from the warp's panel in the stage.
template <class Tile>
DEVICE void tile_operands(const unsigned char *panel, int group,
                          LinearOperand<typename Tile::Form> out[Tile::Form::STEPS]) {
    typedef typename Tile::Form Form;
    UNROLL
    for (int step = 0; step < Form::STEPS; step++) {
        int at = group * Form::STEPS + step; // of 32 columns
        const Vector16 *units = (const Vector16 *)panel + at / 2 * Form::UNITS_64 * 32;
        Vector16 mine[Form::UNITS_64] = {};
        UNROLL
        for (int u = 0; u < Form::UNITS_64; u++) {
            if (u * 2 / Form::UNITS_64 == at % 2 || Form::UNITS_64 == 1) {
                mine[u] = shared_load(units + u * 32 + thread_lane());
            }
        }
        out[step].expand(mine, at % 2);
    }
}

// Chains of the warp: chain[u][n][i] at output 16 u + g + 8 (i / 2), token 8 n + 2t + i % 2.
template <class Tile>
DEVICE void tile_multiply(const unsigned char *stage, float chain[2][Tile::T][4]) {
    typedef typename Tile::Form Form;
    uint32_t lane = thread_lane(), g = lane / 4, t = lane % 4;
    uint32_t first = thread_warp() % Tile::CW * 2, row = thread_warp() / Tile::CW * 8 * Tile::T + g;
    const unsigned char *x = stage + Tile::X_AT + row * Tile::ROW_BYTES + t * 8 * Form::X_BYTES;
    uint32_t turn = tile_turn<Tile>(g);
    UNROLL
    for (int group = 0; group < Tile::GROUPS; group++) {
        LinearOperand<Form> w[2][Form::STEPS];
        float scale[2][2] = {{1.0f, 1.0f}, {1.0f, 1.0f}};
        UNROLL
        for (int u = 0; u < 2; u++) {
            tile_operands<Tile>(stage + (first + u) * Tile::PANEL_BYTES, group, w[u]);
            if constexpr (Form::SCALED) {
                uint32_t pair = shared_load((const uint32_t *)(stage + Tile::SCALES_AT +
                                                               (first + u) * Tile::SCALE_BYTES +
                                                               group * 32 + g * 4));
                scale[u][0] = f16_to_float((uint16_t)pair);
                scale[u][1] = f16_to_float((uint16_t)(pair >> 16));
            }
        }
        UNROLL
        for (int n = 0; n < Tile::T; n++) {
            typename Form::Input in[Form::STEPS];
            UNROLL
            for (int step = 0; step < Form::STEPS; step++) {
                uint32_t chunk = (uint32_t)(group * Form::STEPS + step) ^ turn;
                in[step] = shared_load((const typename Form::Input *)(x + n * 8 * Tile::ROW_BYTES +
                                                                      chunk * 32 * Form::X_BYTES));
            }
            UNROLL
            for (int u = 0; u < 2; u++) {
                LinearSum<Form> sum;
                sum.clear();
                UNROLL
                for (int step = 0; step < Form::STEPS; step++) {
                    sum.add(w[u][step], in[step]);
                }
                UNROLL
                for (int i = 0; i < 4; i++) {
                    chain[u][n][i] =
                        linear_link<Form>(sum.value(i), scale[u][i / 2], chain[u][n][i]);
                }
            }
        }
    }
}

// The parts of an int8x2 row are neighbours in a lane: the first of a pair takes both.
template <class Tile> DEVICE void tile_join(float chain[2][Tile::T][4]) {
    UNROLL
    for (int n = 0; n < Tile::T; n++) {
        UNROLL
        for (int i = 0; i < 8; i += 2) {
            float *pair = chain[i / 4][n] + i % 4;
            pair[0] = linear_join(pair[0], pair[1]);
        }
    }
}

// The warp's sums go through its own part of the shared memory that the stages have left, half of
// its tokens at a time.
template <class Tile>
DEVICE void tile_finish(const LinearArgs &args, uint32_t panel, uint32_t token, float *shared,
                        const float chain[2][Tile::T][4]) {
    uint32_t lane = thread_lane(), g = lane / 4, t = lane % 4;
    float *mine = shared + thread_warp() * Tile::FINISH_TOKENS * LINEAR_SUM_PITCH;
    panel += thread_warp() % Tile::CW * 2;
    token += thread_warp() / Tile::CW * 8 * Tile::T;
    block_sync(); // the last stage has been read
    UNROLL
    for (int n = 0; n < Tile::T; n++) {
        float *to = mine + (n * 8 % Tile::FINISH_TOKENS + 2 * t) * LINEAR_SUM_PITCH + g;
        UNROLL
        for (int i = 0; i < 8; i++) {
            shared_store(to + i % 2 * LINEAR_SUM_PITCH + i / 4 * 16 + i / 2 % 2 * 8,
                         chain[i / 4][n][i % 4]);
        }
        if ((n + 1) * 8 % Tile::FINISH_TOKENS == 0) {
            linear_finish_rows<typename Tile::Form>(
                args, panel, token + (n + 1) * 8 - Tile::FINISH_TOKENS, Tile::FINISH_TOKENS, mine);
        }
    }
}

// Grid: x tokens, y outputs; blocks that share weights run side by side.
template <class Tile> DEVICE void linear_tile(const LinearArgs &args) {
    unsigned char *shared = shared_base();
    uint32_t panel = block_y() * Tile::PANELS, token = block_x() * Tile::TOKENS;
    uint32_t columns = args.weight.columns;
    for (uint32_t s = 0; s + 1 < Tile::STAGES; s++) {
        if (s * Tile::DEPTH < columns) {
            tile_load<Tile>(shared + s * Tile::STAGE_BYTES, args, panel, token, s * Tile::DEPTH);
        }
        cp_async_commit();
    }
    float chain[2][Tile::T][4] = {};
    uint32_t slot = 0;
    for (uint32_t k = 0; k < columns; k += Tile::DEPTH) {
        cp_async_wait<Tile::STAGES - 2>();
        block_sync();
        uint32_t ahead = k + (Tile::STAGES - 1) * Tile::DEPTH;
        if (ahead < columns) { // into the buffer that was multiplied last
            uint32_t next = slot == 0 ? Tile::STAGES - 1 : slot - 1;
            tile_load<Tile>(shared + next * Tile::STAGE_BYTES, args, panel, token, ahead);
        }
        cp_async_commit();
        tile_multiply<Tile>(shared + slot * Tile::STAGE_BYTES, chain);
        slot = slot + 1 == Tile::STAGES ? 0 : slot + 1;
    }
    cp_async_wait<0>();
    tile_finish<Tile>(args, panel, token, (float *)shared, chain);
}

#endif
