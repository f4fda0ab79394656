// SPDX-License-Identifier: Apache-2.0
// sample: from logits to a token, in the order and with the tie rules of transformers' logits
// processors (generation/logits_process.py), the plain way: sort everything.
//
//   penalty      once per distinct id of the history: x < 0 ? x * penalty : x / penalty
//   suppression  x = -inf
//   allowed      x = -inf for tokens that are not in the set of the sequence, where it has one
//   logprobs     log softmax of what stands now
//   temperature  weights w = exp((x - highest) / temperature); 0 means the highest x, lowest id
//   top_k        keeps x >= the k-th highest x, so ties with it stay
//   top_p        in order (x descending, id ascending) keeps a token while the sum of those before
//                it is below top_p of the whole; the first always stays
//   min_p        keeps w >= min_p, since the highest w is 1
//   draw         the first token of that order whose running sum exceeds uniform * sum kept
//
// A NaN logit counts as suppressed and +inf as the largest float, so a damaged row still yields its
// best token; a row with nothing left becomes token -1.
#include "base/prng.h"
#include "cpu/context.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

typedef struct Candidate {
    float x;
    int32_t token;
} Candidate;

static int by_rank(const void *left, const void *right) {
    const Candidate *a = left;
    const Candidate *b = right;
    if (a->x != b->x) {
        return a->x > b->x ? -1 : 1;
    }
    return (a->token > b->token) - (a->token < b->token);
}

static void apply_penalty(float *logits, const OpSample *op, const BatchSequence *sequence,
                          bool *seen) {
    float penalty = sequence->sampling.repetition_penalty;
    for (uint32_t i = 0; i < sample_history_count(sequence); i++) {
        int32_t id = sample_history_token(sequence, op->drawn_before, i);
        if (id < 0 || (uint32_t)id >= op->vocab_count || seen[id]) {
            continue;
        }
        seen[id] = true;
        logits[id] = logits[id] < 0.0f ? logits[id] * penalty : logits[id] / penalty;
    }
}

static double weight_of(const Candidate *ranked, uint32_t i, float temperature) {
    return exp(((double)ranked[i].x - (double)ranked[0].x) / (double)temperature);
}

static Candidate draw(const Candidate *ranked, uint32_t count, const BatchSequence *sequence) {
    const Sampling *sampling = &sequence->sampling;
    double whole = 0.0;
    for (uint32_t i = 0; i < count; i++) {
        whole += weight_of(ranked, i, sampling->temperature);
    }
    uint32_t kept = 0;
    double sum_kept = 0.0;
    for (; kept < count; kept++) {
        double weight = weight_of(ranked, kept, sampling->temperature);
        bool past_p = sampling->top_p < 1.0f && sum_kept >= (double)sampling->top_p * whole;
        if (kept > 0 && (past_p || weight < (double)sampling->min_p)) {
            break;
        }
        sum_kept += weight;
    }
    double target = prng_uniform(sampling->seed, 0, sequence->draw) * sum_kept;
    double sum = 0.0;
    for (uint32_t i = 0; i < kept; i++) {
        sum += weight_of(ranked, i, sampling->temperature);
        if (sum > target) {
            return ranked[i];
        }
    }
    return ranked[kept - 1];
}

static void sample_row(float *logits, const OpSample *op, const BatchSequence *sequence,
                       Candidate *ranked, bool *seen, StepSample *out) {
    const Sampling *sampling = &sequence->sampling;
    *out = (StepSample){.chosen = {.token = -1}};
    apply_penalty(logits, op, sequence, seen);
    for (uint32_t i = 0; i < op->suppress_count; i++) {
        if (op->suppress_ids[i] >= 0 && (uint32_t)op->suppress_ids[i] < op->vocab_count) {
            logits[op->suppress_ids[i]] = -INFINITY;
        }
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < op->vocab_count; i++) {
        bool allowed = sequence->allowed == NULL || batch_token_in(sequence->allowed, i);
        if (allowed && logits[i] > -INFINITY) { // false for NaN
            ranked[count++] = (Candidate){fminf(logits[i], FLT_MAX), (int32_t)i};
        }
    }
    if (count == 0) {
        return;
    }
    float highest = ranked[0].x;
    for (uint32_t i = 1; i < count; i++) {
        highest = fmaxf(highest, ranked[i].x);
    }
    double mass = 0.0;
    for (uint32_t i = 0; i < count; i++) {
        mass += exp((double)ranked[i].x - (double)highest);
    }
    double log_mass = (double)highest + log(mass);
    qsort(ranked, count, sizeof *ranked, by_rank);
    uint32_t kept = count;
    if (sampling->top_k > 0 && sampling->top_k < count) {
        while (ranked[kept - 1].x < ranked[sampling->top_k - 1].x) {
            kept--;
        }
    }
    Candidate chosen = sampling->temperature > 0.0f ? draw(ranked, kept, sequence) : ranked[0];
    out->chosen = (TokenChoice){chosen.token, (float)((double)chosen.x - log_mass)};
    for (; out->top_count < sampling->logprobs && out->top_count < count; out->top_count++) {
        const Candidate *top = &ranked[out->top_count];
        out->top[out->top_count] = (TokenChoice){top->token, (float)((double)top->x - log_mass)};
    }
}

Status sample_ref(void *context, const OpSample *op) {
    (void)context;
    Candidate *ranked = malloc((size_t)op->vocab_count * sizeof *ranked);
    Status status = ranked == NULL ? E_MEMORY : OK;
    for (uint32_t i = 0; i < op->count && status == OK; i++) {
        bool *seen = calloc(op->vocab_count, sizeof *seen);
        status = seen == NULL ? E_MEMORY : OK;
        if (status == OK) {
            sample_row(op->logits + (size_t)i * op->vocab_count, op, op->sequences[i], ranked, seen,
                       &op->out[i]);
            op->drawn[i] = op->out[i].chosen.token;
        }
        free(seen);
    }
    free(ranked);
    return status;
}
