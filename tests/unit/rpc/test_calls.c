// SPDX-License-Identifier: Apache-2.0
// calls.h: what is out of range, misspelt or of the wrong type is refused by name.
#include "rpc/calls.h"

#include "rpc/msg.h"
#include "session_case.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

// Params as a tiny language: the pairs of a map are written by a function.
typedef void (*Pairs)(Buffer *out);

static Status open_with(const char *method, uint32_t count, Pairs pairs, Call **out, Error *error) {
    Buffer message = {0};
    msg_put_request(&message, 9, method);
    msg_put_map(&message, count);
    if (pairs != NULL) {
        pairs(&message);
    }
    return call_open(&message, out, error);
}

static void expect_refusal(const char *method, uint32_t count, Pairs pairs, const char *says) {
    Call *call = NULL;
    Error error = {0};
    cr_assert_eq(open_with(method, count, pairs, &call, &error), E_ARGUMENT, "%s", says);
    cr_assert_not_null(call, "it cannot be answered");
    cr_assert_eq(call->id, 9);
    cr_assert_not_null(strstr(error.text, says), "\"%s\" does not say \"%s\"", error.text, says);
    call_free(call);
}

// A message whose content is one part, which `part` writes as a map of `count` pairs.
static void put_part_of(Buffer *out, uint32_t count) {
    msg_put_key(out, "messages");
    msg_put_array(out, 1);
    msg_put_map(out, 2);
    msg_pair_word(out, "role", "user");
    msg_put_key(out, "content");
    msg_put_array(out, 1);
    msg_put_map(out, count);
}

Test(calls, defaults_are_those_of_the_table) {
    Call *call = NULL;
    cr_assert_eq(open_with("generate", 1, case_put_hi, &call, NULL), OK);
    const GenerateCall *g = &call->generate;
    cr_assert_eq(g->max_tokens, 256);
    cr_assert_eq(g->samples, 1);
    cr_assert_eq(g->sampling.temperature, -1);
    cr_assert_eq(g->sampling.top_k, -1);
    cr_assert(!g->stream && !g->batch && !g->thinking);
    cr_assert_eq(g->deadline_ms + g->budget + g->logprobs + g->stop_count, 0);
    cr_assert(!g->messages[0].is_list);
    cr_assert(bytes_equal(g->messages[0].parts[0].text, bytes_of_text("hi")));
    call_free(call);
}

#define PUT(name, ...)                                                                             \
    static void name(Buffer *out) {                                                                \
        case_put_hi(out);                                                                          \
        __VA_ARGS__;                                                                               \
    }
PUT(n_0, msg_pair_int(out, "n", 0))
PUT(n_17, msg_pair_int(out, "n", 17))
PUT(n_huge, msg_pair_int(out, "n", INT64_MAX))
PUT(tokens_negative, msg_pair_int(out, "max_tokens", -1))
PUT(tokens_text, msg_pair_word(out, "max_tokens", "5"))
PUT(seed_negative, msg_pair_int(out, "seed", -1))
PUT(budget_odd, msg_pair_int(out, "budget", 100))
PUT(class_odd, msg_pair_word(out, "class", "root"))
PUT(deadline_0, msg_pair_int(out, "deadline_ms", 0))
PUT(logprobs_21, msg_pair_int(out, "logprobs", 21))
PUT(misspelt, msg_pair_int(out, "max_token", 1))
PUT(stop_empty, msg_put_key(out, "stop"); msg_put_array(out, 1); msg_put_key(out, ""))
PUT(temperature_nan, msg_put_key(out, "sampling"); msg_put_map(out, 1);
    msg_put_key(out, "temperature"); msg_put_real(out, (double)NAN))
PUT(sampling_misspelt, msg_put_key(out, "sampling"); msg_put_map(out, 1);
    msg_pair_int(out, "temprature", 1))

