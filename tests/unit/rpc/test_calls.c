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
    expect_refusal("generate", 1, part_audio, "content[].type must be one of: text, image");
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
    msg_put_array(out, CALL_IMAGES_MAX + 1);
    for (int i = 0; i <= CALL_IMAGES_MAX; i++) {
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
    cr_assert_eq(part->kind, CALL_BLOB);
    cr_assert_eq(part->blob.high, 0x0011223344556677u);
    cr_assert_eq(part->blob.low, 0x8899aabbccddeeffu);
    call_free(call);
}

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
