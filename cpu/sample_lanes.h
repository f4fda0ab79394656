// SPDX-License-Identifier: Apache-2.0
// sample, written once over Lanes; a task is a sequence. The order and the rules are those of
// sample_ref.c; what differs is that nothing is sorted that cannot be drawn.
//
// The ranking (x descending, id ascending) is taken in prefixes: the k-th highest of the maxima of
// 64-wide chunks bounds the k-th highest value from below, so all values at or above that bound
// are a true prefix of the ranking with k members at least. The first prefix is as long as the
// first question asks (1 when greedy, top_k), a cut or a draw that needs more makes it eight times
// as long. With top_k the sums are the reference's, bit for bit; without it the sum over the whole
// vocabulary is taken in f32 per chunk and double between chunks.
#ifndef CPU_SAMPLE_LANES_H
#define CPU_SAMPLE_LANES_H

#include "base/check.h"
#include "base/num.h"
#include "base/prng.h"
#include "cpu/context.h"
#include "cpu/lanes.h"

#include <stdlib.h>

enum { SAMPLE_CHUNK = 64 };

typedef struct Candidate {
    float x;
    int32_t token;
} Candidate;

typedef struct Ranking {
    float *logits;
    uint32_t vocab_count;
    uint32_t chunk_count;
    float *maxima;     // [chunk_count] highest logit of each chunk
    float *spare;      // [chunk_count]
    Candidate *ranked; // [vocab_count], the first `count` are the ranking's prefix
    uint32_t count;
    bool complete; // there are no more
} Ranking;

typedef struct SampleTask {
    const OpSample *op;
    CpuContext *cpu;
} SampleTask;

static int by_rank(const void *left, const void *right) {
    const Candidate *a = left;
    const Candidate *b = right;
    if (a->x != b->x) {
        return a->x > b->x ? -1 : 1;
    }
    return (a->token > b->token) - (a->token < b->token);
}

// The k-th highest (k >= 1) of v[count], which is reordered: Hoare's selection.
static float kth_highest(float *v, uint32_t count, uint32_t k) {
    uint32_t first = 0, end = count, target = k - 1;
    while (end - first > 1) {
        float pivot = v[first + (end - first) / 2];
        uint32_t above = first, below = end, i = first;
        while (i < below) { // [first, above) > pivot, [above, i) == pivot, [below, end) < pivot
            float x = v[i];
            if (x > pivot) {
                v[i++] = v[above];
                v[above++] = x;
            } else if (x < pivot) {
                v[i] = v[--below];
                v[below] = x;
            } else {
                i++;
            }
        }
        if (target < above) {
            end = above;
        } else if (target >= below) {
            first = below;
        } else {
            return pivot;
        }
    }
    return v[first];
}

// Chunk maxima; NaN becomes -inf and +inf the largest float on the way.
LANES_INLINE float ranking_scan(Ranking *ranking) {
    const Lanes lowest = lanes_set(-INFINITY);
    float highest = -INFINITY;
    for (uint32_t c = 0; c < ranking->chunk_count; c++) {
        float *x = ranking->logits + (size_t)c * SAMPLE_CHUNK;
        uint32_t count = (uint32_t)num_min(SAMPLE_CHUNK, ranking->vocab_count - c * SAMPLE_CHUNK);
        float chunk[SAMPLE_CHUNK];
        float *from = x;
        if (count < SAMPLE_CHUNK) {
            for (uint32_t i = 0; i < SAMPLE_CHUNK; i++) {
                chunk[i] = i < count ? x[i] : -INFINITY;
            }
            from = chunk;
        }
        Lanes top = lowest;
        for (uint32_t i = 0; i < SAMPLE_CHUNK; i += LANES) {
            Lanes v = lanes_load(from + i);
            v = lanes_min(lanes_if_above(v, lowest, v, lowest), lanes_set(FLT_MAX));
            lanes_store(from + i, v);
            top = lanes_max(v, top);
        }
        if (from == chunk) {
            memcpy(x, chunk, count * sizeof(float));
        }
        ranking->maxima[c] = lanes_highest(top);
        highest = fmaxf(highest, ranking->maxima[c]);
    }
    return highest;
}