Test(calls, every_number_has_its_range_and_every_name_its_spelling) {
    expect_refusal("generate", 2, n_0, "params.n must be an integer from 1 to 16");
    expect_refusal("generate", 2, n_17, "params.n");
    expect_refusal("generate", 2, n_huge, "params.n");
    expect_refusal("generate", 2, tokens_negative, "params.max_tokens must be");
    expect_refusal("generate", 2, tokens_text, "params.max_tokens must be");
    expect_refusal("generate", 2, seed_negative, "params.seed must be");
    expect_refusal("generate", 2, budget_odd, "params.budget must be 70, 140");
    expect_refusal("generate", 2, class_odd, "params.class must be one of: interactive, batch");
    expect_refusal("generate", 2, deadline_0, "params.deadline_ms must be");
    expect_refusal("generate", 2, logprobs_21, "params.logprobs must be");
    expect_refusal("generate", 2, misspelt, "no parameter named \"max_token\"");
    expect_refusal("generate", 2, stop_empty, "params.stop must not hold an empty text");
    expect_refusal("generate", 2, temperature_nan, "params.sampling.temperature must be");
    expect_refusal("generate", 2, sampling_misspelt, "no parameter named \"temprature\"");
}

static void no_messages(Buffer *out) {
    msg_put_key(out, "messages");
    msg_put_array(out, 0);
}
static void role_odd(Buffer *out) {
    msg_put_key(out, "messages");
    msg_put_array(out, 1);
    msg_put_map(out, 2);
    msg_pair_word(out, "role", "root");
    msg_pair_word(out, "content", "hi");
}
static void part_odd(Buffer *out) {
    put_part_of(out, 1);
    msg_pair_word(out, "type", "smell");
}
static void part_audio(Buffer *out) {
    put_part_of(out, 1);
    msg_pair_word(out, "type", "audio");
}
static void part_url(Buffer *out) {
    put_part_of(out, 2);
    msg_pair_word(out, "type", "image");
    msg_pair_word(out, "url", "http://localhost/");
}
static void part_empty_picture(Buffer *out) {
    put_part_of(out, 2);
    msg_pair_word(out, "type", "image");
    msg_pair_binary(out, "data", (Bytes){0});
}
static void part_both(Buffer *out) {
    put_part_of(out, 3);
    msg_pair_word(out, "type", "image");
    msg_pair_word(out, "blob", "00112233445566778899aabbccddeeff");
    msg_pair_binary(out, "data", bytes_of_text("x"));
}
static void part_blob_path(Buffer *out) {
    put_part_of(out, 2);
    msg_pair_word(out, "type", "image");
    msg_pair_word(out, "blob", "../../../../etc/passwd0123456789");
}
static void part_text_broken(Buffer *out) {
    put_part_of(out, 2);
    msg_pair_word(out, "type", "text");
    msg_pair_word(out, "text", "\xc3");
}

Test(calls, messages_and_parts_are_checked_with_their_place) {
    expect_refusal("generate", 1, no_messages, "at least one message");
    expect_refusal("generate", 1, role_odd, "message 0: params.messages[].role must be one of");
    expect_refusal("generate", 1, part_odd,
                   "content[].type must be one of: text, image, audio, frame");
    expect_refusal("generate", 1, part_audio, "of a sound must have either data or blob");
    expect_refusal("generate", 1, part_url, "either data or blob");
    expect_refusal("generate", 1, part_empty_picture, "data must not be empty");
    expect_refusal("generate", 1, part_both, "either data or blob");
    expect_refusal("generate", 1, part_blob_path, "32 digits");
    expect_refusal("generate", 1, part_text_broken, "valid UTF-8");
}

static void many_pictures(Buffer *out) {
    msg_put_key(out, "messages");
    msg_put_array(out, 1);
    msg_put_map(out, 2);
    msg_pair_word(out, "role", "user");
    msg_put_key(out, "content");
    msg_put_array(out, CALL_MEDIA_MAX + 1);
    for (int i = 0; i <= CALL_MEDIA_MAX; i++) {
        msg_put_map(out, 2);
        msg_pair_word(out, "type", "image");
        msg_pair_word(out, "blob", "00112233445566778899aabbccddeeff");
    }
}

