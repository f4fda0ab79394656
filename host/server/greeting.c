// SPDX-License-Identifier: Apache-2.0
// Who a connection is: how many may come without having said so, whose token it has, how many of
// one user may be open, and that what a token opened ends with the token.
#include "host/server/service_state.h"

#include "base/check.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>

SessionPurses greeting_purses(Service *service, uint32_t user) {
    return (SessionPurses){.input = budget_purse(&service->incoming, user),
                           .output = budget_purse(&service->outgoing, user)};
}

static bool has_others(const Service *service) {
    return users_count(service->users) > 1;
}

// May a connection come that has not said hello?
static Status greeting_room(const Service *service, Error *error) {
    uint32_t left = connections_left(&service->connections);
    if (left == 0) {
        return error_set(error, E_BUSY, "%u connections are open, the most there may be",
                         service->connections.count);
    }
    if (has_others(service) && service->strangers > left) {
        return error_set(error, E_BUSY,
                         "%u connections have not said hello; the places left are kept for others",
                         service->strangers);
    }
    return OK;
}

Status greeting_connect(Service *service, uint32_t *connection, Error *error) {
    TRY(greeting_room(service, error));
    TRY(connections_add(&service->connections, service->now_ms, connection, error));
    service->strangers++;
    return OK;
}

static void greeting_uncount(Service *service, Connection *connection) {
    if (connection->greeted) {
        service->totals[connection->user].connections--;
    } else {
        service->strangers--;
    }
    connection->greeted = false;
}

static void greeting_count(Service *service, Connection *connection, uint32_t user) {
    greeting_uncount(service, connection);
    connection->greeted = true;
    connection->user = user;
    service->totals[user].connections++;
}

// As with places: nobody has more than is left when others may come.
static Status greeting_share(const Service *service, const Connection *connection, uint32_t user,
                             Error *error) {
    uint32_t open = service->totals[user].connections;
    if (!connection->greeted && has_others(service) &&
        open > connections_left(&service->connections)) {
        return error_set(error, E_USER_BUSY,
                         "%u connections of %s are open; the places left are kept for others", open,
                         users_at(service->users, user)->name);
    }
    return OK;
}

static Status greeting_refuse(Service *service, const Connection *connection, Status status) {
    if (log_limit(&service->stranger_lines, service->now_ms)) {
        log_event(LOG_WARN, "refused", "connection=%u reason=%s", connection->index,
                  status_name(status));
    }
    return status;
}

Status greeting_authenticate(void *context, Bytes token, SessionUser *out, Error *error) {
    Connection *connection = context;
    Service *service = connection->owner;
    const Users *users = service->users;
    bool found = token.length > 0 ? users_find(users, token, &out->number)
                                  : users_anonymous(users, &out->number);
    if (!found) {
        error_set(error, E_AUTH,
                  token.length > 0 ? "nobody here has this token" : "this server asks for a token");
        return greeting_refuse(service, connection, E_AUTH);
    }
    if (greeting_share(service, connection, out->number, error) != OK) {
        return greeting_refuse(service, connection, E_USER_BUSY);
    }
    snprintf(out->name, sizeof out->name, "%s", users_at(users, out->number)->name);
    out->purses = greeting_purses(service, out->number);
    greeting_count(service, connection, out->number);
    log_event(LOG_INFO, "hello", "connection=%u user=%s", connection->index, out->name);
    return OK;
}

static void greeting_log_end(Service *service, const Connection *connection) {
    const Error *fault = session_fault(connection->session);
    const SessionUser *user = session_user(connection->session);
    if (fault->status != OK && fault->status != E_DRAIN) {
        metrics_add(service->metrics, METRIC_CONNECTIONS_CUT, metrics_status(fault->status), 1);
    }
    if (user == NULL && !log_limit(&service->stranger_lines, service->now_ms)) {
        return;
    }
    log_event(LOG_INFO, "disconnected", "connection=%u user=%s reason=%s text=%s",
              connection->index, user != NULL ? user->name : "-", status_name(fault->status),
              fault->status != OK ? fault->text : "");
}

void greeting_disconnect(Service *service, uint32_t connection) {
    Connection *gone = connections_at(&service->connections, connection);
    greeting_log_end(service, gone);
    greeting_uncount(service, gone);
    connections_remove(&service->connections, connection);
}

void greeting_tick(Service *service) {
    uint32_t left_out = log_limit_left_out(&service->stranger_lines, service->now_ms);
    if (left_out > 0) {
        log_event(LOG_WARN, "strangers", "lines_left_out=%u", left_out);
    }
}

// Why a session that this user opened may not go on; NULL: it may.
static const char *greeting_over(const ServerUser *before, const ServerUser *now) {
    if (now->removed) {
        return "this user may not use the server any more";
    }
    bool same = before->has_token == now->has_token &&
                memcmp(before->token_hash, now->token_hash, USER_TOKEN_HASH) == 0;
    return same ? NULL : "the token of this user was replaced; say hello with the new one";
}

void greeting_set_users(Service *service, const Users *before) {
    for (uint32_t i = 0; i < service->options.connections_max; i++) {
        Connection *connection = &service->connections.table[i];
        if (connection->session == NULL || !connection->greeted) {
            continue;
        }
        const char *over = greeting_over(users_at(before, connection->user),
                                         users_at(service->users, connection->user));
        if (over != NULL) {
            session_end(connection->session, E_AUTH, over);
            connections_mark(&service->connections, connection);
        }
    }
}
