// SPDX-License-Identifier: Apache-2.0
// sample: the order and the rules of cpu/sample_ref.c, on the device; what differs is that nothing
// is ranked that cannot be drawn. The uniform number of a draw comes from the host's Philox.
//
//   sample_adjust   penalty over the history, suppression, in place
//   sample_scan     of every chunk of 64 logits: the maximum, and the sums of exp(x - maximum) as
//                   they are and at the row's temperature
//   sample_rank     a row a block. The k-th highest of the chunk maxima bounds the k-th highest
//                   logit from below, so what is at or above that bound is a true prefix of the
//                   ranking (x descending, id ascending) with k members at least. It is sorted and
//                   one warp walks it. k is 1, top_k, the logprobs asked for, or RANK_PREFIX where
//                   the draw is over the whole vocabulary.
//   sample_sort     only for a row whose prefix did not fit or did not decide: ranks everything
//
// Then the host waits for the few bytes of the result: the scheduler needs the tokens.
//
// Tiles: adjust, a row a block of 512; scan, 4096 logits a block of 256; rank and sort, a row a
// block of 512 with 33 KB of shared memory for the prefix. Bytes: a logit is read once (4), the
// chunks add 12 per 64; the prefix reads its chunks twice more. Operations: 2 exponentials a logit;
// doubles only along the prefix.
// promise: spills 0, calls 0
#include "base/check.h"
#include "base/num.h"
#include "base/prng.h"
#include "cuda/context.h"
#include "cuda/kernels/exp.cuh"

#include <float.h>
#include <math.h>

enum {
    CHUNK = 64,
    SCAN_THREADS = 256,
    SCAN_CHUNKS = 64, // of a block
    THREADS = 512,    // of the other kernels
    RANK_MAX = 4096,  // candidates that fit shared memory
    RANK_PREFIX = 1024,
};

#define NO_KEY UINT64_MAX

// One row as the kernels are given it.
typedef struct SampleRow {
    double uniform;
    float temperature, top_p, min_p, penalty;
    uint32_t top_k, logprobs;
    uint32_t history_first, history_count; // in the history of the launch
} SampleRow;

// What a row becomes. `undecided`: sample_sort must rank everything. No token: nothing is left.
typedef struct SampleOut {
    uint32_t undecided, top_count;
    TokenChoice chosen;
    TokenChoice top[BATCH_LOGPROBS_MAX];
} SampleOut;

// Device memory of one launch.
typedef struct SampleArgs {
    float *logits; // [rows][vocab]
    uint32_t vocab, chunks;
    const SampleRow *rows;
    const int32_t *suppress, *history;
    float *penalized; // [history]
    uint32_t suppress_count;
    float *maxima, *mass, *warm_mass; // [rows][chunks]
    SampleOut *out;                   // [rows]
    uint64_t *keys;                   // sample_sort's, room for `sorted`
    uint32_t sorted;                  // vocab rounded up to a power of two
    uint32_t row_first;               // sample_sort's row
} SampleArgs;

// NaN counts as suppressed, +inf as the largest float.
DEVICE float cleaned(float x) {
    return x > -INFINITY ? (x < FLT_MAX ? x : FLT_MAX) : -INFINITY;
}

