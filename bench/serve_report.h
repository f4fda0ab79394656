// SPDX-License-Identifier: Apache-2.0
// What a load came to (load.h): counts, percentiles, fairness between users, as one row.
#ifndef BENCH_SERVE_REPORT_H
#define BENCH_SERVE_REPORT_H

#include "bench/load.h"
#include "bench/row.h"

enum { SERVE_USERS_MAX = 1024 };

typedef struct ServeSummary {
    double seconds;
    uint32_t answered, captions, refused, failed, good; // good: within the objectives
    uint64_t output_tokens, prompt_tokens, cached_tokens;
} ServeSummary;

ServeSummary serve_report_summary(const LoadReport *report, double slo_first_ms,
                                  double slo_token_ms);

// Puts NAME_count, NAME_p50, _p90, _p99 and _max; sorts the values.
void serve_report_percentiles(Row *row, const char *name, double *values, uint32_t count);

// The row of a load, and a line for people.
void serve_report_row(const char *what, const LoadOptions *load, const LoadReport *report,
                      double slo_first_ms, double slo_token_ms);

#endif