static void blob_good(Buffer *out) {
    put_part_of(out, 2);
    msg_pair_word(out, "type", "image");
    msg_pair_word(out, "blob", "00112233445566778899aabbccddeeff");
}

Test(calls, pictures_are_counted_and_blobs_are_read) {
    expect_refusal("generate", 1, many_pictures, "have 65 pictures, at most 64");
    Call *call = NULL;
    cr_assert_eq(open_with("generate", 1, blob_good, &call, NULL), OK);
    const CallPart *part = &call->generate.messages[0].parts[0];
    cr_assert_eq(part->kind, CALL_IMAGE);
    cr_assert(part->is_blob);
    cr_assert_eq(part->blob.high, 0x0011223344556677u);
    cr_assert_eq(part->blob.low, 0x8899aabbccddeeffu);
    call_free(call);
}

// ---- Tools --------------------------------------------------------------------------------------

static void put_tool(Buffer *out, const char *name, const char *parameters) {
    msg_put_key(out, "tools");
    msg_put_array(out, 1);
    msg_put_map(out, 2);
    msg_pair_word(out, "name", name);
    msg_pair_word(out, "parameters", parameters);
}
PUT(tool_nameless, put_tool(out, "", "{}"))
PUT(tool_parameters_broken, put_tool(out, "f", "{\"type\":"))
PUT(tool_parameters_twice, put_tool(out, "f", "{\"a\":1,\"a\":2}"))
PUT(tool_parameters_list, put_tool(out, "f", "[]"))
PUT(tools_map, msg_put_key(out, "tools"); msg_put_map(out, 0))
PUT(choice_odd, msg_pair_word(out, "tool_choice", "perhaps"))
PUT(choice_unknown, put_tool(out, "f", "{}"); msg_put_key(out, "tool_choice"); msg_put_map(out, 1);
    msg_pair_word(out, "name", "g"))
PUT(choice_empty, msg_put_key(out, "tool_choice"); msg_put_map(out, 0))
PUT(schema_text, msg_pair_word(out, "schema", "\"object\""))
PUT(schema_map, msg_put_key(out, "schema"); msg_put_map(out, 0))

static void tools_too_many(Buffer *out) {
    case_put_hi(out);
    msg_put_key(out, "tools");
    msg_put_array(out, CALL_TOOLS_MAX + 1);
    for (int i = 0; i <= CALL_TOOLS_MAX; i++) {
        msg_put_map(out, 1);
        msg_pair_word(out, "name", "f");
    }
}

// Each text is as long as it may be, and there is one too many of them.
static void tools_too_long(Buffer *out) {
    static char json[CALL_JSON_BYTES_MAX + 1];
    enum { TOOLS = CALL_JSON_BYTES_ALL_MAX / CALL_JSON_BYTES_MAX + 1 };
    memset(json, ' ', CALL_JSON_BYTES_MAX);
    json[0] = '{';
    json[CALL_JSON_BYTES_MAX - 1] = '}';
    case_put_hi(out);
    msg_put_key(out, "tools");
    msg_put_array(out, TOOLS);
    for (int i = 0; i < TOOLS; i++) {
        msg_put_map(out, 2);
        msg_pair_word(out, "name", "f");
        msg_pair_word(out, "parameters", json);
    }
}

Test(calls, tools_and_schemas_are_checked_with_their_place) {
    expect_refusal("generate", 2, tool_nameless, "tool 0: params.tools[].name must not be empty");
    expect_refusal("generate", 2, tool_parameters_broken,
                   "params.tools[].parameters must be the JSON text of an object");
    expect_refusal("generate", 2, tool_parameters_twice, "must be the JSON text of an object");
    expect_refusal("generate", 2, tool_parameters_list, "must be the JSON text of an object");
    expect_refusal("generate", 2, tools_map, "params.tools must be an array of at most 128");
    expect_refusal("generate", 2, tools_too_many, "params.tools must be an array of at most 128");
    expect_refusal("generate", 2, tools_too_long, "tool 4: params.tools[].parameters must leave");
    expect_refusal("generate", 2, choice_odd,
                   "params.tool_choice must be one of: auto, none, required");
    expect_refusal("generate", 3, choice_unknown, "params.tool_choice must name one of the tools");
    expect_refusal("generate", 2, choice_empty, "params.tool_choice.name is missing");
    expect_refusal("generate", 2, schema_text, "params.schema must be the JSON text of an object");
    expect_refusal("generate", 2, schema_map, "params.schema must be a string");
}