// Sum of exp((x - highest) / temperature) over the vocabulary.
LANES_INLINE double ranking_mass(const Ranking *ranking, float highest, float temperature) {
    const Lanes top = lanes_set(highest);
    const Lanes scale = lanes_set(1.0f / temperature);
    double mass = 0.0;
    for (uint32_t c = 0; c < ranking->chunk_count; c++) {
        const float *x = ranking->logits + (size_t)c * SAMPLE_CHUNK;
        uint32_t count = (uint32_t)num_min(SAMPLE_CHUNK, ranking->vocab_count - c * SAMPLE_CHUNK);
        float chunk[SAMPLE_CHUNK];
        if (count < SAMPLE_CHUNK) {
            for (uint32_t i = 0; i < SAMPLE_CHUNK; i++) {
                chunk[i] = i < count ? x[i] : -INFINITY;
            }
            x = chunk;
        }
        Lanes sum = lanes_set(0.0f);
        for (uint32_t i = 0; i < SAMPLE_CHUNK; i += LANES) {
            sum = lanes_add(sum, lanes_exp(lanes_mul(lanes_sub(lanes_load(x + i), top), scale)));
        }
        mass += (double)lanes_sum(sum);
    }
    return mass;
}

// Makes the prefix at least min(wanted, all) long.
static void ranking_extend(Ranking *ranking, uint32_t wanted) {
    if (ranking->complete || ranking->count >= wanted) {
        return;
    }
    float bound = -FLT_MAX; // every logit that is not suppressed
    ranking->complete = wanted >= ranking->chunk_count;
    if (!ranking->complete) {
        memcpy(ranking->spare, ranking->maxima, ranking->chunk_count * sizeof(float));
        bound = fmaxf(bound, kth_highest(ranking->spare, ranking->chunk_count, wanted));
        ranking->complete = bound == -FLT_MAX;
    }
    ranking->count = 0;
    for (uint32_t c = 0; c < ranking->chunk_count; c++) {
        if (ranking->maxima[c] < bound) {
            continue;
        }
        uint32_t end = (uint32_t)num_min((size_t)(c + 1) * SAMPLE_CHUNK, ranking->vocab_count);
        for (uint32_t i = c * SAMPLE_CHUNK; i < end; i++) {
            if (ranking->logits[i] >= bound) {
                ranking->ranked[ranking->count++] = (Candidate){ranking->logits[i], (int32_t)i};
            }
        }
    }
    qsort(ranking->ranked, ranking->count, sizeof(Candidate), by_rank);
}

// The i-th of the ranking, or NULL when there are fewer.
static const Candidate *ranking_at(Ranking *ranking, uint32_t i) {
    while (i >= ranking->count && !ranking->complete) {
        ranking_extend(ranking, (uint32_t)num_max(i + 1, (size_t)ranking->count * 8));
    }
    return i < ranking->count ? &ranking->ranked[i] : NULL;
}

LANES_INLINE Candidate draw(Ranking *ranking, const BatchSequence *sequence) {
    const Sampling *sampling = &sequence->sampling;
    double highest = (double)ranking_at(ranking, 0)->x;
    double temperature = (double)sampling->temperature;
    float lowest = -INFINITY; // of what top_k keeps
    double whole = 0.0;
    if (sampling->top_k > 0) {
        const Candidate *last = ranking_at(ranking, sampling->top_k - 1);
        lowest = last != NULL ? last->x : -INFINITY;
        const Candidate *next;
        for (uint32_t i = 0; (next = ranking_at(ranking, i)) != NULL && next->x >= lowest; i++) {
            whole += exp(((double)next->x - highest) / temperature);
        }
    } else {
        whole = ranking_mass(ranking, (float)highest, sampling->temperature);
    }
    // Where nothing but top_k cuts, the sum kept is the whole and the draw may stop early.
    double sum_kept = whole;
    if (sampling->top_p < 1.0f || sampling->min_p > 0.0f) {
        sum_kept = 0.0;
        const Candidate *next;
        for (uint32_t i = 0; (next = ranking_at(ranking, i)) != NULL && next->x >= lowest; i++) {
            double weight = exp(((double)next->x - highest) / temperature);
            bool past_p = sampling->top_p < 1.0f && sum_kept >= (double)sampling->top_p * whole;
            if (i > 0 && (past_p || weight < (double)sampling->min_p)) {
                break;
            }
            sum_kept += weight;
        }
    }
    double target = prng_uniform(sampling->seed, 0, sequence->draw) * sum_kept;
    Candidate chosen = *ranking_at(ranking, 0);
    double sum = 0.0;
    const Candidate *next;
    for (uint32_t i = 0; (next = ranking_at(ranking, i)) != NULL && next->x >= lowest; i++) {
        chosen = *next;
        sum += exp(((double)next->x - highest) / temperature);
        if (sum > target) {
            break;
        }
    }
    return chosen;
}

