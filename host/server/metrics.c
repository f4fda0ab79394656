// SPDX-License-Identifier: Apache-2.0
#include "host/server/metrics.h"

#include "base/check.h"
#include "base/file.h"
#include "base/file_write.h"
#include "host/server/users.h"
#include "scheduler/sched.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef enum MetricKind { KIND_COUNTER, KIND_GAUGE, KIND_HISTOGRAM } MetricKind;
typedef enum MetricUnit { UNIT_ONE, UNIT_SECONDS, UNIT_COUNT } MetricUnit;
typedef enum MetricLabel {
    LABEL_NONE,
    LABEL_USER,
    LABEL_STATUS,
    LABEL_FINISH,
    LABEL_STAGE,
    LABEL_POOL,
    LABEL_CLASS,
    LABEL_COUNT
} MetricLabel;

typedef struct MetricRow {
    MetricKind kind;
    const char *name;
    MetricUnit unit;
    MetricLabel label;
    const char *help;
} MetricRow;

static const MetricRow rows[METRIC_COUNT] = {
#define METRIC(id, kind, name, unit, label, help)                                                  \
    {KIND_##kind, name, UNIT_##unit, LABEL_##label, help},
#include "host/server/metrics.def"
#undef METRIC
};

static const char *const kind_names[] = {"counter", "gauge", "histogram"};
static const char *const label_names[LABEL_COUNT] = {"",      "user", "reason", "reason",
                                                     "stage", "pool", "class"};

static const Status statuses[] = {
#define STATUS(name, number, class, retryable, text) name,
#include "base/status.def"
#undef STATUS
};
enum { STATUS_ROWS = sizeof statuses / sizeof statuses[0] };

static const char *const finish_names[] = {[FINISH_STOP] = "stop",
                                           [FINISH_LENGTH] = "length",
                                           [FINISH_CANCEL] = "cancel",
                                           [FINISH_DEADLINE] = "deadline",
                                           [FINISH_FAILED] = "failed"};
static const char *const stage_names[STAGE_COUNT] = {"receive", "prep",   "queue",
                                                     "prefill", "decode", "send"};
static const char *const pool_names[PAGE_KIND_COUNT] = {
    [PAGE_SLIDING] = "sliding", [PAGE_FULL] = "full"};
static const char *const class_names[PRIORITY_COUNT] = {
    [PRIORITY_INTERACTIVE] = "interactive", [PRIORITY_BATCH] = "batch"};

// Upper bounds of the buckets of a histogram: of seconds, in nanoseconds, from what a step of a
// small model takes to what a person waits; of numbers, the powers of two up to the largest step.
enum { BUCKETS = 20, HISTOGRAM_CELLS = BUCKETS + 2 }; // and +Inf, and the sum
static const uint64_t bounds[UNIT_COUNT][BUCKETS] = {
    [UNIT_ONE] = {1u << 0,  1u << 1,  1u << 2,  1u << 3,  1u << 4,  1u << 5,  1u << 6,
                  1u << 7,  1u << 8,  1u << 9,  1u << 10, 1u << 11, 1u << 12, 1u << 13,
                  1u << 14, 1u << 15, 1u << 16, 1u << 17, 1u << 18, 1u << 19},
    [UNIT_SECONDS] = {50000,      100000,      250000,      500000,      1000000,
                      2500000,    5000000,     10000000,    25000000,    50000000,
                      100000000,  250000000,   500000000,   1000000000,  2500000000,
                      5000000000, 10000000000, 30000000000, 60000000000, 120000000000}};

struct Metrics {
    uint32_t users_max;
    char (*user_names)[USER_NAME_MAX + 1]; // [users_max], "" = none
    size_t first[METRIC_COUNT];            // first cell of a metric
    _Atomic uint64_t cells[];
};

static uint32_t metrics_label_count(uint32_t users_max, MetricLabel label) {
    switch (label) {
    case LABEL_NONE:
        return 1;
    case LABEL_USER:
        return users_max;
    case LABEL_STATUS:
        return STATUS_ROWS;
    case LABEL_FINISH:
        return sizeof finish_names / sizeof finish_names[0];
    case LABEL_STAGE:
        return STAGE_COUNT;
    case LABEL_POOL:
        return PAGE_KIND_COUNT;
    case LABEL_CLASS:
        return PRIORITY_COUNT;
    case LABEL_COUNT:
        break;
    }
    REQUIRE(false);
    return 0;
}

// Value of a label as text; "" leaves the line out. None of them holds a character that the
// exposition format would have escaped (a user's name cannot, see users.h).
static const char *metrics_label_text(const Metrics *metrics, MetricLabel label, uint32_t i) {
    switch (label) {
    case LABEL_USER:
        return metrics->user_names[i];
    case LABEL_STATUS:
        return status_name(statuses[i]);
    case LABEL_FINISH:
        return finish_names[i] != NULL ? finish_names[i] : "";
    case LABEL_STAGE:
        return stage_names[i];
    case LABEL_POOL:
        return pool_names[i];
    case LABEL_CLASS:
        return class_names[i];
    case LABEL_NONE:
    case LABEL_COUNT:
        break;
    }
    REQUIRE(false);
    return "";
}

static size_t metrics_width(MetricKind kind) {
    return kind == KIND_HISTOGRAM ? HISTOGRAM_CELLS : 1;
}

Status metrics_open(uint32_t users_max, Metrics **out, Error *error) {
    REQUIRE(users_max > 0 && users_max <= USERS_MAX);
    size_t first[METRIC_COUNT];
    size_t cells = 0;
    for (int i = 0; i < METRIC_COUNT; i++) {
        first[i] = cells;
        cells += metrics_label_count(users_max, rows[i].label) * metrics_width(rows[i].kind);
    }
    Metrics *metrics = calloc(1, sizeof *metrics + cells * sizeof metrics->cells[0]);
    if (metrics != NULL) {
        metrics->user_names = calloc(users_max, sizeof *metrics->user_names);
    }
    if (metrics == NULL || metrics->user_names == NULL) {
        free(metrics);
        return error_set(error, E_MEMORY, "no memory for the metrics of %u users", users_max);
    }
    metrics->users_max = users_max;
    memcpy(metrics->first, first, sizeof first);
    *out = metrics;
    return OK;
}

void metrics_close(Metrics *metrics) {
    if (metrics != NULL) {
        free(metrics->user_names);
        free(metrics);
    }
}

static size_t metrics_place(const Metrics *metrics, MetricId id, uint32_t label) {
    REQUIRE(label < metrics_label_count(metrics->users_max, rows[id].label));
    return metrics->first[id] + label * metrics_width(rows[id].kind);
}

void metrics_add(Metrics *metrics, MetricId id, uint32_t label, uint64_t amount) {
    REQUIRE(rows[id].kind == KIND_COUNTER);
    atomic_fetch_add_explicit(&metrics->cells[metrics_place(metrics, id, label)], amount,
                              memory_order_relaxed);
}

void metrics_set(Metrics *metrics, MetricId id, uint32_t label, uint64_t value) {
    REQUIRE(rows[id].kind != KIND_HISTOGRAM);
    atomic_store_explicit(&metrics->cells[metrics_place(metrics, id, label)], value,
                          memory_order_relaxed);
}

void metrics_observe(Metrics *metrics, MetricId id, uint32_t label, uint64_t value) {
    REQUIRE(rows[id].kind == KIND_HISTOGRAM);
    const uint64_t *bound = bounds[rows[id].unit];
    size_t bucket = 0;
    while (bucket < BUCKETS && value > bound[bucket]) {
        bucket++;
    }
    _Atomic uint64_t *cells = &metrics->cells[metrics_place(metrics, id, label)];
    atomic_fetch_add_explicit(&cells[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&cells[BUCKETS + 1], value, memory_order_relaxed);
}

static uint64_t metrics_cell(const Metrics *metrics, size_t place) {
    return atomic_load_explicit(&metrics->cells[place], memory_order_relaxed);
}

uint64_t metrics_get(const Metrics *metrics, MetricId id, uint32_t label) {
    size_t place = metrics_place(metrics, id, label);
    uint64_t value = 0;
    size_t counted = rows[id].kind == KIND_HISTOGRAM ? BUCKETS + 1 : 1;
    for (size_t i = 0; i < counted; i++) {
        value += metrics_cell(metrics, place + i);
    }
    return value;
}

uint32_t metrics_status(Status status) {
    uint32_t i = 0;
    while (i < STATUS_ROWS && statuses[i] != status) {
        i++;
    }
    REQUIRE_MESSAGE(i < STATUS_ROWS, "status %d", status);
    return i;
}

void metrics_name_user(Metrics *metrics, uint32_t user, const char *name) {
    REQUIRE(user < metrics->users_max && strlen(name) <= USER_NAME_MAX);
    memcpy(metrics->user_names[user], name, strlen(name) + 1);
}

static void metrics_write_value(Buffer *out, MetricUnit unit, uint64_t value) {
    if (unit == UNIT_SECONDS) {
        buffer_printf(out, " %" PRIu64 ".%09" PRIu64 "\n", value / 1000000000, value % 1000000000);
    } else {
        buffer_printf(out, " %" PRIu64 "\n", value);
    }
}

// `tessera_steps_total`, or with a label `tessera_pages{pool="full"`; the caller closes the brace.
static void metrics_write_series(Buffer *out, const MetricRow *row, const char *suffix,
                                 const char *label) {
    buffer_printf(out, "%s%s", row->name, suffix);
    if (row->label != LABEL_NONE) {
        buffer_printf(out, "{%s=\"%s\"", label_names[row->label], label);
    }
}

static void metrics_write_single(const Metrics *metrics, const MetricRow *row, size_t place,
                                 const char *label, Buffer *out) {
    metrics_write_series(out, row, "", label);
    buffer_append_text(out, row->label != LABEL_NONE ? "}" : "");
    metrics_write_value(out, row->unit, metrics_cell(metrics, place));
}

static void metrics_write_histogram(const Metrics *metrics, const MetricRow *row, size_t place,
                                    const char *label, Buffer *out) {
    uint64_t count = 0; // of what is read here, so the buckets never disagree with the count
    for (size_t i = 0; i <= BUCKETS; i++) {
        count += metrics_cell(metrics, place + i);
        metrics_write_series(out, row, "_bucket", label);
        buffer_append_text(out, row->label != LABEL_NONE ? "," : "{");
        if (i == BUCKETS) {
            buffer_append_text(out, "le=\"+Inf\"}");
        } else if (row->unit == UNIT_SECONDS) {
            buffer_printf(out, "le=\"%.10g\"}", (double)bounds[UNIT_SECONDS][i] / 1e9);
        } else {
            buffer_printf(out, "le=\"%" PRIu64 "\"}", bounds[UNIT_ONE][i]);
        }
        buffer_printf(out, " %" PRIu64 "\n", count);
    }
    const char *close = row->label != LABEL_NONE ? "}" : "";
    metrics_write_series(out, row, "_sum", label);
    buffer_append_text(out, close);
    metrics_write_value(out, row->unit, metrics_cell(metrics, place + BUCKETS + 1));
    metrics_write_series(out, row, "_count", label);
    buffer_printf(out, "%s %" PRIu64 "\n", close, count);
}

void metrics_text(const Metrics *metrics, Buffer *out) {
    for (int id = 0; id < METRIC_COUNT; id++) {
        const MetricRow *row = &rows[id];
        buffer_printf(out, "# HELP %s %s\n# TYPE %s %s\n", row->name, row->help, row->name,
                      kind_names[row->kind]);
        for (uint32_t i = 0; i < metrics_label_count(metrics->users_max, row->label); i++) {
            const char *label =
                row->label != LABEL_NONE ? metrics_label_text(metrics, row->label, i) : NULL;
            if (label != NULL && *label == '\0') {
                continue;
            }
            size_t place = metrics_place(metrics, (MetricId)id, i);
            if (row->kind == KIND_HISTOGRAM) {
                metrics_write_histogram(metrics, row, place, label, out);
            } else {
                metrics_write_single(metrics, row, place, label, out);
            }
        }
    }
}

Status metrics_write_file(const Metrics *metrics, const char *path, Error *error) {
    // A pipe would stop the loop until somebody reads it.
    if (strcmp(path, "-") == 0 || (file_exists(path) && !file_is_regular(path))) {
        return error_set(error, E_ARGUMENT, "%s: the metrics go to a regular file only", path);
    }
    Buffer text = {0};
    metrics_text(metrics, &text);
    Status status = text.failed ? error_set(error, E_MEMORY, "%s: no memory for the metrics", path)
                                : file_write_whole(path, (Bytes){text.data, text.length}, error);
    buffer_free(&text);
    return status;
}
