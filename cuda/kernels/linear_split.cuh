// SPDX-License-Identifier: Apache-2.0
// linear for few tokens: a block computes 32 outputs (2 panels) x 8 T tokens; its 8 warps take
// turns at the columns, so that even a narrow matrix keeps every multiprocessor reading. Weights go
// from memory straight to registers, a step ahead, 16 bytes a lane, and are read once.
//
// A group's sums are computed by one warp, wait in shared memory, and enter the chains in ascending
// order: thread (warp, lane) keeps the chains of output `lane` for tokens warp + 8 n. So the split
// changes no bit (linear.h), whatever the number of warps.
//
//   step     8 WARP_COLUMNS columns, WARP_COLUMNS = max(64, GROUP) to a warp; one barrier
//   shared   sums f32 [2][SLOTS][8 T][36]: output c of token r of slot s at (8 T s + r) 36 + c; the
//            four lanes t of a store lie 72 words apart, 8 banks
//            scales f16 [2][2 panels][SLOTS 16 + 16]
//   bytes    weights and scales once; x once per block, from L2 (tokens beyond the last repeat it)
//   work     of shared memory 8 bytes per output, token and group, written and read
#ifndef CUDA_KERNELS_LINEAR_SPLIT_CUH
#define CUDA_KERNELS_LINEAR_SPLIT_CUH

#include "cuda/kernels/linear_fragment.cuh"

template <class Form_, int T_> struct LinearSplit {
    typedef Form_ Form;
    static constexpr int T = T_, WARPS = 8, THREADS = 32 * WARPS, TOKENS = 8 * T, PANELS = 2;
    static constexpr int WARP_COLUMNS = Form::GROUP > 64 ? Form::GROUP : 64;
    static constexpr int STEP = WARPS * WARP_COLUMNS;
    static constexpr int HALVES = WARP_COLUMNS / 32, BLOCKS = WARP_COLUMNS / 64;
    static constexpr int WARP_GROUPS = WARP_COLUMNS / Form::GROUP, SLOTS = WARPS * WARP_GROUPS;
    static constexpr int SUMS = SLOTS * TOKENS * LINEAR_SUM_PITCH;
    static constexpr int PANEL_SCALES = SLOTS * 16 + 16; // halves; 8 banks between panels
    static constexpr int SCALES = Form::SCALED ? PANELS * PANEL_SCALES : 0;
    static constexpr int SHARED_BYTES = 2 * (SUMS * 4 + SCALES * 2);
    static_assert(SHARED_BYTES <= 101376, "what a block may use on every GPU we serve");
};

// What a warp needs of one step, in registers.
template <class Split> struct SplitLoad {
    typedef typename Split::Form Form;
    Vector16 units[2][Split::BLOCKS][Form::UNITS_64];
    typename Form::Input x[Split::T][Split::HALVES];

    DEVICE_METHOD void load(const LinearArgs &args, uint32_t panel, uint32_t token, uint32_t k) {
        uint32_t lane = thread_lane(), units_per_panel = args.weight.columns / 64 * Form::UNITS_64;
        UNROLL
        for (uint32_t u = 0; u < 2; u++) {
            // A panel beyond the last is read as the last and never stored.
            uint32_t p = panel + u < args.weight.panels ? panel + u : panel;
            const Vector16 *from = (const Vector16 *)args.weight.codes +
                                   ((size_t)p * units_per_panel + k / 64 * Form::UNITS_64) * 32 +
                                   lane;
            UNROLL
            for (int b = 0; b < Split::BLOCKS; b++) {
                UNROLL
                for (int i = 0; i < Form::UNITS_64; i++) {
                    units[u][b][i] = global_load_once(from + (b * Form::UNITS_64 + i) * 32);
                }
            }
        }
        UNROLL
        for (uint32_t n = 0; n < Split::T; n++) {
            uint32_t row = token + n * 8 + lane / 4;
            row = row < args.rows ? row : args.rows - 1;
            const unsigned char *from =
                (const unsigned char *)args.x +
                ((size_t)row * args.stride + k + lane % 4 * 8) * Form::X_BYTES;
            UNROLL
            for (int h = 0; h < Split::HALVES; h++) {
                x[n][h] =
                    global_load((const typename Form::Input *)(from + h * 32 * Form::X_BYTES));
            }
        }
    }
};

// Sums of the warp's groups to their slots.
template <class Split> DEVICE void split_multiply(const SplitLoad<Split> &in, float *sums) {
    typedef typename Split::Form Form;
    uint32_t lane = thread_lane(), g = lane / 4, t = lane % 4;
    sums += thread_warp() * Split::WARP_GROUPS * Split::TOKENS * LINEAR_SUM_PITCH;
    sums += 2 * t * LINEAR_SUM_PITCH + g;
    UNROLL
    for (int group = 0; group < Split::WARP_GROUPS; group++) {
        UNROLL
        for (int u = 0; u < 2; u++) {
            LinearOperand<Form> w[Form::STEPS];
            UNROLL
            for (int step = 0; step < Form::STEPS; step++) {
                int at = group * Form::STEPS + step;
                w[step].expand(in.units[u][at / 2], at % 2);
            }
            UNROLL
            for (int n = 0; n < Split::T; n++) {
                LinearSum<Form> sum;
                sum.clear();
                UNROLL
                for (int step = 0; step < Form::STEPS; step++) {
                    sum.add(w[step], in.x[n][group * Form::STEPS + step]);
                }
                float *to = sums + (group * Split::TOKENS + n * 8) * LINEAR_SUM_PITCH + 16 * u;
                UNROLL
                for (int i = 0; i < 4; i++) {
                    shared_store(to + i % 2 * LINEAR_SUM_PITCH + i / 2 * 8, sum.value(i));
                }
            }
        }
    }
}