DEVICE uint32_t smaller(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

// ---- Adjust, scan -------------------------------------------------------------------------------

KERNEL void KERNEL_BOUNDS(THREADS, 1) sample_adjust(const SampleArgs args) {
    const SampleRow *row = args.rows + block_x();
    float *logits = args.logits + (size_t)block_x() * args.vocab;
    uint32_t first = global_load(&row->history_first), count = global_load(&row->history_count);
    float penalty = global_load(&row->penalty);
    // Every occurrence of an id computes the same number from what is there before any is written.
    for (uint32_t i = thread_index(); i < count; i += THREADS) {
        int32_t id = global_load(args.history + first + i);
        if (id >= 0 && (uint32_t)id < args.vocab) {
            float x = global_load(logits + id);
            global_store(args.penalized + first + i, x < 0.0f ? x * penalty : x / penalty);
        }
    }
    block_sync();
    for (uint32_t i = thread_index(); i < count; i += THREADS) {
        int32_t id = global_load(args.history + first + i);
        if (id >= 0 && (uint32_t)id < args.vocab) {
            global_store(logits + id, global_load(args.penalized + first + i));
        }
    }
    block_sync();
    for (uint32_t i = thread_index(); i < args.suppress_count; i += THREADS) {
        int32_t id = global_load(args.suppress + i);
        if (id >= 0 && (uint32_t)id < args.vocab) {
            global_store(logits + id, -INFINITY);
        }
    }
}

KERNEL void KERNEL_BOUNDS(SCAN_THREADS, 4) sample_scan(const SampleArgs args) {
    uint32_t lane = thread_lane(), first = block_x() * SCAN_CHUNKS;
    uint32_t end = smaller(first + SCAN_CHUNKS, args.chunks);
    const float *logits = args.logits + (size_t)block_y() * args.vocab;
    float temperature = global_load(&args.rows[block_y()].temperature);
    float warmth = temperature > 0.0f ? 1.0f / temperature : 1.0f;
    for (uint32_t c = first + thread_warp(); c < end; c += SCAN_THREADS / 32) {
        uint32_t i = c * CHUNK + lane, j = i + 32;
        float x = i < args.vocab ? cleaned(global_load(logits + i)) : -INFINITY;
        float y = j < args.vocab ? cleaned(global_load(logits + j)) : -INFINITY;
        float top = warp_max(x > y ? x : y);
        float base = top > -INFINITY ? top : 0.0f;
        float mass = warp_sum(exp_f32(x - base) + exp_f32(y - base));
        float warm = warp_sum(exp_f32((x - base) * warmth) + exp_f32((y - base) * warmth));
        if (lane == 0) {
            size_t at = (size_t)block_y() * args.chunks + c;
            global_store(args.maxima + at, top);
            global_store(args.mass + at, mass);
            global_store(args.warm_mass + at, warm);
        }
    }
}

// ---- Rank ---------------------------------------------------------------------------------------

// Floats as integers of the same order; no NaN.
DEVICE uint32_t ordered(float x) {
    uint32_t bits = float_to_bits(x);
    return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}

// Ascending keys are the ranking: x descending, then id ascending.
DEVICE uint64_t rank_key(float x, uint32_t id) {
    return (uint64_t)~ordered(x) << 32 | id;
}

DEVICE float key_value(uint64_t key) {
    uint32_t order = ~(uint32_t)(key >> 32);
    return bits_to_float((order >> 31) != 0 ? order & 0x7fffffffu : ~order);
}

// A ranking in shared or in global memory.
typedef enum KeyPlace { IN_SHARED, IN_GLOBAL } KeyPlace;

template <KeyPlace PLACE> DEVICE uint64_t key_load(const uint64_t *keys, uint32_t i) {
    return PLACE == IN_SHARED ? shared_load(keys + i) : global_load(keys + i);
}

template <KeyPlace PLACE> DEVICE void key_store(uint64_t *keys, uint32_t i, uint64_t key) {
    if (PLACE == IN_SHARED) {
        shared_store(keys + i, key);
    } else {
        global_store(keys + i, key);
    }
}

// Bitonic sort of a power of two, ascending, by the block.
template <KeyPlace PLACE> DEVICE void sort_keys(uint64_t *keys, uint32_t count) {
    for (uint32_t size = 2; size <= count; size *= 2) {
        for (uint32_t stride = size / 2; stride > 0; stride /= 2) {
            block_sync();
            for (uint32_t p = thread_index(); p < count / 2; p += THREADS) {
                uint32_t i = p / stride * 2 * stride + p % stride, j = i + stride;
                uint64_t a = key_load<PLACE>(keys, i), b = key_load<PLACE>(keys, j);
                if ((a > b) == ((i & size) == 0)) {
                    key_store<PLACE>(keys, i, b);
                    key_store<PLACE>(keys, j, a);
                }
            }
        }
    }
    block_sync();
}

// Sums and maxima over the block, in a fixed order; `cells` has one value per warp.
template <typename T, typename Fold> DEVICE T block_fold(T value, T *cells, Fold fold) {
    for (int mask = 16; mask > 0; mask /= 2) {
        value = fold(value, warp_shuffle_xor(value, mask));
    }
    if (thread_lane() == 0) {
        shared_store(cells + thread_warp(), value);
    }
    block_sync();
    value = shared_load(cells);
    for (int warp = 1; warp < THREADS / 32; warp++) {
        value = fold(value, shared_load(cells + warp));
    }
    block_sync();
    return value;
}

// What the chunks say about a row.
typedef struct RowMass {
    float highest;          // -inf: nothing is left
    double log_mass, whole; // whole: the sum of weights at the row's temperature
} RowMass;

DEVICE RowMass row_mass(const SampleArgs &args, uint32_t row, double *cells) {
    const float *maxima = args.maxima + (size_t)row * args.chunks;
    float highest = -INFINITY;
    for (uint32_t c = thread_index(); c < args.chunks; c += THREADS) {
        highest = fmaxf(highest, global_load(maxima + c));
    }
    highest = block_fold(highest, (float *)cells, [](float a, float b) { return fmaxf(a, b); });
    float temperature = global_load(&args.rows[row].temperature);
    float warmth = temperature > 0.0f ? 1.0f / temperature : 1.0f;
    double mass = 0.0, warm = 0.0;
    for (uint32_t c = thread_index(); c < args.chunks && highest > -INFINITY; c += THREADS) {
        size_t at = (size_t)row * args.chunks + c;
        float below = global_load(maxima + c) - highest;
        mass += (double)(exp_f32(below) * global_load(args.mass + at));
        warm += (double)(exp_f32(below * warmth) * global_load(args.warm_mass + at));
    }
    auto add = [](double a, double b) { return a + b; };
    mass = block_fold(mass, cells, add);
    return {highest, (double)highest + log(mass), block_fold(warm, cells, add)};
}

// The k-th highest of the chunk maxima, found bit by bit: the largest order that k maxima reach.
DEVICE float kth_maximum(const SampleArgs &args, uint32_t row, uint32_t k, double *cells) {
    const float *maxima = args.maxima + (size_t)row * args.chunks;
    uint32_t order = 0;
    for (uint32_t bit = 0x80000000u; bit != 0; bit >>= 1) {
        uint32_t reached = 0;
        for (uint32_t c = thread_index(); c < args.chunks; c += THREADS) {
            reached += ordered(global_load(maxima + c)) >= (order | bit);
        }
        reached =
            block_fold(reached, (uint32_t *)cells, [](uint32_t a, uint32_t b) { return a + b; });
        order |= reached >= k ? bit : 0;
    }
    return bits_to_float((order >> 31) != 0 ? order & 0x7fffffffu : ~order);
}

// All logits at or above `bound` to keys[0 .. RANK_MAX), the rest of them NO_KEY; how many there
// are, which may be more than fit. Every warp counts its own first, so that each knows where its
// keys begin.
DEVICE uint32_t gather(const SampleArgs &args, uint32_t row, float bound, uint64_t *keys,
                       uint32_t *cells) {
    const float *maxima = args.maxima + (size_t)row * args.chunks;
    const float *logits = args.logits + (size_t)row * args.vocab;
    uint32_t lane = thread_lane(), at = 0, all = 0;
    for (int pass = 0; pass < 2; pass++) {
        uint32_t count = 0;
        for (uint32_t c = thread_warp(); c < args.chunks; c += THREADS / 32) {
            if (!(global_load(maxima + c) >= bound)) {
                continue; // the same for all lanes
            }
            for (uint32_t half = 0; half < CHUNK; half += 32) {
                uint32_t i = c * CHUNK + half + lane;
                float x = i < args.vocab ? cleaned(global_load(logits + i)) : -INFINITY;
                unsigned found = warp_ballot(x >= bound);
                uint32_t mine = at + count + bits_count(found & ((1u << lane) - 1));
                if (pass == 1 && x >= bound && mine < RANK_MAX) {
                    shared_store(keys + mine, rank_key(x, i));
                }
                count += bits_count(found);
            }
        }
        if (pass == 0) {
            if (lane == 0) {
                shared_store(cells + thread_warp(), count);
            }
            block_sync();
            for (uint32_t warp = 0; warp < THREADS / 32; warp++) {
                uint32_t of_warp = shared_load(cells + warp);
                at += warp < thread_warp() ? of_warp : 0;
                all += of_warp;
            }
        }
    }
    for (uint32_t i = all + thread_index(); i < RANK_MAX; i += THREADS) {
        shared_store(keys + i, NO_KEY);
    }
    block_sync();
    return all;
}

// ---- Draw: one warp along the ranking -----------------------------------------------------------

DEVICE uint32_t warp_min(uint32_t value) {
    for (int mask = 16; mask > 0; mask /= 2) {
        uint32_t other = warp_shuffle_xor(value, mask);
        value = other < value ? other : value;
    }
    return value;
}

// A lane's stretch of the ranking and the sum of the weights before it.
typedef struct Stretch {
    uint32_t first, end;
    double before, all;
} Stretch;

// The ranking's weights exp((x - highest) / temperature), the highest being rank 0.
typedef struct RankWeights {
    const uint64_t *keys;
    double highest, temperature;
} RankWeights;

template <KeyPlace PLACE> DEVICE double weight_at(const RankWeights &weights, uint32_t i) {
    double x = (double)key_value(key_load<PLACE>(weights.keys, i));
    return exp((x - weights.highest) / weights.temperature);
}

template <KeyPlace PLACE> DEVICE Stretch warp_stretch(const RankWeights &weights, uint32_t count) {
    uint32_t lane = thread_lane(), each = (count + 31) / 32;
    Stretch s = {smaller(lane * each, count), 0, 0.0, 0.0};
    s.end = smaller(s.first + each, count);
    double sum = 0.0;
    for (uint32_t i = s.first; i < s.end; i++) {
        sum += weight_at<PLACE>(weights, i);
    }
    for (uint32_t distance = 1; distance < 32; distance *= 2) {
        double other = warp_shuffle(sum, (int)(lane - distance) & 31);
        sum += lane >= distance ? other : 0.0;
    }
    double before = warp_shuffle(sum, (int)(lane - 1) & 31);
    s.before = lane > 0 ? before : 0.0;
    s.all = warp_shuffle(sum, 31);
    return s;
}

// The rank that is drawn among the first `count`, or UINT32_MAX when they do not decide it.
// `complete`: nothing beyond them can be drawn.
template <KeyPlace PLACE>
DEVICE uint32_t warp_draw(const SampleRow &row, const RankWeights &weights, uint32_t count,
                          double whole, bool complete) {
    Stretch s = warp_stretch<PLACE>(weights, count);
    whole = complete ? s.all : whole;
    uint32_t kept = count;
    double sum_kept = whole;
    if (row.top_p < 1.0f || row.min_p > 0.0f) {
        uint32_t cut = UINT32_MAX;
        double sum = s.before, sum_cut = s.all;
        for (uint32_t i = s.first; i < s.end && cut == UINT32_MAX; i++) {
            double weight = weight_at<PLACE>(weights, i);
            bool past_p = row.top_p < 1.0f && sum >= (double)row.top_p * whole;
            if (i > 0 && (past_p || weight < (double)row.min_p)) {
                cut = i;
                sum_cut = sum;
            }
            sum += weight;
        }
        uint32_t first_cut = warp_min(cut);
        if (first_cut == UINT32_MAX && !complete) {
            return UINT32_MAX;
        }
        kept = smaller(first_cut, count);
        unsigned owner = warp_ballot(cut == first_cut);
        sum_kept = warp_shuffle(sum_cut, (int)bits_count((owner & (~owner + 1)) - 1));
        complete = true;
    }
    double target = row.uniform * sum_kept, sum = s.before;
    uint32_t drawn = UINT32_MAX;
    for (uint32_t i = s.first; i < s.end && i < kept && drawn == UINT32_MAX; i++) {
        sum += weight_at<PLACE>(weights, i);
        drawn = sum > target ? i : drawn;
    }
    drawn = warp_min(drawn);
    return drawn == UINT32_MAX && complete ? kept - 1 : drawn;
}

// How many of the ranking top_k keeps, ties with the last included.
template <KeyPlace PLACE>
DEVICE uint32_t warp_top_k(const uint64_t *keys, uint32_t count, uint32_t top_k) {
    if (top_k == 0 || top_k >= count) {
        return count;
    }
    float last = key_value(key_load<PLACE>(keys, top_k - 1));
    uint32_t end = count;
    for (uint32_t i = thread_lane(); i < count && end == count; i += 32) {
        end = key_value(key_load<PLACE>(keys, i)) < last ? i : end;
    }
    return warp_min(end);
}

DEVICE TokenChoice choice(uint64_t key, double log_mass) {
    return {(int32_t)(uint32_t)key, (float)((double)key_value(key) - log_mass)};
}

// By one warp: the result of a row from the first `count` of its ranking.
template <KeyPlace PLACE>
DEVICE void warp_decide(const SampleArgs &args, uint32_t index, const uint64_t *keys,
                        uint32_t count, bool complete, const RowMass &mass) {
    SampleRow row = args.rows[index];
    uint32_t rank = 0;
    if (row.temperature > 0.0f) {
        RankWeights weights = {keys, (double)mass.highest, (double)row.temperature};
        uint32_t kept = warp_top_k<PLACE>(keys, count, row.top_k);
        bool all = complete || (row.top_k > 0 && count >= row.top_k);
        rank = warp_draw<PLACE>(row, weights, kept, mass.whole, all);
    }
    SampleOut *out = args.out + index;
    uint32_t tops = smaller(row.logprobs, count);
    if (thread_lane() == 0) {
        global_store(&out->undecided, (uint32_t)(rank == UINT32_MAX));
        global_store(&out->top_count, tops);
        uint64_t key = key_load<PLACE>(keys, rank == UINT32_MAX ? 0 : rank);
        global_store(&out->chosen, choice(key, mass.log_mass));
    }
    if (thread_lane() < tops) {
        uint64_t key = key_load<PLACE>(keys, thread_lane());
        global_store(out->top + thread_lane(), choice(key, mass.log_mass));
    }
}

DEVICE void store_nothing_left(SampleOut *out) {
    if (thread_index() == 0) {
        global_store(&out->undecided, 0u);
        global_store(&out->top_count, 0u);
        global_store(&out->chosen, TokenChoice{-1, 0.0f});
    }
}

DEVICE uint32_t rank_wanted(const SampleRow &row) {
    uint32_t drawn = row.temperature <= 0.0f ? 1
                     : row.top_k > 0         ? row.top_k
                                             : (uint32_t)RANK_PREFIX;
    return drawn > row.logprobs ? drawn : row.logprobs;
}

KERNEL void KERNEL_BOUNDS(THREADS, 1) sample_rank(const SampleArgs args) {
    uint32_t row = block_x();
    uint64_t *keys = (uint64_t *)shared_base();
    double *cells = (double *)(keys + RANK_MAX);
    RowMass mass = row_mass(args, row, cells);
    if (mass.highest == -INFINITY) {
        store_nothing_left(args.out + row);
        return;
    }
    uint32_t wanted = rank_wanted(args.rows[row]);
    float bound = mass.highest;
    if (wanted > 1) {
        bound = wanted < args.chunks ? kth_maximum(args, row, wanted, cells) : -FLT_MAX;
        bound = bound > -FLT_MAX ? bound : -FLT_MAX; // every logit that is not suppressed
    }
    uint32_t count = gather(args, row, bound, keys, (uint32_t *)cells);
    if (count > RANK_MAX) {
        if (thread_index() == 0) {
            global_store(&args.out[row].undecided, 1u);
        }
        return;
    }
    uint32_t size = 1;
    while (size < count) {
        size *= 2;
    }
    sort_keys<IN_SHARED>(keys, size);
    if (thread_warp() == 0) {
        warp_decide<IN_SHARED>(args, row, keys, count, bound == -FLT_MAX, mass);
    }
}

KERNEL void KERNEL_BOUNDS(THREADS, 1) sample_sort(const SampleArgs args) {
    uint32_t row = args.row_first;
    double *cells = (double *)shared_base();
    RowMass mass = row_mass(args, row, cells);
    const float *logits = args.logits + (size_t)row * args.vocab;
    uint32_t count = 0;
    for (uint32_t i = thread_index(); i < args.sorted; i += THREADS) {
        float x = i < args.vocab ? cleaned(global_load(logits + i)) : -INFINITY;
        global_store(args.keys + i, x > -INFINITY ? rank_key(x, i) : NO_KEY);
        count += x > -INFINITY;
    }
    count = block_fold(count, (uint32_t *)cells, [](uint32_t a, uint32_t b) { return a + b; });
    sort_keys<IN_GLOBAL>(args.keys, args.sorted);
    if (thread_warp() == 0) {
        warp_decide<IN_GLOBAL>(args, row, args.keys, count, true, mass);
    }
}

// ---- Host ---------------------------------------------------------------------------------------

enum {
    RANK_SHARED_BYTES = RANK_MAX * sizeof(uint64_t) + THREADS / 32 * sizeof(double),
    SORT_SHARED_BYTES = THREADS / 32 * sizeof(double),
    AREA_ALIGN = 256,
};

// Where things lie in one launch's memory: what is uploaded comes first and lies the same way in
// the pinned staging memory, where the results come back behind it.
typedef struct SampleArea {
    size_t rows, suppress, history, uploaded; // offsets
    size_t penalized, maxima, mass, warm_mass, out, keys, bytes;
} SampleArea;

static size_t area_take(size_t *used, size_t bytes) {
    size_t at = *used;
    *used += num_round_up(bytes, AREA_ALIGN);
    return at;
}

static uint32_t chunks_of(const OpSample *op) {
    return (uint32_t)num_ceil_div(op->vocab_count, CHUNK);
}

static uint32_t sorted_of(const OpSample *op) {
    uint32_t size = 1;
    while (size < op->vocab_count) {
        size *= 2;
    }
    return size;
}

static SampleArea area_of(const OpSample *op, size_t count, size_t history) {
    SampleArea a = {};
    size_t used = 0, chunks = (size_t)count * chunks_of(op) * sizeof(float);
    a.rows = area_take(&used, count * sizeof(SampleRow));
    a.suppress = area_take(&used, op->suppress_count * sizeof(int32_t));
    a.history = area_take(&used, history * sizeof(int32_t));
    a.uploaded = used;
    a.penalized = area_take(&used, history * sizeof(float));
    a.maxima = area_take(&used, chunks);
    a.mass = area_take(&used, chunks);
    a.warm_mass = area_take(&used, chunks);
    a.out = area_take(&used, count * sizeof(SampleOut));
    a.keys = area_take(&used, sorted_of(op) * sizeof(uint64_t));
    a.bytes = used;
    return a;
}

static uint32_t history_of(const BatchSequence *sequence) {
    return sequence->sampling.repetition_penalty == 1.0f ? 0 : sequence->history_count;
}

// As many rows from `first` on as the memory takes.
static uint32_t rows_that_fit(const OpSample *op, uint32_t first, size_t *history) {
    uint32_t count = 0;
    *history = 0;
    while (first + count < op->count) {
        size_t more = *history + history_of(op->sequences[first + count]);
        SampleArea a = area_of(op, count + 1, more);
        bool fits = a.bytes <= CUDA_SCRATCH_BYTES - CUDA_TICKET_BYTES &&
                    a.uploaded + (count + 1) * sizeof(SampleOut) <= CUDA_STAGING_BYTES;
        if (!fits) {
            break;
        }
        *history = more;
        count++;
    }
    REQUIRE_MESSAGE(count > 0, "no room to sample one row of %u logits", op->vocab_count);
    return count;
}

static void pack_rows(const OpSample *op, uint32_t first, uint32_t count, const SampleArea *area,
                      unsigned char *staging) {
    SampleRow *rows = (SampleRow *)(staging + area->rows);
    int32_t *history = (int32_t *)(staging + area->history);
    uint32_t used = 0;
    for (uint32_t i = 0; i < count; i++) {
        const BatchSequence *sequence = op->sequences[first + i];
        const Sampling *s = &sequence->sampling;
        uint32_t length = history_of(sequence);
        rows[i] = {prng_uniform(s->seed, 0, sequence->draw),
                   s->temperature,
                   s->top_p,
                   s->min_p,
                   s->repetition_penalty,
                   s->top_k,
                   s->logprobs,
                   used,
                   length};
        if (length > 0) {
            memcpy(history + used, sequence->history, length * sizeof *history);
        }
        used += length;
    }
    if (op->suppress_count > 0) {
        memcpy(staging + area->suppress, op->suppress_ids, op->suppress_count * sizeof(int32_t));
    }
}

static SampleArgs sample_args(const CudaContext *cuda, const OpSample *op, uint32_t first,
                              const SampleArea *area) {
    unsigned char *base = cuda->scratch;
    SampleArgs args = {};
    args.logits = op->logits + (size_t)first * op->vocab_count;
    args.vocab = op->vocab_count;
    args.chunks = chunks_of(op);
    args.rows = (const SampleRow *)(base + area->rows);
    args.suppress = (const int32_t *)(base + area->suppress);
    args.history = (const int32_t *)(base + area->history);
    args.penalized = (float *)(base + area->penalized);
    args.suppress_count = op->suppress_count;
    args.maxima = (float *)(base + area->maxima);
    args.mass = (float *)(base + area->mass);
    args.warm_mass = (float *)(base + area->warm_mass);
    args.out = (SampleOut *)(base + area->out);
    args.keys = (uint64_t *)(base + area->keys);
    args.sorted = sorted_of(op);
    return args;
}

static cudaError_t run_kernels(const CudaContext *cuda, const SampleArgs &args, uint32_t count,
                               bool adjust) {
    cudaError_t status = cudaSuccess;
    if (adjust) {
        status = LAUNCH(sample_adjust, dim3(count), THREADS, 0, cuda->stream, args);
    }
    if (status == cudaSuccess) {
        dim3 grid((args.chunks + SCAN_CHUNKS - 1) / SCAN_CHUNKS, count);
        status = LAUNCH(sample_scan, grid, SCAN_THREADS, 0, cuda->stream, args);
    }
    if (status == cudaSuccess) {
        status = LAUNCH(sample_rank, dim3(count), THREADS, RANK_SHARED_BYTES, cuda->stream, args);
    }
    return status;
}

// The results of a launch to `out` in the staging memory; blocks.
static cudaError_t fetch(const CudaContext *cuda, const SampleArgs &args, uint32_t count,
                         SampleOut *out) {
    cudaError_t status =
        cudaMemcpyAsync(out, args.out, count * sizeof *out, cudaMemcpyDeviceToHost, cuda->stream);
    return status == cudaSuccess ? cudaStreamSynchronize(cuda->stream) : status;
}

// Rows that the prefix did not decide, one after the other.
static cudaError_t sort_undecided(const CudaContext *cuda, SampleArgs args, uint32_t count,
                                  SampleOut *out) {
    cudaError_t status = cudaSuccess;
    bool any = false;
    for (uint32_t i = 0; i < count && status == cudaSuccess; i++) {
        if (out[i].undecided != 0) {
            any = true;
            args.row_first = i;
            status = LAUNCH(sample_sort, dim3(1), THREADS, SORT_SHARED_BYTES, cuda->stream, args);
        }
    }
    return any && status == cudaSuccess ? fetch(cuda, args, count, out) : status;
}

static Status unpack(const OpSample *op, uint32_t first, uint32_t count, const SampleOut *out) {
    for (uint32_t i = 0; i < count; i++) {
        if (out[i].chosen.token < 0) {
            return E_INTERNAL;
        }
        StepSample *to = &op->out[first + i];
        *to = {};
        to->tag = op->sequences[first + i]->tag;
        to->chosen = out[i].chosen;
        to->top_count = out[i].top_count;
        memcpy(to->top, out[i].top, out[i].top_count * sizeof *to->top);
    }
    return OK;
}

Status cuda_sample(void *context, const OpSample *op) {
    CudaContext *cuda = (CudaContext *)context;
    uint32_t first = 0;
    while (first < op->count && cuda->failed == OK) {
        size_t history = 0;
        uint32_t count = rows_that_fit(op, first, &history);
        SampleArea area = area_of(op, count, history);
        pack_rows(op, first, count, &area, cuda->staging);
        SampleArgs args = sample_args(cuda, op, first, &area);
        SampleOut *out = (SampleOut *)(cuda->staging + area.uploaded);
        cudaError_t status = cudaMemcpyAsync(cuda->scratch, cuda->staging, area.uploaded,
                                             cudaMemcpyHostToDevice, cuda->stream);
        if (status == cudaSuccess) {
            status = run_kernels(cuda, args, count, history > 0 || op->suppress_count > 0);
        }
        if (status == cudaSuccess) {
            status = fetch(cuda, args, count, out);
        }
        if (status == cudaSuccess) {
            status = sort_undecided(cuda, args, count, out);
        }
        TRY(cuda_launched(cuda, "sample", status));
        TRY(unpack(op, first, count, out));
        first += count;
    }
    return cuda->failed;
}
