// SPDX-License-Identifier: Apache-2.0
#include "rpc/results.h"

#include "base/check.h"
#include "rpc/msg.h"

static void put_text_pair(Buffer *out, const char *key, Bytes text) {
    msg_put_key(out, key);
    msg_put_text_repaired(out, text);
}

static void put_uint_pair(Buffer *out, const char *key, uint64_t value) {
    msg_put_key(out, key);
    msg_put_uint(out, value);
}

static void put_real_pair(Buffer *out, const char *key, double value) {
    msg_put_key(out, key);
    msg_put_real(out, value);
}

static void put_sampling(Buffer *out, const CallSampling *sampling) {
    msg_put_map(out, 5);
    put_real_pair(out, "temperature", sampling->temperature);
    put_uint_pair(out, "top_k", (uint64_t)sampling->top_k);
    put_real_pair(out, "top_p", sampling->top_p);
    put_real_pair(out, "min_p", sampling->min_p);
    put_real_pair(out, "repetition_penalty", sampling->repetition_penalty);
}

void result_put_models(Buffer *out, const ModelResult *models, uint32_t count) {
    msg_put_map(out, 1);
    msg_put_key(out, "models");
    msg_put_array(out, count);
    for (uint32_t i = 0; i < count; i++) {
        const ModelResult *model = &models[i];
        REQUIRE(model->sampling.top_k >= 0);
        msg_put_map(out, 10);
        put_text_pair(out, "name", model->name);
        put_text_pair(out, "identity", model->identity);
        put_text_pair(out, "weights", model->weights);
        put_text_pair(out, "activations", model->activations);
        put_text_pair(out, "kv", model->kv);
        put_uint_pair(out, "context", model->context);
        put_uint_pair(out, "images", model->images);
        msg_put_key(out, "vision");
        msg_put_bool(out, model->vision);
        put_uint_pair(out, "budget", model->budget);
        msg_put_key(out, "sampling");
        put_sampling(out, &model->sampling);
    }
}

// ---- stats: the rows of stats.def ---------------------------------------------------------------

#define PUT_COUNT put_uint_pair
#define PUT_REAL  put_real_pair

static void put_server_stats(Buffer *out, const ServerStats *stats) {
    enum {
        PAIRS = 0
#define SERVER_STAT(name, type, text) +1
#include "rpc/stats.def"
    };
    msg_put_map(out, PAIRS);
#define SERVER_STAT(name, type, text) PUT_##type(out, #name, stats->name);
#include "rpc/stats.def"
}

static void put_user_stats(Buffer *out, const UserRow *user) {
    enum {
        PAIRS = 1
#define USER_STAT(name, type, text) +1
#include "rpc/stats.def"
    };
    msg_put_map(out, PAIRS);
    put_text_pair(out, "name", user->name);
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
    msg_put_key(out, "status");
    msg_put_key(out, health_name(health));
}

void result_put_blob(Buffer *out, Hash128 blob) {
    char text[33];
    hash128_text(blob, text);
    msg_put_map(out, 1);
    msg_put_key(out, "blob");
    msg_put_key(out, text);
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
    msg_put_key(out, "id");
    msg_put_int(out, choice->id);
    put_text_pair(out, "text", choice->text);
    put_real_pair(out, "logprob", choice->logprob);
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
    put_uint_pair(out, "prompt_tokens", event->prompt_tokens);
    put_uint_pair(out, "image_tokens", event->image_tokens);
    put_uint_pair(out, "cached_tokens", event->cached_tokens[0]);
    put_uint_pair(out, "output_tokens", event->output_tokens);
    msg_put_key(out, "timings");
    msg_put_map(out, 4);
    put_real_pair(out, "prepare_ms", event->prepare_ms);
    put_real_pair(out, "queue_ms", event->queue_ms);
    put_real_pair(out, "first_token_ms", event->first_token_ms);
    put_real_pair(out, "total_ms", event->total_ms);
}
