// SPDX-License-Identifier: Apache-2.0
// Who a connection is: how many may come without having said so, whose token it has, how many of
// one user may be open, and that what a token opened ends with the token.
#include "base/log.h"
#include "host/server/service_state.h"

#include <stdio.h>
#include <string.h>

SessionPurses greeting_purses(Service *service, uint32_t user) {
    return (SessionPurses){.input = budget_purse(&service->incoming, user),
                           .output = budget_purse(&service->outgoing, user)};
}

static uint32_t connections_left(const Service *service) {
    return service->options.connections_max - service->connection_count;
}

static bool has_others(const Service *service) {
    return users_count(service->users) > 1;
}

Status greeting_connect(const Service *service, Error *error) {
    if (service->connection_free == NO_CONNECTION) {
        return error_set(error, E_BUSY, "%u connections are open, the most there may be",
                         service->connection_count);
    }
    if (has_others(service) && service->strangers > connections_left(service)) {
        return error_set(error, E_BUSY,
                         "%u connections have not said hello; the places left are kept for others",
                         service->strangers);
    }
    return OK;
}

static void greeting_count(Service *service, Connection *connection, uint32_t user) {
    if (connection->greeted) {
        service->totals[connection->user].connections--;
    } else {
        service->strangers--;
    }
    connection->greeted = true;
    connection->user = user;
    service->totals[user].connections++;
}

void greeting_gone(Service *service, Connection *connection) {
    if (connection->greeted) {
        service->totals[connection->user].connections--;
    } else {
        service->strangers--;
    }
    connection->greeted = false;
}

// As with places: nobody has more than is left when others may come.
static Status greeting_share(const Service *service, const Connection *connection, uint32_t user,
                             Error *error) {
    uint32_t open = service->totals[user].connections;
    if (!connection->greeted && has_others(service) && open > connections_left(service)) {
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
    Service *service = connection->service;
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
        Connection *connection = &service->connections[i];
        if (connection->session == NULL || !connection->greeted) {
            continue;
        }
        const char *over = greeting_over(users_at(before, connection->user),
                                         users_at(service->users, connection->user));
        if (over != NULL) {
            session_end(connection->session, E_AUTH, over);
            service_mark(service, connection);
        }
    }
}
