// SPDX-License-Identifier: Apache-2.0
#include "rpc/generate.h"

static const char *const role_words[] = {"system", "user", "assistant"};

GenerateCall generate_question(Bytes system, Bytes text, const Bytes *images, uint32_t image_count,
                               CallMessage *messages, CallPart *parts) {
    uint32_t message_count = 0;
    if (system.length > 0) {
        parts[0] = (CallPart){.kind = CALL_TEXT, .text = system};
        messages[message_count++] =
            (CallMessage){.role = CALL_SYSTEM, .parts = parts, .part_count = 1};
        parts++;
    }
    for (uint32_t i = 0; i < image_count; i++) {
        parts[i] = (CallPart){.kind = CALL_IMAGE, .image = images[i]};
    }
    parts[image_count] = (CallPart){.kind = CALL_TEXT, .text = text};
    messages[message_count++] = (CallMessage){
        .role = CALL_USER, .parts = parts, .part_count = image_count + 1, .is_list = true};
    return (GenerateCall){
        .messages = messages,
        .message_count = message_count,
        .image_count = image_count,
        .sampling = {-1, -1, -1, -1, -1},
        .max_tokens = CALL_TOKENS_DEFAULT,
        .samples = 1,
    };
}

// ---- Writing ------------------------------------------------------------------------------------

static void put_part(Buffer *out, const CallPart *part) {
    char name[33];
    msg_put_map(out, 2);
    msg_pair_word(out, "type", part->kind == CALL_TEXT ? "text" : "image");
    switch (part->kind) {
    case CALL_TEXT:
        msg_pair_text(out, "text", part->text);
        break;
    case CALL_IMAGE:
        msg_pair_binary(out, "data", part->image);
        break;
    case CALL_BLOB:
        hash128_text(part->blob, name);
        msg_pair_word(out, "blob", name);
        break;
    }
}

static void put_content(Buffer *out, const CallMessage *message) {
    msg_put_key(out, "content");
    if (!message->is_list) {
        msg_put_text(out, message->parts[0].text);
        return;
    }
    msg_put_array(out, message->part_count);
    for (uint32_t i = 0; i < message->part_count; i++) {
        put_part(out, &message->parts[i]);
    }
}

static void put_messages(Buffer *out, const GenerateCall *call) {
    msg_put_key(out, "messages");
    msg_put_array(out, call->message_count);
    for (uint32_t i = 0; i < call->message_count; i++) {
        msg_put_map(out, 2);
        msg_pair_word(out, "role", role_words[call->messages[i].role]);
        put_content(out, &call->messages[i]);
    }
}

static void put_sampling(Buffer *out, const CallSampling *s) {
    msg_put_key(out, "sampling");
    msg_put_map(out, (uint32_t)(s->temperature >= 0) + (s->top_k >= 0) + (s->top_p >= 0) +
                         (s->min_p >= 0) + (s->repetition_penalty >= 0));
    if (s->temperature >= 0) {
        msg_pair_real(out, "temperature", s->temperature);
    }
    if (s->top_k >= 0) {
        msg_pair_uint(out, "top_k", (uint64_t)s->top_k);
    }
    if (s->top_p >= 0) {
        msg_pair_real(out, "top_p", s->top_p);
    }
    if (s->min_p >= 0) {
        msg_pair_real(out, "min_p", s->min_p);
    }
    if (s->repetition_penalty >= 0) {
        msg_pair_real(out, "repetition_penalty", s->repetition_penalty);
    }
}

static void put_stops(Buffer *out, const GenerateCall *call) {
    msg_put_key(out, "stop");
    msg_put_array(out, call->stop_count);
    for (uint32_t i = 0; i < call->stop_count; i++) {
        msg_put_text(out, call->stops[i]);
    }
}

// A number that is left out when it is as if it were left out.
static void put_option(Buffer *out, const char *key, uint32_t value, uint32_t absent) {
    if (value != absent) {
        msg_pair_uint(out, key, value);
    }
}

void generate_put(Buffer *out, const GenerateCall *call) {
    msg_put_map(out, 9 + (uint32_t)(call->budget != 0) + (call->samples != 1) +
                         (call->deadline_ms != 0));
    put_messages(out, call);
    put_sampling(out, &call->sampling);
    msg_pair_uint(out, "seed", call->seed);
    msg_pair_uint(out, "max_tokens", call->max_tokens);
    put_stops(out, call);
    msg_pair_word(out, "class", call->batch ? "batch" : "interactive");
    msg_pair_bool(out, "stream", call->stream);
    msg_pair_bool(out, "thinking", call->thinking);
    msg_pair_uint(out, "logprobs", call->logprobs);
    put_option(out, "budget", call->budget, 0);
    put_option(out, "n", call->samples, 1);
    put_option(out, "deadline_ms", call->deadline_ms, 0);
}
