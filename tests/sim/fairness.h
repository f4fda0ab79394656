// SPDX-License-Identifier: Apache-2.0
// One heavy and nine light users of a captioning server on a simulated card: what fairness costs
// and gives, with steps planned one at a time or one ahead. Requests are pictures: 280 image
// tokens, 50 of text, 80 of answer.
#ifndef TESTS_SIM_FAIRNESS_H
#define TESTS_SIM_FAIRNESS_H

#include <stdbool.h>
#include <stdint.h>

// All ten users always have requests waiting; the heavy one ten times as many, and longer ones.
typedef struct FairnessGap {
    double gap;     // most by which the service of two users ever differed, in tokens
    double bound;   // what the algorithm promises: twice the larger of a prompt and a full batch
    double service; // of the least served user at the end
} FairnessGap;

FairnessGap fairness_gap(uint64_t seed, bool ahead);

// Each light user asks, has its answer, thinks for think_ms on average and asks again; the heavy
// one, when there, always has 100 requests waiting.
typedef struct FairnessLatency {
    uint64_t count; // of light requests
    double first_token_p50_ms, first_token_p99_ms;
    double tokens_per_second; // of all users
} FairnessLatency;

FairnessLatency fairness_latency(uint64_t seed, bool ahead, double think_ms, bool with_heavy);

#endif
