// SPDX-License-Identifier: Apache-2.0
// The Asker whose model runs in a tessera server: requests over the socket and answers back, many
// in flight, by one thread. When the connection is lost it looks for the server again:
//
//   run -> lost -> pause, open, is it the same model? -> run
//            ^        |  nobody there, or not ready
//            +--------+
#include "host/asking/asker_way.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"
#include "host/asking/backoff.h"
#include "host/asking/remote_item.h"
#include "host/interrupt.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

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

// ---- Looking for a lost server ------------------------------------------------------------------

static void remote_asker_tick(const RemoteRun *run) {
    if (run->calls->tick != NULL) {
        run->calls->tick(run->calls->context);
    }
}

static void remote_asker_notice(const RemoteRun *run, const char *sentence) {
    if (run->calls->notice != NULL) {
        run->calls->notice(run->calls->context, sentence);
    }
}

// A signal ends a poll at once.
static Status remote_asker_pause(const RemoteRun *run, uint64_t until_ns, Error *error) {
    for (uint64_t now_ns; (now_ns = clock_ns()) < until_ns;) {
        if (interrupt_asked()) {
            return error_set(error, E_CANCELLED, "interrupted");
        }
        poll(NULL, 0, (int)num_min((until_ns - now_ns) / 1000000 + 1, REMOTE_WAIT_MS));
        remote_asker_tick(run);
    }
    return OK;
}

// Answers of two models must not mix in one journal.
static Status remote_asker_same(const RemoteAsker *self, const ModelFacts *now, Error *error) {
    const ModelFacts *before = &self->base.model;
    if (strcmp(now->identity, before->identity) == 0 && strcmp(now->level, before->level) == 0 &&
        strcmp(now->activations, before->activations) == 0 && strcmp(now->kv, before->kv) == 0) {
        return OK;
    }
    return error_set(
        error, E_UNSUPPORTED,
        "%s: another model answers there now (%s, %s, activations %s, cache %s), where "
        "it was (%s, %s, activations %s, cache %s); the same command asks the new one",
        self->remote.address, now->identity, now->level, now->activations, now->kv,
        before->identity, before->level, before->activations, before->kv);
}

// One try. E_LOST and E_BUSY's kind: later perhaps.
static Status remote_asker_reopen(RemoteAsker *self, uint64_t until_ns, Error *error) {
    RemoteTarget target = self->options.target;
    ModelFacts model;
    target.until_ns = until_ns;
    remote_close(&self->remote);
    TRY(remote_open_model(&target, &self->remote, &model, error));
    return remote_asker_same(self, &model, error);
}

static Status remote_asker_look(RemoteAsker *self, RemoteRun *run, Error *error) {
    const AskerRemoteOptions *options = &self->options;
    uint64_t until_ns = run->lost_ns + options->patience_ms * 1000000;
    while (clock_ns() < until_ns) {
        uint64_t pause_ns = (uint64_t)backoff_ms(options->seed, run->try_count++) * 1000000;
        TRY(remote_asker_pause(run, num_min(clock_ns() + pause_ns, until_ns), error));
        Status status = remote_asker_reopen(self, until_ns, error);
        if (status == OK || (status != E_LOST && status_class(status) != STATUS_BUSY)) {
            return status;
        }
    }
    return error_set(error, E_LOST,
                     "%s: the server was lost and has answered nothing for %" PRIu64 " s",
                     options->target.address, options->patience_ms / 1000);
}

// What is said of the answer cannot be taken back.
static Status remote_asker_cut(Error *error) {
    char why[ERROR_TEXT_MAX];
    memcpy(why, error->text, sizeof why);
    return error_set(error, error->status, "%s in the middle of the answer; ask again", why);
}

static Status remote_asker_back(RemoteAsker *self, RemoteRun *run, Error *error) {
    char sentence[ERROR_TEXT_MAX + 64];
    if (self->options.patience_ms == 0) {
        return error->status;
    }
    if (!remote_item_reset_all(run)) {
        return remote_asker_cut(error);
    }
    if (run->lost_ns == 0) {
        run->lost_ns = clock_ns();
    }
    remote_close(&self->remote);
    snprintf(sentence, sizeof sentence, "%s; trying again for up to %" PRIu64 " s", error->text,
             self->options.patience_ms / 1000);
    remote_asker_notice(run, sentence);
    TRY(remote_asker_look(self, run, error));
    run->draining = false;
    snprintf(sentence, sizeof sentence, "%s: the server is back", self->remote.address);
    remote_asker_notice(run, sentence);
    return OK;
}

// ---- A run --------------------------------------------------------------------------------------

static Status remote_asker_pump(RemoteRun *run, Error *error) {
    Remote *remote = run->remote;
    ClientEvent event;
    Status status = OK;
    if (run->draining && remote_item_open_count(run) == 0) {
        return error_set(error, E_DRAIN, "the server is shutting down");
    }
    TRY(socket_pump(&remote->socket, remote->client, REMOTE_WAIT_MS, error));
    while (!run->stopped && client_next(remote->client, &event, &status, error)) {
        TRY(remote_item_event(run, &event, error));
    }
    return status;
}

static Status remote_asker_loop(RemoteAsker *self, RemoteRun *run, Error *error) {
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
            error_prefix(error, status, "%s", run->remote->address);
        }
        if (status == E_LOST || status == E_DRAIN) {
            status = remote_asker_back(self, run, error);
        }
        TRY(status);
        remote_asker_tick(run);
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
        status = remote_asker_loop(self, &run, error);
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
