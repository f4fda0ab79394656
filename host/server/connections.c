// SPDX-License-Identifier: Apache-2.0
#include "host/server/connections.h"

#include "base/check.h"

#include <stdlib.h>

// ---- The table ----------------------------------------------------------------------------------

Status connections_open(Connections *connections, const ConnectionRules *rules, Error *error) {
    uint32_t max = rules->connections_max;
    *connections = (Connections){.rules = *rules};
    connections->table = calloc(max, sizeof *connections->table);
    connections->dirty = calloc(max, sizeof *connections->dirty);
    connections->asked = calloc(max, sizeof *connections->asked);
    if (connections->table == NULL || connections->dirty == NULL || connections->asked == NULL) {
        return error_set(error, E_MEMORY, "no memory for %u connections; lower them", max);
    }
    for (uint32_t i = 0; i < max; i++) {
        connections->table[i] = (Connection){
            .owner = rules->owner,
            .index = i,
            .next_free = i + 1 < max ? i + 1 : NO_CONNECTION,
        };
    }
    return OK;
}

void connections_close(Connections *connections) {
    REQUIRE(connections->count == 0);
    free(connections->table);
    free(connections->dirty);
    free(connections->asked);
    *connections = (Connections){0};
}

Status connections_add(Connections *connections, uint64_t now_ms, uint32_t *index, Error *error) {
    REQUIRE(connections->first_free != NO_CONNECTION);
    const ConnectionRules *rules = &connections->rules;
    Connection *added = &connections->table[connections->first_free];
    TRY(session_open(&rules->session, &rules->handler, added, now_ms, &added->session, error));
    connections->first_free = added->next_free;
    connections->count++;
    *index = added->index;
    metrics_add(rules->metrics, METRIC_CONNECTIONS_OPENED, 0, 1);
    return OK;
}

void connections_remove(Connections *connections, uint32_t index) {
    Connection *gone = connections_at(connections, index);
    session_close(gone->session); // cancels its streams
    gone->session = NULL;
    gone->writing = false;
    gone->generation++;
    gone->next_free = connections->first_free;
    connections->first_free = index;
    connections->count--;
}

uint32_t connections_left(const Connections *connections) {
    return connections->rules.connections_max - connections->count;
}

Connection *connections_at(const Connections *connections, uint32_t index) {
    REQUIRE(index < connections->rules.connections_max &&
            connections->table[index].session != NULL);
    return &connections->table[index];
}

Session *connections_session(Connections *connections, uint32_t index, uint32_t generation) {
    Connection *connection = &connections->table[index];
    if (connection->session == NULL || connection->generation != generation) {
        return NULL;
    }
    connections_mark(connections, connection);
    return connection->session;
}

void connections_mark(Connections *connections, Connection *connection) {
    if (!connection->dirty) {
        connection->dirty = true;
        connections->dirty[connections->dirty_count++] = connection->index;
    }
}

// ---- Bytes in -----------------------------------------------------------------------------------

static void connections_note_asked(Connections *connections, Connection *connection) {
    connections->has_more = connections->has_more || session_has_more(connection->session);
    if (!connection->asked) {
        connection->asked = true;
        connections->asked[connections->asked_count++] = connection->index;
    }
}

void connections_receive(Connections *connections, uint32_t index, Bytes bytes, uint64_t now_ms) {
    Connection *from = connections_at(connections, index);
    metrics_add(connections->rules.metrics, METRIC_RECEIVED_BYTES, 0, bytes.length);
    session_receive(from->session, bytes, now_ms);
    connections_mark(connections, from);
    connections_note_asked(connections, from);
}

void connections_turn(Connections *connections, uint64_t now_ms) {
    uint32_t count = connections->asked_count;
    connections->asked_count = 0;
    connections->has_more = false;
    for (uint32_t i = 0; i < count; i++) { // the list is written behind where it is read
        Connection *connection = &connections->table[connections->asked[i]];
        connection->asked = false;
        if (connection->session == NULL) {
            continue;
        }
        bool more = session_has_more(connection->session);
        session_turn(connection->session, now_ms);
        if (more) {
            connections_mark(connections, connection);
            connections_note_asked(connections, connection);
        }
    }
}

// ---- Bytes out ----------------------------------------------------------------------------------

Bytes connections_output(Connections *connections, uint32_t index, uint64_t now_ms) {
    Connection *to = connections_at(connections, index);
    Bytes bytes = session_output(to->session);
    if (bytes.length > 0 && !to->writing) {
        to->writing = true;
        to->writing_ms = now_ms;
    }
    return bytes;
}

void connections_written(Connections *connections, uint32_t index, size_t count, uint64_t now_ms) {
    Connection *to = connections_at(connections, index);
    Metrics *metrics = connections->rules.metrics;
    metrics_add(metrics, METRIC_SENT_BYTES, 0, count);
    metrics_observe(metrics, METRIC_STAGE, STAGE_SEND,
                    (now_ms - to->writing_ms) * UINT64_C(1000000));
    to->writing = false;
    session_written(to->session, count, now_ms);
    connections_mark(connections, to);
}

void connections_flush(Connections *connections, void (*output)(void *context, uint32_t index),
                       void *context) {
    for (uint32_t i = 0; i < connections->dirty_count; i++) {
        Connection *connection = &connections->table[connections->dirty[i]];
        connection->dirty = false;
        if (connection->session != NULL) {
            output(context, connection->index);
        }
    }
    connections->dirty_count = 0;
}

// ---- Time and memory ----------------------------------------------------------------------------

void connections_tick(Connections *connections, uint64_t now_ms) {
    for (uint32_t i = 0; i < connections->rules.connections_max; i++) {
        Connection *connection = &connections->table[i];
        if (connection->session != NULL && session_deadline_ms(connection->session) <= now_ms) {
            session_tick(connection->session, now_ms);
            connections_mark(connections, connection);
        }
    }
    metrics_set(connections->rules.metrics, METRIC_SESSION_BYTES, 0,
                connections_bytes(connections));
}

void connections_end_idle(Connections *connections, Status why) {
    for (uint32_t i = 0; i < connections->rules.connections_max; i++) {
        Connection *connection = &connections->table[i];
        Session *session = connection->session;
        if (session != NULL && session_in_flight(session) == 0 &&
            (session_state(session) == SESSION_READY || session_state(session) == SESSION_HELLO)) {
            session_end(session, why, NULL);
            connections_mark(connections, connection);
        }
    }
}

uint64_t connections_bytes(const Connections *connections) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < connections->rules.connections_max; i++) {
        const Session *session = connections->table[i].session;
        bytes += session != NULL ? session_bytes(session) : 0;
    }
    return bytes;
}
