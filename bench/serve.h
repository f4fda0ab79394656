// SPDX-License-Identifier: Apache-2.0
// Shared by bench_serve.c (arguments, one load) and serve_bars.c (the bars).
#ifndef BENCH_SERVE_H
#define BENCH_SERVE_H

#include "bench/load.h"
#include "bench/row.h"

enum { SERVE_PICTURES_MAX = 1024, SERVE_USERS_MAX = 1024 };

typedef struct ServeInputs {
    Bytes tokens[SERVE_USERS_MAX];
    uint32_t user_count;
    Buffer token_text;
    Bytes pictures[SERVE_PICTURES_MAX];
    Buffer files[SERVE_PICTURES_MAX];
    uint32_t picture_count;
} ServeInputs;

typedef struct ServeSummary {
    double seconds;
    uint32_t answered, captions, refused, failed, good; // good: within the objectives
    uint64_t output_tokens, prompt_tokens, cached_tokens;
} ServeSummary;

ServeSummary serve_summary(const LoadReport *report, double slo_first_ms, double slo_token_ms);

// Puts NAME_count, NAME_p50, _p90, _p99 and _max; sorts the values.
void serve_percentiles(Row *row, const char *name, double *values, uint32_t count);

void serve_put_row(const char *what, const LoadOptions *load, const LoadReport *report,
                   double slo_first_ms, double slo_token_ms);

// One bar by its name, or E_ARGUMENT; `load` says server, pictures and users, `pid` is the server's
// process (0: not known). *good says whether the bar is met.
Status serve_bar(const char *name, const LoadOptions *load, int pid, bool *good, Error *error);

#endif
