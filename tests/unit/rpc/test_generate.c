// SPDX-License-Identifier: Apache-2.0
// generate.h: what is written is read again, for calls drawn at random. What is refused is in
// test_calls.c.
#include "base/prng.h"
#include "rpc/calls.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { CALLS = 2000, TEXTS = 5 };

typedef struct Draw {
    uint64_t seed, count;
    Arena arena;
} Draw;

static uint32_t draw(Draw *d, uint32_t below) {
    return (uint32_t)(prng_u64(d->seed, 0, d->count++) % below);
}

static bool draw_coin(Draw *d) {
    return draw(d, 2) == 1;
}

static Bytes draw_text(Draw *d) {
    static const char *const texts[TEXTS] = {"x", "two words", "\xc3\xa4\xe2\x82\xac",
                                             "<|turn>model\n", "a\n\"b\"\\"};
    return bytes_of_text(texts[draw(d, TEXTS)]);
}

static CallPart draw_part(Draw *d) {
    CallPart part = {.kind = (CallPartKind)draw(d, CALL_PART_KIND_COUNT)};
    part.is_blob = part.kind != CALL_TEXT && draw_coin(d);
    if (part.kind == CALL_TEXT) {
        part.text = draw_coin(d) ? draw_text(d) : (Bytes){0};
    } else if (part.is_blob) {
        part.blob = (Hash128){prng_u64(d->seed, 1, d->count), d->count};
    } else {
        part.data = draw_text(d);
    }
    return part;
}

static Bytes draw_json(Draw *d) {
    static const char *const texts[] = {"", "{}", "{\"b\":1.50,\"a\":[null,\"\\u0000\"]}",
                                        " {\"type\": \"object\"} "};
    return bytes_of_text(texts[draw(d, 4)]);
}

static Bytes draw_given(Draw *d) {
    return draw_coin(d) ? draw_text(d) : (Bytes){0};
}

static void draw_tool_calls(Draw *d, CallMessage *message) {
    message->tool_call_count = draw(d, 3);
    CallToolCall *calls = arena_take_array(&d->arena, message->tool_call_count + 1, sizeof *calls);
    for (uint32_t i = 0; i < message->tool_call_count; i++) {
        calls[i] = (CallToolCall){draw_given(d), draw_text(d), draw_json(d)};
    }
    message->tool_calls = calls;
}

static void draw_tools(Draw *d, GenerateCall *call) {
    call->tool_count = draw(d, 4);
    CallTool *tools = arena_take_array(&d->arena, call->tool_count + 1, sizeof *tools);
    for (uint32_t i = 0; i < call->tool_count; i++) {
        tools[i] = (CallTool){draw_text(d), draw_given(d), draw_json(d)};
    }
    call->tools = tools;
    call->tool_choice = (CallToolChoice)draw(d, call->tool_count > 0 ? 4 : 3);
    if (call->tool_choice == CALL_CHOICE_NAMED) {
        call->tool_choice_name = tools[draw(d, call->tool_count)].name;
    }
    call->schema = draw_json(d);
}

// A tool speaks only after the assistant that called it.
static CallMessage draw_message(Draw *d, bool tools_called) {
    CallMessage message = {.role = (CallRole)draw(d, tools_called ? CALL_ROLE_COUNT : CALL_TOOL),
                           .is_list = draw_coin(d)};
    if (message.role == CALL_ASSISTANT) {
        message.thoughts = draw_given(d);
        draw_tool_calls(d, &message);
    } else if (message.role == CALL_TOOL) {
        message.tool_call_id = draw_given(d);
        message.name = draw_given(d);
    }
    message.part_count = message.is_list ? draw(d, 4) : 1;
    CallPart *parts = arena_take_array(&d->arena, message.part_count + 1, sizeof *parts);
    for (uint32_t i = 0; i < message.part_count; i++) {
        parts[i] =
            message.is_list ? draw_part(d) : (CallPart){.kind = CALL_TEXT, .text = draw_text(d)};
    }
    message.parts = parts;
    return message;
}

static CallSampling draw_sampling(Draw *d) {
    return (CallSampling){
        .temperature = draw_coin(d) ? draw(d, 1000) / 10.0 : -1,
        .top_k = draw_coin(d) ? (int64_t)draw(d, CALL_TOKENS_MAX + 1) : -1,
        .top_p = draw_coin(d) ? draw(d, 1001) / 1000.0 : -1,
        .min_p = draw_coin(d) ? draw(d, 1001) / 1000.0 : -1,
        .repetition_penalty = draw_coin(d) ? CALL_REPETITION_PENALTY_MIN + draw(d, 99) : -1,
    };
}

static GenerateCall draw_call(Draw *d) {
    static const uint32_t budgets[] = {0, 70, 140, 280, 560, 1120};
    GenerateCall call = {
        .message_count = 1 + draw(d, 5),
        .sampling = draw_sampling(d),
        .seed = prng_u64(d->seed, 2, d->count) >> 1,
        .max_tokens = 1 + draw(d, CALL_TOKENS_MAX),
        .stop_count = draw(d, 4),
        .samples = 1 + draw(d, CALL_SAMPLES_MAX),
        .batch = draw_coin(d),
        .stream = draw_coin(d),
        .thinking = draw_coin(d),
        .deadline_ms = draw_coin(d) ? 1 + draw(d, 86400000) : 0,
        .budget = budgets[draw(d, 6)],
        .logprobs = draw(d, CALL_LOGPROBS_MAX + 1),
    };
    CallMessage *messages = arena_take_array(&d->arena, call.message_count, sizeof *messages);
    bool called = false;
    for (uint32_t i = 0; i < call.message_count; i++) {
        messages[i] = draw_message(d, called);
        called = messages[i].tool_call_count > 0 || (called && messages[i].role == CALL_TOOL);
        for (uint32_t p = 0; p < messages[i].part_count; p++) {
            call.media_count += messages[i].parts[p].kind != CALL_TEXT;
        }
    }
    for (uint32_t i = 0; i < call.stop_count; i++) {
        call.stops[i] = draw_text(d);
    }
    call.messages = messages;
    draw_tools(d, &call);
    return call;
}