static void put_message(Buffer *out, const char *role, uint32_t count) {
    msg_put_key(out, "messages");
    msg_put_array(out, 1);
    msg_put_map(out, count);
    msg_pair_word(out, "role", role);
    msg_pair_word(out, "content", "hi");
}
static void user_calls(Buffer *out) {
    put_message(out, "user", 3);
    msg_put_key(out, "tool_calls");
    msg_put_array(out, 0);
}
static void user_thinks(Buffer *out) {
    put_message(out, "user", 3);
    msg_pair_word(out, "thoughts", "hm");
}
static void assistant_is_named(Buffer *out) {
    put_message(out, "assistant", 3);
    msg_pair_word(out, "name", "f");
}
static void assistant_calls_nothing(Buffer *out) {
    put_message(out, "assistant", 3);
    msg_put_key(out, "tool_calls");
    msg_put_array(out, 1);
    msg_put_map(out, 0);
}
static void tool_alone(Buffer *out) {
    put_message(out, "tool", 2);
}
static void assistant_is_silent(Buffer *out) {
    msg_put_key(out, "messages");
    msg_put_array(out, 1);
    msg_put_map(out, 1);
    msg_pair_word(out, "role", "assistant");
}

Test(calls, each_role_has_its_own_fields) {
    expect_refusal("generate", 1, user_calls, "no parameter named \"tool_calls\"");
    expect_refusal("generate", 1, user_thinks, "no parameter named \"thoughts\"");
    expect_refusal("generate", 1, assistant_is_named, "no parameter named \"name\"");
    expect_refusal("generate", 1, assistant_calls_nothing,
                   "message 0: params.messages[].tool_calls[].name is missing");
    expect_refusal("generate", 1, tool_alone, "message 0: params.messages[] of role tool must");
    expect_refusal("generate", 1, assistant_is_silent, "params.messages[].content is missing");
}

// ---- The others ---------------------------------------------------------------------------------

static void id_only(Buffer *out) {
    msg_pair_int(out, "id", 5);
}
static void blob_text(Buffer *out) {
    msg_pair_word(out, "data", "text");
}
static void token_long(Buffer *out) {
    char token[CALL_TOKEN_BYTES_MAX + 2];
    memset(token, 'x', sizeof token - 1);
    token[sizeof token - 1] = '\0';
    msg_pair_int(out, "version", 1);
    msg_pair_word(out, "token", token);
}

Test(calls, the_other_methods_are_checked_too) {
    expect_refusal("hello", 0, NULL, "params.version is missing");
    expect_refusal("hello", 2, token_long, "params.token must be a string of valid UTF-8");
    expect_refusal("cancel", 0, NULL, "params.id is missing");
    expect_refusal("credit", 1, id_only, "params.n is missing");
    expect_refusal("put_blob", 0, NULL, "params.data is missing");
    expect_refusal("put_blob", 1, blob_text, "params.data must be a bin");
    expect_refusal("tokenize", 0, NULL, "params.text is missing");
    expect_refusal("stats", 1, id_only, "no parameter named \"id\"");
}

Test(calls, an_unknown_method_can_be_answered_and_a_wrong_notification_cannot) {
    Call *call = NULL;
    cr_assert_eq(open_with("eval", 0, NULL, &call, NULL), E_METHOD);
    cr_assert_eq(call->id, 9);
    call_free(call);
    const char *wrong[] = {"generate", "eval", "cancel"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        Buffer message = {0};
        msg_put_notification(&message, wrong[i]);
        msg_put_map(&message, 0);
        cr_assert_neq(call_open(&message, &call, NULL), OK, "%s", wrong[i]);
        cr_assert_null(call);
        cr_assert_null(message.data);
    }
}
