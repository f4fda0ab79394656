// SPDX-License-Identifier: Apache-2.0
// What the server counts: one registry made from metrics.def, and its text in the exposition format
// that Prometheus reads (version 0.0.4). Any thread may add, set and observe at any time: a cell is
// one atomic number, so there is no lock, no allocation and no waiting on the step path; a page of
// text is a set of numbers of about the same moment. Names of users are the loop thread's, and so
// is the writing of text.
#ifndef HOST_SERVER_METRICS_H
#define HOST_SERVER_METRICS_H

#include "base/bytes.h"
#include "base/status.h"

typedef enum MetricId {
#define METRIC(id, kind, name, unit, label, help) METRIC_##id,
#include "host/server/metrics.def"
#undef METRIC
    METRIC_COUNT
} MetricId;

// Values of the dimension STAGE.
typedef enum MetricStage {
    STAGE_RECEIVE, // first byte of the message to the last
    STAGE_PREP,    // pictures decoded, text encoded
    STAGE_QUEUE,   // prepared, waiting for a place in the batch
    STAGE_PREFILL, // in the batch, to the first token
    STAGE_DECODE,  // one step that made tokens
    STAGE_SEND,    // one write, from the socket's first byte to its last
    STAGE_COUNT
} MetricStage;

typedef struct Metrics Metrics;

// Room for users 0 .. users_max-1. E_MEMORY.
Status metrics_open(uint32_t users_max, Metrics **out, Error *error);
void metrics_close(Metrics *metrics);

// `label` is the place in the metric's dimension: a user's number, a MetricStage, a page kind of
// batch.h, a FinishReason, a Priority; 0 where the dimension is NONE. For STATUS use
// metrics_status(E_...).
void metrics_add(Metrics *metrics, MetricId id, uint32_t label, uint64_t amount);
void metrics_observe(Metrics *metrics, MetricId id, uint32_t label, uint64_t value);
// Gauges, and counters that somebody else keeps and that are only copied here.
void metrics_set(Metrics *metrics, MetricId id, uint32_t label, uint64_t value);
// For tests.
uint64_t metrics_get(const Metrics *metrics, MetricId id, uint32_t label);

uint32_t metrics_status(Status status); // place of an error in the dimension STATUS

// Gives a user's number its name; numbers without a name are left out of the text.
void metrics_name_user(Metrics *metrics, uint32_t user, const char *name);

// Appends the whole page.
void metrics_text(const Metrics *metrics, Buffer *out);

// The page in a file that is never seen half written, for a collector that reads files.
// E_ARGUMENT: no regular file; E_IO.
Status metrics_write_file(const Metrics *metrics, const char *path, Error *error);

#endif
