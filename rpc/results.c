// SPDX-License-Identifier: Apache-2.0
#include "rpc/results.h"

#include "base/check.h"
#include "rpc/msg.h"

void result_put_models(Buffer *out, const ModelResult *models, uint32_t count) {
    msg_put_map(out, 1);
    msg_put_key(out, "models");
    msg_put_array(out, count);
    for (uint32_t i = 0; i < count; i++) {
        const ModelResult *model = &models[i];
        REQUIRE(model->sampling.top_k >= 0);
        msg_put_map(out, 10);
        msg_pair_text_repaired(out, "name", model->name);
        msg_pair_text_repaired(out, "identity", model->identity);
        msg_pair_text_repaired(out, "weights", model->weights);
        msg_pair_text_repaired(out, "activations", model->activations);
        msg_pair_text_repaired(out, "kv", model->kv);
        msg_pair_uint(out, "context", model->context);
        msg_pair_uint(out, "images", model->images);
        msg_pair_bool(out, "vision", model->vision);
        msg_pair_uint(out, "budget", model->budget);
        msg_put_key(out, "sampling");
        generate_put_sampling(out, &model->sampling);
    }
}

// ---- stats: the rows of stats.def ---------------------------------------------------------------

#define PUT_COUNT msg_pair_uint
#define PUT_REAL  msg_pair_real

static void put_server_stats(Buffer *out, const ServerStats *stats) {
    enum {
#define SERVER_STAT(name, type, text) SERVER_##name,
#include "rpc/stats.def"
        PAIRS
    };
    msg_put_map(out, PAIRS);
#define SERVER_STAT(name, type, text) PUT_##type(out, #name, stats->name);
#include "rpc/stats.def"
}

static void put_user_stats(Buffer *out, const UserRow *user) {
    enum {
        NAME,
#define USER_STAT(name, type, text) USER_##name,
#include "rpc/stats.def"
        PAIRS
    };
    msg_put_map(out, PAIRS);
    msg_pair_text_repaired(out, "name", user->name);
#define USER_STAT(name, type, text) PUT_##type(out, #name, user->name);
#include "rpc/stats.def"
}

void result_put_stats(Buffer *out, const ServerStats *server, const UserRow *users,
                      uint32_t count) {
    msg_put_map(out, 2);
    msg_put_key(out, "server");
    put_server_stats(out, server);
    msg_put_key(out, "users");
    msg_put_array(out, count);
    for (uint32_t i = 0; i < count; i++) {
        put_user_stats(out, &users[i]);
    }
}

// ---- The small ones -----------------------------------------------------------------------------

const char *health_name(Health health) {
    static const char *const names[] = {"ok", "draining", "failed"};
    REQUIRE(health <= HEALTH_FAILED);
    return names[health];
}

void result_put_health(Buffer *out, Health health) {
    msg_put_map(out, 1);
    msg_pair_word(out, "status", health_name(health));
}

void result_put_blob(Buffer *out, Hash128 blob) {
    char text[33];
    hash128_text(blob, text);
    msg_put_map(out, 1);
    msg_pair_word(out, "blob", text);
}

void result_put_ids(Buffer *out, const int32_t *ids, size_t count) {
    REQUIRE(count <= UINT32_MAX);
    msg_put_map(out, 1);
    msg_put_key(out, "ids");
    msg_put_array(out, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        msg_put_int(out, ids[i]);
    }
}

// ---- Events -------------------------------------------------------------------------------------

const char *done_reason_name(DoneReason reason) {
    static const char *const names[] = {"stop", "length", "cancel", "deadline", "error"};
    REQUIRE(reason < DONE_REASON_COUNT);
    return names[reason];
}

static void put_choice(Buffer *out, const ChoiceEvent *choice) {
    msg_pair_int(out, "id", choice->id);
    msg_pair_text_repaired(out, "text", choice->text);
    msg_pair_real(out, "logprob", choice->logprob);
}

void event_put_logprob(Buffer *out, const LogprobEvent *event) {
    msg_put_map(out, 4);
    put_choice(out, &event->chosen);
    msg_put_key(out, "top");
    msg_put_array(out, event->top_count);
    for (uint32_t i = 0; i < event->top_count; i++) {
        msg_put_map(out, 3);
        put_choice(out, &event->top[i]);
    }
}

void event_put_usage(Buffer *out, const DoneEvent *event) {
    msg_put_key(out, "usage");
    msg_put_map(out, 4);
    msg_pair_uint(out, "prompt_tokens", event->prompt_tokens);
    msg_pair_uint(out, "image_tokens", event->image_tokens);
    msg_pair_uint(out, "cached_tokens", event->cached_tokens[0]);
    msg_pair_uint(out, "output_tokens", event->output_tokens);
    msg_put_key(out, "timings");
    msg_put_map(out, 4);
    msg_pair_real(out, "prepare_ms", event->prepare_ms);
    msg_pair_real(out, "queue_ms", event->queue_ms);
    msg_pair_real(out, "first_token_ms", event->first_token_ms);
    msg_pair_real(out, "total_ms", event->total_ms);
}
