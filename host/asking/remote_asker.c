// SPDX-License-Identifier: Apache-2.0
// The Asker whose model runs in a tessera server: requests over the socket and answers back, many
// in flight, by one thread.
#include "host/asking/asker_way.h"

#include "base/check.h"
#include "base/num.h"
#include "host/asking/remote_item.h"
#include "host/interrupt.h"

#include <stdlib.h>

enum { REMOTE_WAIT_MS = 100 }; // how soon an interruption is noticed

typedef struct RemoteAsker {
    Asker base;
    AskerRemoteOptions options;
    Remote remote;
} RemoteAsker;

static Status remote_asker_start(Asker *asker, const AskerNeed *need, Error *error) {
    const RemoteAsker *self = (const RemoteAsker *)asker;
    return need->logits ? error_set(error, E_UNSUPPORTED, "%s: a server does not tell logits",
                                    self->remote.address)
                        : OK;
}

static Status remote_asker_pump(RemoteRun *run, Error *error) {
    Remote *remote = run->remote;
    ClientEvent event;
    Status status = OK;
    TRY(socket_pump(&remote->socket, remote->client, REMOTE_WAIT_MS, error));
    while (!run->stopped && client_next(remote->client, &event, &status, error)) {
        TRY(remote_item_event(run, &event, error));
    }
    return status;
}

static Status remote_asker_loop(RemoteRun *run, Error *error) {
    for (;;) {
        if (interrupt_asked() || run->stopped) {
            return error_set(error, E_CANCELLED, "interrupted");
        }
        remote_item_ask_all(run);
        if (run->dry && run->busy_count == 0) {
            return OK;
        }
        Status status = remote_asker_pump(run, error);
        if (status != OK) {
            return error_prefix(error, status, "%s", run->remote->address);
        }
        if (run->calls->tick != NULL) {
            run->calls->tick(run->calls->context);
        }
    }
}

static Status remote_asker_open_run(const RemoteAsker *self, RemoteRun *run, Error *error) {
    if (self->remote.message_bytes <= REMOTE_MESSAGE_ROOM) {
        return error_set(error, E_LIMIT, "%s: the server's messages are too small for pictures",
                         self->remote.address);
    }
    run->item_count = (uint32_t)num_min(self->options.in_flight, self->remote.in_flight);
    run->items = calloc(run->item_count, sizeof *run->items);
    return run->items != NULL
               ? OK
               : error_set(error, E_MEMORY, "no memory for %u requests", run->item_count);
}

static void remote_asker_close_run(RemoteRun *run) {
    for (uint32_t i = 0; run->items != NULL && i < run->item_count; i++) {
        remote_item_free(&run->items[i]);
    }
    free(run->items);
    free(run->images);
    free(run->parts);
    buffer_free(&run->files);
}

static Status remote_asker_run(Asker *asker, const AskerRun *calls, AskerStats *stats,
                               Error *error) {
    RemoteAsker *self = (RemoteAsker *)asker;
    RemoteRun run = {
        .remote = &self->remote, .calls = calls, .stats = stats, .batch = self->options.batch};
    Status status = remote_asker_open_run(self, &run, error);
    if (status == OK) {
        status = remote_asker_loop(&run, error);
    }
    remote_asker_close_run(&run);
    return status;
}

static void remote_asker_close(Asker *asker) {
    RemoteAsker *self = (RemoteAsker *)asker;
    remote_close(&self->remote);
    free(self);
}

static const AskerWay remote_way = {remote_asker_start, remote_asker_run, remote_asker_close};

Status asker_open_remote(const AskerRemoteOptions *options, Asker **out, Error *error) {
    *out = NULL;
    RemoteAsker *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return error_set(error, E_MEMORY, "no memory to reach a server");
    }
    self->base.way = &remote_way;
    self->options = *options;
    Status status =
        remote_open_model(&self->options.target, &self->remote, &self->base.model, error);
    if (status != OK) {
        remote_asker_close(&self->base);
        return status;
    }
    *out = &self->base;
    return OK;
}
