// SPDX-License-Identifier: Apache-2.0
// The metrics registry and its page: the page is read by a strict reader, the reader is held
// against Prometheus' own Python client (tests/golden/metrics).
#include "host/server/metrics.h"

#include "base/file.h"
#include "base/json.h"
#include "exposition.h"
#include "scheduler/sched.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static Metrics *metrics;
static Exposition page;

static void open_metrics(void) {
    cr_assert_eq(metrics_open(4, &metrics, NULL), OK);
}

static void close_metrics(void) {
    metrics_close(metrics);
}

static void read_page(void) {
    Buffer text = {0};
    metrics_text(metrics, &text);
    cr_assert(exposition_read((const char *)text.data, true, &page), "line %d: %s", page.line,
              page.fault);
    buffer_free(&text);
}

static double value_of(const char *series) {
    const ExpositionSample *sample = exposition_find(&page, series);
    cr_assert_not_null(sample, "%s is not on the page", series);
    return sample->value;
}

Test(exposition, the_reader_agrees_with_the_original_client) {
    json_t *pages;
    Error error;
    cr_assert_eq(
        json_parse_file(TEST_ROOT "/tests/golden/metrics/pages.json", 1 << 20, &pages, &error), OK,
        "%s", error.text);
    size_t i;
    json_t *one;
    json_array_foreach(pages, i, one) {
        const char *text = json_string_value(json_object_get(one, "text"));
        json_t *samples = json_object_get(one, "samples");
        bool good = exposition_read(text, false, &page);
        cr_expect_eq(good, !json_is_null(samples), "%s", text);
        if (!good) {
            continue;
        }
        cr_expect(exposition_read(text, true, &page), "%s: %s", text, page.fault);
        cr_assert_eq(page.count, json_array_size(samples), "%s", text);
        for (size_t j = 0; j < page.count; j++) {
            json_t *sample = json_array_get(samples, j);
            cr_expect_str_eq(page.samples[j].series,
                             json_string_value(json_object_get(sample, "series")));
            double value = strtod(json_string_value(json_object_get(sample, "value")), NULL);
            cr_expect(page.samples[j].value == value, "%s", page.samples[j].series);
        }
    }
    json_decref(pages);
}

Test(exposition, the_reader_is_stricter_than_that) {
    const char *const wrong[] = {
        "a 1\n",                                           // no TYPE
        "# HELP a A.\n# TYPE a gauge\nb 1\n",              // another family
        "# HELP a A.\n# TYPE a gauge\na 1\na 2\n",         // twice
        "# HELP a A.\n# TYPE a counter\na 1\n",            // no _total
        "# HELP a A.\n# TYPE a gauge\na 1",                // no end
        "# HELP a A.\n# TYPE a gauge\na 1\n# HELP a A.\n", // family twice
        "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n", // no +Inf
        "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\n",
        "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 2\n",
        "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\n",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cr_expect(!exposition_read(wrong[i], true, &page), "%s", wrong[i]);
    }
}

Test(metrics, every_metric_is_on_the_page_before_anything_happened, .init = open_metrics,
     .fini = close_metrics) {
    read_page();
    cr_expect_eq(page.families, METRIC_COUNT);
    cr_expect_eq(value_of("tessera_steps_total{}"), 0);
    cr_expect_eq(value_of("tessera_requests_refused_total{reason=\"E_BUSY\"}"), 0);
    cr_expect_eq(value_of("tessera_time_to_first_token_seconds_count{class=\"batch\"}"), 0);
    for (size_t i = 0; i < page.count; i++) {
        cr_expect_eq(page.samples[i].value, 0, "%s", page.samples[i].series);
        cr_expect_eq(strncmp(page.samples[i].series, "tessera_", 8), 0);
    }
}

Test(metrics, the_administrator_can_read_about_each) {
    const char *const names[] = {
#define METRIC(id, kind, name, unit, label, help) "| `" name "` |",
#include "host/server/metrics.def"
#undef METRIC
    };
    Buffer text = {0};
    cr_assert_eq(file_read(TEST_ROOT "/docs/operations.md", 1 << 20, &text, NULL), OK);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        cr_expect_not_null(strstr((const char *)text.data, names[i]), "docs/operations.md lacks %s",
                           names[i]);
    }
    buffer_free(&text);
}

Test(metrics, what_is_counted_is_shown, .init = open_metrics, .fini = close_metrics) {
    metrics_add(metrics, METRIC_STEPS, 0, 2);
    metrics_add(metrics, METRIC_STEPS, 0, 3);
    metrics_add(metrics, METRIC_REQUESTS_REFUSED, metrics_status(E_RATE), 7);
    metrics_set(metrics, METRIC_PAGES_USED, PAGE_FULL, 12);
    metrics_set(metrics, METRIC_RECOMPUTED_TOKENS, 0, UINT64_C(1) << 40); // kept by the scheduler
    metrics_add(metrics, METRIC_REQUESTS_FINISHED, FINISH_LENGTH, 1);
    metrics_set(metrics, METRIC_OLDEST_QUEUED, 0, 1500000001);
    read_page();
    cr_expect_eq(value_of("tessera_steps_total{}"), 5);
    cr_expect_eq(value_of("tessera_requests_refused_total{reason=\"E_RATE\"}"), 7);
    cr_expect_eq(value_of("tessera_pages_used{pool=\"full\"}"), 12);
    cr_expect_eq(value_of("tessera_pages_used{pool=\"sliding\"}"), 0);
    cr_expect_eq(value_of("tessera_recomputed_tokens_total{}"), 1099511627776.0);
    cr_expect_eq(value_of("tessera_requests_finished_total{reason=\"length\"}"), 1);
    cr_expect_eq(value_of("tessera_oldest_queued_seconds{}"), 1.500000001);
    cr_expect_eq(metrics_get(metrics, METRIC_STEPS, 0), 5);
}