static void apply_penalty(float *logits, const OpSample *op, const BatchSequence *sequence,
                          unsigned char *seen) {
    float penalty = sequence->sampling.repetition_penalty;
    if (penalty == 1.0f) {
        return;
    }
    memset(seen, 0, (size_t)op->vocab_count / 8 + 1);
    for (uint32_t i = 0; i < sample_history_count(sequence); i++) {
        int32_t id = sample_history_token(sequence, op->drawn_before, i);
        if (id < 0 || (uint32_t)id >= op->vocab_count || (seen[id / 8] >> id % 8 & 1) != 0) {
            continue;
        }
        seen[id / 8] = (unsigned char)(seen[id / 8] | 1u << id % 8);
        logits[id] = logits[id] < 0.0f ? logits[id] * penalty : logits[id] / penalty;
    }
}

// Whole words of the set are the rule: nearly all tokens are allowed, or nearly none.
static void apply_allowed(float *logits, uint32_t vocab_count, const uint32_t *allowed) {
    for (uint32_t first = 0; first < vocab_count; first += 32) {
        uint32_t word = allowed[first / 32];
        uint32_t count = (uint32_t)num_min(32, vocab_count - first);
        for (uint32_t i = 0; word != UINT32_MAX && i < count; i++) {
            if ((word >> i & 1) == 0) {
                logits[first + i] = -INFINITY;
            }
        }
    }
}

static void sample_task(void *argument, uint32_t index, uint32_t worker) {
    SampleTask *task = argument;
    const OpSample *op = task->op;
    const BatchSequence *sequence = op->sequences[index];
    const Sampling *sampling = &sequence->sampling;
    unsigned char *scratch = task->cpu->scratch[worker];
    Ranking ranking = {
        .logits = op->logits + (size_t)index * op->vocab_count,
        .vocab_count = op->vocab_count,
        .chunk_count = (uint32_t)num_ceil_div(op->vocab_count, SAMPLE_CHUNK),
        .ranked = (Candidate *)scratch,
    };
    ranking.maxima = (float *)(ranking.ranked + op->vocab_count);
    ranking.spare = ranking.maxima + ranking.chunk_count;
    apply_penalty(ranking.logits, op, sequence,
                  (unsigned char *)(ranking.spare + ranking.chunk_count));
    for (uint32_t i = 0; i < op->suppress_count; i++) {
        if (op->suppress_ids[i] >= 0 && (uint32_t)op->suppress_ids[i] < op->vocab_count) {
            ranking.logits[op->suppress_ids[i]] = -INFINITY;
        }
    }
    if (sequence->allowed != NULL) {
        apply_allowed(ranking.logits, op->vocab_count, sequence->allowed);
    }
    StepSample *out = &op->out[index];
    *out = (StepSample){.chosen = {.token = -1}};
    op->drawn[index] = -1;
    float highest = ranking_scan(&ranking);
    if (highest == -INFINITY) {
        return;
    }
    double log_mass = (double)highest + log(ranking_mass(&ranking, highest, 1.0f));
    Candidate chosen =
        sampling->temperature > 0.0f ? draw(&ranking, sequence) : *ranking_at(&ranking, 0);
    out->chosen = (TokenChoice){chosen.token, (float)((double)chosen.x - log_mass)};
    op->drawn[index] = chosen.token;
    const Candidate *next;
    while (out->top_count < sampling->logprobs &&
           (next = ranking_at(&ranking, out->top_count)) != NULL) {
        out->top[out->top_count++] =
            (TokenChoice){next->token, (float)((double)next->x - log_mass)};
    }
}

LANES_INLINE Status sample_run(void *context, const OpSample *op) {
    SampleTask task = {.op = op, .cpu = context};
    size_t bytes = (size_t)op->vocab_count * (sizeof(Candidate) + 1) +
                   ((size_t)op->vocab_count / SAMPLE_CHUNK + 1) * 2 * sizeof(float);
    REQUIRE_MESSAGE(bytes <= CPU_SCRATCH_BYTES, "a vocabulary of %u", op->vocab_count);
    pool_run(task.cpu->pool, op->count, sample_task, &task);
    return OK;
}

#endif