// ---- The same again -----------------------------------------------------------------------------

static uint64_t seed_drawn;
#define SAME(condition) cr_assert(condition, "TESSERA_SEED=%llu", (unsigned long long)seed_drawn)

static void expect_part(const CallPart *got, const CallPart *part) {
    SAME(got->kind == part->kind);
    SAME(bytes_equal(got->text, part->text));
    SAME(bytes_equal(got->data, part->data));
    SAME(got->is_blob == part->is_blob);
    SAME(got->blob.high == part->blob.high && got->blob.low == part->blob.low);
}

static void expect_message(const CallMessage *got, const CallMessage *message) {
    SAME(got->role == message->role);
    SAME(got->is_list == message->is_list);
    SAME(got->part_count == message->part_count);
    for (uint32_t i = 0; i < got->part_count; i++) {
        expect_part(&got->parts[i], &message->parts[i]);
    }
    SAME(bytes_equal(got->thoughts, message->thoughts));
    SAME(bytes_equal(got->tool_call_id, message->tool_call_id));
    SAME(bytes_equal(got->name, message->name));
    SAME(got->tool_call_count == message->tool_call_count);
    for (uint32_t i = 0; i < got->tool_call_count; i++) {
        SAME(bytes_equal(got->tool_calls[i].id, message->tool_calls[i].id));
        SAME(bytes_equal(got->tool_calls[i].name, message->tool_calls[i].name));
        SAME(bytes_equal(got->tool_calls[i].arguments, message->tool_calls[i].arguments));
    }
}

static void expect_tools(const GenerateCall *got, const GenerateCall *call) {
    SAME(got->tool_count == call->tool_count);
    for (uint32_t i = 0; i < got->tool_count; i++) {
        SAME(bytes_equal(got->tools[i].name, call->tools[i].name));
        SAME(bytes_equal(got->tools[i].description, call->tools[i].description));
        SAME(bytes_equal(got->tools[i].parameters, call->tools[i].parameters));
    }
    SAME(got->tool_choice == call->tool_choice);
    SAME(bytes_equal(got->tool_choice_name, call->tool_choice_name));
    SAME(bytes_equal(got->schema, call->schema));
}

static void expect_sampling(const CallSampling *got, const CallSampling *sampling) {
    SAME(got->temperature == sampling->temperature);
    SAME(got->top_k == sampling->top_k);
    SAME(got->top_p == sampling->top_p);
    SAME(got->min_p == sampling->min_p);
    SAME(got->repetition_penalty == sampling->repetition_penalty);
}

static void expect_call(const GenerateCall *got, const GenerateCall *call) {
    SAME(got->message_count == call->message_count);
    for (uint32_t i = 0; i < got->message_count; i++) {
        expect_message(&got->messages[i], &call->messages[i]);
    }
    SAME(got->media_count == call->media_count);
    expect_tools(got, call);
    expect_sampling(&got->sampling, &call->sampling);
    SAME(got->seed == call->seed);
    SAME(got->max_tokens == call->max_tokens);
    SAME(got->stop_count == call->stop_count);
    for (uint32_t i = 0; i < got->stop_count; i++) {
        SAME(bytes_equal(got->stops[i], call->stops[i]));
    }
    SAME(got->samples == call->samples);
    SAME(got->batch == call->batch);
    SAME(got->stream == call->stream);
    SAME(got->thinking == call->thinking);
    SAME(got->deadline_ms == call->deadline_ms);
    SAME(got->budget == call->budget);
    SAME(got->logprobs == call->logprobs);
}

static Call *written_and_read(const GenerateCall *call) {
    Buffer message = {0};
    Call *out = NULL;
    Error error = {0};
    msg_put_request(&message, 1, "generate");
    generate_put(&message, call);
    cr_assert_eq(call_open(&message, &out, &error), OK, "%s", error.text);
    return out;
}

Test(generate, any_call_that_is_written_is_read_as_it_was) {
    const char *one = getenv("TESSERA_SEED");
    uint64_t seed = one != NULL ? strtoull(one, NULL, 10) : 1;
    for (uint64_t last = one != NULL ? seed : CALLS; seed <= last; seed++) {
        Draw d = {.seed = seed_drawn = seed};
        GenerateCall call = draw_call(&d);
        Call *got = written_and_read(&call);
        expect_call(&got->generate, &call);
        call_free(got);
        arena_free(&d.arena);
    }
}

Test(generate, a_question_is_pictures_and_then_its_text) {
    const Bytes images[] = {bytes_of_text("one"), bytes_of_text("two")};
    CallMessage messages[2];
    CallPart parts[4];
    const GenerateCall call = generate_question(bytes_of_text("short"), bytes_of_text("what?"),
                                                images, 2, messages, parts);
    Call *got = written_and_read(&call);
    expect_call(&got->generate, &call);
    const CallMessage *user = &got->generate.messages[1];
    cr_assert_eq(got->generate.messages[0].role, CALL_SYSTEM);
    cr_assert_eq(user->role, CALL_USER);
    cr_assert(bytes_equal(user->parts[0].data, images[0]));
    cr_assert(bytes_equal(user->parts[1].data, images[1]));
    cr_assert(bytes_equal(user->parts[2].text, bytes_of_text("what?")));
    call_free(got);
}