Test(metrics, a_histogram_counts_each_value_in_its_bucket_and_above, .init = open_metrics,
     .fini = close_metrics) {
    const uint64_t ms = 1000000;
    metrics_observe(metrics, METRIC_STAGE, STAGE_PREP, 10 * ms);     // a bound is inside
    metrics_observe(metrics, METRIC_STAGE, STAGE_PREP, 10 * ms + 1); // and no more than it
    metrics_observe(metrics, METRIC_STAGE, STAGE_PREP, 0);
    metrics_observe(metrics, METRIC_STAGE, STAGE_PREP, 1000000 * ms); // beyond all bounds
    read_page();
    cr_expect_eq(value_of("tessera_stage_seconds_bucket{stage=\"prep\",le=\"5e-05\"}"), 1);
    cr_expect_eq(value_of("tessera_stage_seconds_bucket{stage=\"prep\",le=\"0.01\"}"), 2);
    cr_expect_eq(value_of("tessera_stage_seconds_bucket{stage=\"prep\",le=\"0.025\"}"), 3);
    cr_expect_eq(value_of("tessera_stage_seconds_bucket{stage=\"prep\",le=\"120\"}"), 3);
    cr_expect_eq(value_of("tessera_stage_seconds_bucket{stage=\"prep\",le=\"+Inf\"}"), 4);
    cr_expect_eq(value_of("tessera_stage_seconds_count{stage=\"prep\"}"), 4);
    cr_expect_float_eq(value_of("tessera_stage_seconds_sum{stage=\"prep\"}"), 1000.020000001, 1e-9);
    cr_expect_eq(value_of("tessera_stage_seconds_count{stage=\"queue\"}"), 0);
    cr_expect_eq(metrics_get(metrics, METRIC_STAGE, STAGE_PREP), 4);
}

Test(metrics, users_are_shown_once_they_have_a_name, .init = open_metrics, .fini = close_metrics) {
    metrics_add(metrics, METRIC_USER_OUTPUT_TOKENS, 1, 40);
    metrics_add(metrics, METRIC_USER_OUTPUT_TOKENS, 3, 2);
    metrics_name_user(metrics, 1, "alice");
    read_page();
    cr_expect_eq(value_of("tessera_user_output_tokens_total{user=\"alice\"}"), 40);
    cr_expect_null(exposition_find(&page, "tessera_user_output_tokens_total{user=\"\"}"));
    metrics_name_user(metrics, 3, "bob");
    read_page();
    cr_expect_eq(value_of("tessera_user_output_tokens_total{user=\"bob\"}"), 2);
}

enum { WRITERS = 4, ROUNDS = 20000 };

static void *count_up(void *unused) {
    for (int i = 0; i < ROUNDS; i++) {
        metrics_add(metrics, METRIC_OUTPUT_TOKENS, 0, 1);
        metrics_observe(metrics, METRIC_STEP_ROWS, 0, (uint64_t)i);
    }
    return unused;
}

Test(metrics, threads_lose_nothing_and_a_page_in_between_is_whole, .init = open_metrics,
     .fini = close_metrics) {
    pthread_t writers[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        pthread_create(&writers[i], NULL, count_up, NULL);
    }
    for (int i = 0; i < 20; i++) {
        read_page(); // its buckets and counts fit together, whatever the moment
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(writers[i], NULL);
    }
    read_page();
    cr_expect_eq(value_of("tessera_output_tokens_total{}"), WRITERS * ROUNDS);
    cr_expect_eq(value_of("tessera_step_rows_count{}"), WRITERS * ROUNDS);
    cr_expect_eq(value_of("tessera_step_rows_sum{}"), (double)WRITERS * ROUNDS * (ROUNDS - 1) / 2);
}

Test(metrics, the_file_is_the_page, .init = open_metrics, .fini = close_metrics) {
    char path[] = "/tmp/tessera-metrics-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
    metrics_add(metrics, METRIC_STEPS, 0, 9);
    Buffer expected = {0}, found = {0};
    metrics_text(metrics, &expected);
    cr_expect_eq(metrics_write_file(metrics, path, NULL), OK);
    cr_expect_eq(file_read(path, 1 << 20, &found, NULL), OK);
    cr_expect(
        bytes_equal((Bytes){expected.data, expected.length}, (Bytes){found.data, found.length}));
    buffer_free(&expected);
    buffer_free(&found);
    unlink(path);
    Error error = {0};
    cr_expect_eq(metrics_write_file(metrics, "/nowhere/at/all", &error), E_IO);
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_expect_eq(metrics_write_file(metrics, path, &error), E_ARGUMENT,
                 "it would wait for a reader");
    cr_expect_eq(metrics_write_file(metrics, "-", &error), E_ARGUMENT);
    unlink(path);
}
