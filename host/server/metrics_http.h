// SPDX-License-Identifier: Apache-2.0
// The local HTTP port for a metrics collector and for health checks: GET /metrics and GET /health
// on 127.0.0.1 and nothing else. One answer a connection; a request of at most METRICS_HTTP_REQUEST
// bytes, a few connections at a time, a few seconds each, all memory taken at the start but the
// page itself. Lives on the loop thread.
#ifndef HOST_SERVER_METRICS_HTTP_H
#define HOST_SERVER_METRICS_HTTP_H

#include "base/bytes.h"
#include "base/status.h"

#include <uv.h>

enum { METRICS_HTTP_CONNECTIONS = 16, METRICS_HTTP_REQUEST = 4096, METRICS_HTTP_MS = 5000 };

typedef struct MetricsHttp MetricsHttp;

typedef struct MetricsPages {
    void *context;
    void (*metrics)(void *context, Buffer *out); // appends the text of /metrics
    bool (*health)(void *context, Buffer *out);  // appends that of /health; false: status 503
} MetricsPages;

// Listens on 127.0.0.1; port 0 takes a free one. E_IO, E_MEMORY.
Status metrics_http_open(uv_loop_t *loop, uint16_t port, const MetricsPages *pages,
                         MetricsHttp **out, Error *error);
uint16_t metrics_http_port(const MetricsHttp *http);

// Stops and closes everything; the memory is freed when the loop has run the closing of the
// handles. NULL is fine.
void metrics_http_close(MetricsHttp *http);

#endif
