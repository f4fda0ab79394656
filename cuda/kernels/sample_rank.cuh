// SPDX-License-Identifier: Apache-2.0
// The ranking of a row and the draw from it. The k-th highest of the maxima of disjoint parts of a
// row (its chunks, or some together) bounds the k-th highest logit from below, so what is at or
// above that bound is a true prefix of the ranking (x descending, id ascending) with k members at
// least. It is sorted and one warp walks it. k is 1, top_k, the logprobs asked for, or RANK_PREFIX
// where the draw is over the whole vocabulary. A row whose prefix does not fit or does not decide
// is left to sample_sort, which ranks everything.
#ifndef CUDA_KERNELS_SAMPLE_RANK_CUH
#define CUDA_KERNELS_SAMPLE_RANK_CUH

#include "cuda/kernels/sample_row.cuh"

#define NO_KEY UINT64_MAX

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
            for (uint32_t p = thread_index(); p < count / 2; p += SAMPLE_THREADS) {
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
    for (int warp = 1; warp < SAMPLE_THREADS / 32; warp++) {
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

DEVICE const float *row_chunks(const SampleArgs &args, uint32_t row, LogitSum sum) {
    return args.scan.chunks + ((size_t)row * LOGIT_SUM_COUNT + sum) * args.chunks;
}

DEVICE RowMass row_mass(const SampleArgs &args, uint32_t row, double *cells) {
    const float *maxima = row_chunks(args, row, LOGIT_MAXIMA);
    const float *masses = row_chunks(args, row, LOGIT_MASS);
    const float *tempered_masses = row_chunks(args, row, LOGIT_TEMPERED_MASS);
    float highest = -INFINITY;
    for (uint32_t c = thread_index(); c < args.chunks; c += SAMPLE_THREADS) {
        highest = fmaxf(highest, global_load(maxima + c));
    }
    highest = block_fold(highest, (float *)cells, [](float a, float b) { return fmaxf(a, b); });
    float inverse_temperature = global_load(args.scan.inverse_temperature + row);
    double mass = 0.0, tempered = 0.0;
    for (uint32_t c = thread_index(); c < args.chunks && highest > -INFINITY; c += SAMPLE_THREADS) {
        float below = global_load(maxima + c) - highest;
        mass += (double)(exp_f32(below) * global_load(masses + c));
        tempered +=
            (double)(exp_f32(below * inverse_temperature) * global_load(tempered_masses + c));
    }
    auto add = [](double a, double b) { return a + b; };
    mass = block_fold(mass, cells, add);
    return {highest, (double)highest + log(mass), block_fold(tempered, cells, add)};
}

// Parts of a row that have a chunk: part p has the chunks p, p + RANK_PARTS, p + 2 RANK_PARTS, ...
enum { RANK_THREAD_PARTS = 8, RANK_PARTS = RANK_THREAD_PARTS * SAMPLE_THREADS };

// The k-th highest of the maxima of the parts, of which there are k, found bit by bit: the largest
// order that k maxima reach. A thread keeps those of its parts in registers.
DEVICE float kth_maximum(const SampleArgs &args, uint32_t row, uint32_t k, double *cells) {
    const float *maxima = row_chunks(args, row, LOGIT_MAXIMA);
    uint32_t parts[RANK_THREAD_PARTS] = {}; // below every order
    for (uint32_t first = 0; first < args.chunks; first += RANK_PARTS) {
        UNROLL
        for (uint32_t p = 0; p < RANK_THREAD_PARTS; p++) {
            uint32_t c = first + p * SAMPLE_THREADS + thread_index();
            uint32_t order = c < args.chunks ? ordered(global_load(maxima + c)) : 0;
            parts[p] = order > parts[p] ? order : parts[p];
        }
    }
    uint32_t order = 0;
    for (uint32_t bit = 0x80000000u; bit != 0; bit >>= 1) {
        uint32_t reached = 0;
        UNROLL
        for (uint32_t p = 0; p < RANK_THREAD_PARTS; p++) {
            reached += parts[p] >= (order | bit);
        }
        reached =
            block_fold(reached, (uint32_t *)cells, [](uint32_t a, uint32_t b) { return a + b; });
        order |= reached >= k ? bit : 0;
    }
    return bits_to_float((order >> 31) != 0 ? order & 0x7fffffffu : ~order);
}

// Calls visit(id, logit) with the lanes of a warp along every chunk of its share whose maximum
// reaches `bound`. All lanes look at maxima before they take the chunks one by one.
template <typename Visit>
DEVICE void warp_visit(const SampleArgs &args, uint32_t row, float bound, Visit visit) {
    const float *maxima = row_chunks(args, row, LOGIT_MAXIMA);
    const float *logits = args.logits + (size_t)row * args.vocab;
    uint32_t lane = thread_lane();
    for (uint32_t first = thread_warp() * 32; first < args.chunks; first += SAMPLE_THREADS) {
        bool mine = first + lane < args.chunks && global_load(maxima + first + lane) >= bound;
        for (unsigned left = warp_ballot(mine); left != 0; left &= left - 1) {
            uint32_t chunk = first + bits_count((left & (~left + 1)) - 1);
            uint32_t i = chunk * LOGIT_CHUNK + lane;
            visit(i, i < args.vocab ? logit_cleaned(global_load(logits + i)) : -INFINITY);
        }
    }
}

// All logits at or above `bound` to keys[0 .. RANK_MAX), the rest of them NO_KEY; how many there
// are, which may be more than fit. Every warp counts its own first, so that each knows where its
// keys begin.
DEVICE uint32_t gather(const SampleArgs &args, uint32_t row, float bound, uint64_t *keys,
                       uint32_t *cells) {
    uint32_t lane = thread_lane(), count = 0, at = 0, all = 0;
    warp_visit(args, row, bound,
               [&](uint32_t, float x) { count += bits_count(warp_ballot(x >= bound)); });
    if (lane == 0) {
        shared_store(cells + thread_warp(), count);
    }
    block_sync();
    for (uint32_t warp = 0; warp < SAMPLE_THREADS / 32; warp++) {
        uint32_t of_warp = shared_load(cells + warp);
        at += warp < thread_warp() ? of_warp : 0;
        all += of_warp;
    }
    warp_visit(args, row, bound, [&](uint32_t i, float x) {
        unsigned found = warp_ballot(x >= bound);
        uint32_t mine = at + bits_count(found & ((1u << lane) - 1));
        if (x >= bound && mine < RANK_MAX) {
            shared_store(keys + mine, rank_key(x, i));
        }
        at += bits_count(found);
    });
    for (uint32_t i = all + thread_index(); i < RANK_MAX; i += SAMPLE_THREADS) {
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
DEVICE uint32_t warp_draw(const SampleSettings &row, const RankWeights &weights, uint32_t count,
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

DEVICE void store_choice(TokenChoice *to, uint64_t key, double log_mass) {
    global_store(&to->token, (int32_t)(uint32_t)key);
    global_store(&to->logprob, (float)((double)key_value(key) - log_mass));
}

// By one warp: the result of a row from the first `count` of its ranking.
template <KeyPlace PLACE>
DEVICE void warp_decide(const SampleArgs &args, uint32_t index, const uint64_t *keys,
                        uint32_t count, bool complete, const RowMass &mass) {
    SampleSettings row = args.settings[index];
    uint32_t rank = 0;
    if (row.temperature > 0.0f) {
        RankWeights weights = {keys, (double)mass.highest, (double)row.temperature};
        uint32_t kept = warp_top_k<PLACE>(keys, count, row.top_k);
        bool all = complete || (row.top_k > 0 && count >= row.top_k);
        rank = warp_draw<PLACE>(row, weights, kept, mass.whole, all);
    }
    StepSample *out = args.out + index;
    uint32_t tops = smaller(row.logprobs, count);
    if (thread_lane() == 0) {
        global_store(args.undecided + index, (uint32_t)(rank == UINT32_MAX));
        global_store(&out->top_count, tops);
        uint64_t key = key_load<PLACE>(keys, rank == UINT32_MAX ? 0 : rank);
        store_choice(&out->chosen, key, mass.log_mass);
        global_store(args.drawn + index, (int32_t)(uint32_t)key);
    }
    if (thread_lane() < tops) {
        store_choice(out->top + thread_lane(), key_load<PLACE>(keys, thread_lane()), mass.log_mass);
    }
}

DEVICE void store_nothing_left(const SampleArgs &args, uint32_t index) {
    if (thread_index() == 0) {
        StepSample *out = args.out + index;
        global_store(args.undecided + index, 0u);
        global_store(&out->top_count, 0u);
        global_store(&out->chosen.token, -1);
        global_store(&out->chosen.logprob, 0.0f);
        global_store(args.drawn + index, -1);
    }
}

DEVICE uint32_t rank_wanted(const SampleSettings &row) {
    uint32_t drawn = row.temperature <= 0.0f ? 1
                     : row.top_k > 0         ? row.top_k
                                             : (uint32_t)RANK_PREFIX;
    return drawn > row.logprobs ? drawn : row.logprobs;
}

KERNEL void KERNEL_BOUNDS(SAMPLE_THREADS, 1) sample_rank(const SampleArgs args) {
    uint32_t row = block_x();
    uint64_t *keys = (uint64_t *)shared_base();
    double *cells = (double *)(keys + RANK_MAX);
    RowMass mass = row_mass(args, row, cells);
    if (mass.highest == -INFINITY) {
        store_nothing_left(args, row);
        return;
    }
    uint32_t wanted = rank_wanted(args.settings[row]);
    float bound = mass.highest;
    if (wanted > 1) {
        uint32_t parts = smaller(args.chunks, RANK_PARTS);
        bound = wanted < parts ? kth_maximum(args, row, wanted, cells) : -FLT_MAX;
        bound = bound > -FLT_MAX ? bound : -FLT_MAX; // every logit that is not suppressed
    }
    uint32_t count = gather(args, row, bound, keys, (uint32_t *)cells);
    if (count > RANK_MAX) {
        if (thread_index() == 0) {
            global_store(args.undecided + row, 1u);
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

// The first row from `first` on that is undecided, or args.count; one load a thread in a step of
// up to 512 rows.
DEVICE uint32_t next_undecided(const SampleArgs &args, uint32_t first, uint32_t *cells) {
    uint32_t found = args.count;
    for (uint32_t row = first + thread_index(); row < found; row += SAMPLE_THREADS) {
        found = global_load(args.undecided + row) != 0 ? row : found;
    }
    return block_fold(found, cells, [](uint32_t a, uint32_t b) { return a < b ? a : b; });
}

DEVICE void sort_row(const SampleArgs &args, uint32_t row, double *cells) {
    RowMass mass = row_mass(args, row, cells);
    const float *logits = args.logits + (size_t)row * args.vocab;
    uint32_t count = 0;
    for (uint32_t i = thread_index(); i < args.sorted; i += SAMPLE_THREADS) {
        float x = i < args.vocab ? logit_cleaned(global_load(logits + i)) : -INFINITY;
        global_store(args.keys + i, x > -INFINITY ? rank_key(x, i) : NO_KEY);
        count += x > -INFINITY;
    }
    count = block_fold(count, (uint32_t *)cells, [](uint32_t a, uint32_t b) { return a + b; });
    sort_keys<IN_GLOBAL>(args.keys, args.sorted);
    if (thread_warp() == 0) {
        warp_decide<IN_GLOBAL>(args, row, args.keys, count, true, mass);
    }
    block_sync(); // before the next row's keys
}

// One block for all rows, since there is room for the keys of one; mostly there is none to rank.
KERNEL void KERNEL_BOUNDS(SAMPLE_THREADS, 1) sample_sort(const SampleArgs args) {
    double *cells = (double *)shared_base();
    uint32_t row = next_undecided(args, 0, (uint32_t *)cells);
    while (row < args.count) {
        sort_row(args, row, cells);
        row = next_undecided(args, row + 1, (uint32_t *)cells);
    }
}

#endif
