// SPDX-License-Identifier: Apache-2.0
#include "bench/serve_report.h"

#include "base/check.h"
#include "base/num.h"

#include <stdio.h>
#include <stdlib.h>

static int compare_double(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void serve_report_percentiles(Row *row, const char *name, double *values, uint32_t count) {
    static const struct {
        const char *suffix;
        double at;
    } marks[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"max", 1}};
    char key[64];
    snprintf(key, sizeof key, "%s_count", name);
    row_number(row, key, count);
    qsort(values, count, sizeof *values, compare_double);
    for (size_t i = 0; i < sizeof marks / sizeof marks[0] && count > 0; i++) {
        size_t index = num_min((size_t)(marks[i].at * count), count - 1);
        snprintf(key, sizeof key, "%s_%s", name, marks[i].suffix);
        row_number(row, key, values[index]);
    }
}

static double token_ms(const LoadRecord *record) {
    return record->output_tokens > 1
               ? (record->total_ms - record->first_ms) / (record->output_tokens - 1)
               : 0;
}

// Output tokens of the least and the best served user.
static void put_fairness(Row *row, const LoadReport *report, uint32_t user_count) {
    uint64_t served[SERVE_USERS_MAX] = {0}, low = UINT64_MAX, high = 0;
    for (uint32_t i = 0; i < report->count; i++) {
        const LoadRecord *r = &report->records[i];
        served[r->user] += r->outcome == LOAD_ANSWERED ? r->prompt_tokens + r->output_tokens : 0;
    }
    for (uint32_t i = 0; i < user_count; i++) {
        low = num_min(low, served[i]);
        high = num_max(high, served[i]);
    }
    row_number(row, "users", user_count);
    row_number(row, "user_tokens_least", (double)low);
    row_number(row, "user_tokens_most", (double)high);
}

static uint32_t collect(const LoadReport *report, LoadOutcome outcome,
                        double (*value)(const LoadRecord *), double *out) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < report->count; i++) {
        if (report->records[i].outcome == outcome) {
            out[count++] = value(&report->records[i]);
        }
    }
    return count;
}

static double first_ms(const LoadRecord *record) {
    return record->first_ms;
}

static double total_ms(const LoadRecord *record) {
    return record->total_ms;
}

ServeSummary serve_report_summary(const LoadReport *report, double slo_first_ms,
                                  double slo_token_ms) {
    ServeSummary sum = {.seconds = report->seconds};
    for (uint32_t i = 0; i < report->count; i++) {
        const LoadRecord *r = &report->records[i];
        bool answered = r->outcome == LOAD_ANSWERED;
        sum.answered += answered;
        sum.captions += answered && r->picture;
        sum.refused += r->outcome == LOAD_REFUSED;
        sum.failed += r->outcome == LOAD_FAILED;
        sum.output_tokens += answered ? r->output_tokens : 0;
        sum.prompt_tokens += answered ? r->prompt_tokens : 0;
        sum.cached_tokens += answered ? r->cached_tokens : 0;
        sum.good += answered && r->first_ms <= slo_first_ms && token_ms(r) <= slo_token_ms;
    }
    return sum;
}

void serve_report_row(const char *what, const LoadOptions *load, const LoadReport *report,
                      double slo_first_ms, double slo_token_ms) {
    ServeSummary sum = serve_report_summary(report, slo_first_ms, slo_token_ms);
    double *values = calloc(report->count + 1, sizeof *values);
    REQUIRE(values != NULL);
    Row row = row_begin("serve", what);
    row_number(&row, "concurrency", load->concurrency);
    row_number(&row, "rate", load->rate);
    row_number(&row, "connections", load->connections);
    row_number(&row, "max_tokens", load->max_tokens);
    row_number(&row, "picture_share", load->picture_count > 0 ? load->picture_share : 0);
    row_number(&row, "seconds", sum.seconds);
    row_number(&row, "requests", report->count);
    row_number(&row, "answered", sum.answered);
    row_number(&row, "refused", sum.refused);
    row_number(&row, "failed", sum.failed);
    row_number(&row, "captions_per_s", sum.captions / sum.seconds);
    row_number(&row, "answers_per_s", sum.answered / sum.seconds);
    row_number(&row, "output_tokens_per_s", (double)sum.output_tokens / sum.seconds);
    row_number(&row, "prompt_tokens", (double)sum.prompt_tokens);
    row_number(&row, "cached_tokens", (double)sum.cached_tokens);
    row_number(&row, "slo_first_ms", slo_first_ms);
    row_number(&row, "slo_token_ms", slo_token_ms);
    row_number(&row, "goodput_per_s", sum.good / sum.seconds);
    serve_report_percentiles(&row, "first_ms", values,
                             collect(report, LOAD_ANSWERED, first_ms, values));
    serve_report_percentiles(&row, "token_ms", values,
                             collect(report, LOAD_ANSWERED, token_ms, values));
    serve_report_percentiles(&row, "total_ms", values,
                             collect(report, LOAD_ANSWERED, total_ms, values));
    serve_report_percentiles(&row, "refusal_ms", values,
                             collect(report, LOAD_REFUSED, total_ms, values));
    put_fairness(&row, report, load->user_count);
    row_end(&row);
    fprintf(stderr,
            "%s: %u of %u answered in %.1f s: %.2f a second, %.2f captions/s, %.0f tokens/s; "
            "%u refused, %u failed\n",
            what, sum.answered, report->count, sum.seconds, sum.answered / sum.seconds,
            sum.captions / sum.seconds, (double)sum.output_tokens / sum.seconds, sum.refused,
            sum.failed);
    if (report->first_failure.status != OK) {
        fprintf(stderr, "  first failure: %s\n", report->first_failure.text);
    }
    free(values);
}