template <class Split>
DEVICE void split_load_scales(uint16_t *to, const LinearArgs &args, uint32_t panel, uint32_t k) {
    constexpr uint32_t PIECES = Split::SLOTS * 2; // of 16 bytes, per panel
    uint32_t q = thread_index() / PIECES, at = thread_index() % PIECES * 8;
    if (q < Split::PANELS) {
        uint32_t groups = args.weight.columns / Split::Form::GROUP, first = k / Split::Form::GROUP;
        bool there = first + at / 16 < groups && panel + q < args.weight.panels;
        const uint16_t *from = args.weight.scales;
        from += there ? ((size_t)(panel + q) * groups + first) * 16 + at : 0;
        cp_async_16(to + q * Split::PANEL_SCALES + at, from, there ? 16 : 0);
    }
}

// The next `slots` links of the thread's chains.
template <class Split>
DEVICE void split_links(const float *sums, const uint16_t *scales, uint32_t slots,
                        float chain[Split::T]) {
    uint32_t lane = thread_lane();
    sums += thread_warp() * LINEAR_SUM_PITCH + lane;
    scales += lane / 16 * Split::PANEL_SCALES + lane % 8 * 2 + lane / 8 % 2;
    UNROLL
    for (uint32_t s = 0; s < Split::SLOTS; s++) {
        if (s < slots) {
            float scale = 1.0f;
            if constexpr (Split::Form::SCALED) {
                scale = f16_to_float(shared_load(scales + s * 16));
            }
            UNROLL
            for (int n = 0; n < Split::T; n++) {
                float sum = shared_load(sums + (s * Split::TOKENS + n * 8) * LINEAR_SUM_PITCH);
                chain[n] = linear_link<typename Split::Form>(sum, scale, chain[n]);
            }
        }
    }
}

// The parts of an int8x2 row are chains of neighbouring warps: the even one takes both.
template <class Split> DEVICE void split_join(float *shared, float chain[Split::T]) {
    float *mine = shared + thread_warp() * LINEAR_SUM_PITCH + thread_lane();
    block_sync(); // the last sums have been read
    for (int n = 0; n < Split::T; n++) {
        shared_store(mine + n * 8 * LINEAR_SUM_PITCH, chain[n]);
    }
    block_sync();
    if (thread_warp() % 2 == 0) {
        for (int n = 0; n < Split::T; n++) {
            float low = shared_load(mine + (n * 8 + 1) * LINEAR_SUM_PITCH);
            chain[n] = linear_join(chain[n], low);
        }
    }
}

template <class Split>
DEVICE void split_finish(const LinearArgs &args, uint32_t panel, uint32_t token, float *shared,
                         float chain[Split::T]) {
    if (args.pairs) {
        split_join<Split>(shared, chain);
    }
    constexpr bool SCANS = Split::Form::SCANS;
    uint32_t suppressed = linear_suppressed<SCANS>(args, panel);
    for (int n = 0; n < Split::T; n++) {
        uint32_t mine = token + thread_warp() + (uint32_t)n * 8;
        if (mine < args.rows && !(args.pairs && mine % 2 == 1)) {
            uint32_t to = linear_token(args, mine);
            linear_finish<SCANS>(args, panel, suppressed, to, linear_row<SCANS>(args, to),
                                 chain[n] * Split::Form::FINISH);
        }
    }
}

// Grid: x outputs, y tokens.
template <class Split> DEVICE void linear_split(const LinearArgs &args) {
    constexpr uint32_t STEP = Split::STEP;
    float *sums = (float *)shared_base();
    uint16_t *scales = (uint16_t *)(sums + 2 * Split::SUMS);
    uint32_t panel = block_x() * Split::PANELS, token = block_y() * Split::TOKENS;
    uint32_t columns = args.weight.columns, mine = thread_warp() * Split::WARP_COLUMNS;
    float chain[Split::T] = {};
    SplitLoad<Split> now = {}, ahead = {};
    if (mine < columns) {
        now.load(args, panel, token, mine);
    }
    if (Split::Form::SCALED) {
        split_load_scales<Split>(scales, args, panel, 0);
    }
    cp_async_commit();
    for (uint32_t k = 0, turn = 0; k < columns; k += STEP, turn ^= 1) {
        if (k + STEP + mine < columns) {
            ahead.load(args, panel, token, k + STEP + mine);
        }
        if (k + mine < columns) {
            split_multiply<Split>(now, sums + turn * Split::SUMS);
        }
        cp_async_wait<0>();
        block_sync(); // this step's sums and scales are there; the last step's are free
        if (Split::Form::SCALED && k + STEP < columns) {
            split_load_scales<Split>(scales + (turn ^ 1) * Split::SCALES, args, panel, k + STEP);
        }
        cp_async_commit();
        uint32_t left = (columns - k) / Split::Form::GROUP;
        split_links<Split>(sums + turn * Split::SUMS, scales + turn * Split::SCALES,
                           left < Split::SLOTS ? left : Split::SLOTS, chain);
        now = ahead;
    }
    cp_async_wait<0>();
    split_finish<Split>(args, panel, token, sums, chain);
}

#endif
