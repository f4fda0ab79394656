// SPDX-License-Identifier: Apache-2.0
// Answers: tokens become text, thoughts are kept apart, stop texts cut, log probabilities are
// kept.
#include "host/request/answer.h"

#include "base/json.h"
#include "host/jobs/logprobs_json.h"
#include "tests/unit/host/demo.h"

#include <criterion/criterion.h>
#include <string.h>

static Runtime runtime;
static Answer answer;
static Question question;
static Error error;

static void open_demo(void) {
    demo_open(&runtime, "scalar");
    question = demo_question("?");
}

static void close_demo(void) {
    answer_free(&answer);
    runtime_close(&runtime);
}

TestSuite(answer, .init = open_demo, .fini = close_demo);

static void begin(void) {
    cr_assert_eq(answer_begin(&answer, runtime.tokenizer, &question, &error), OK);
}

// Pushes the tokens of a text with control tokens, as if the model had said them one by one.
static void say(const char *text, FinishReason finish) {
    TokenizerScratch scratch = {0};
    TokenList tokens = {0};
    cr_assert_eq(tokenizer_encode(runtime.tokenizer, bytes_of_text(text), TOKENIZER_PARSE_SPECIAL,
                                  &scratch, &tokens, &error),
                 OK);
    for (size_t i = 0; i < tokens.count && !answer.stopped; i++) {
        bool last = i + 1 == tokens.count;
        const SchedulerEvent event = {.has_token = true,
                                      .finish = last ? finish : FINISH_NONE,
                                      .chosen = {tokens.ids[i], -0.5f}};
        cr_assert_eq(answer_push(&answer, &event, &error), OK);
    }
    token_list_free(&tokens);
    tokenizer_scratch_free(&scratch);
}

static void expect_text(Bytes got, const char *want) {
    cr_expect(bytes_equal(got, bytes_of_text(want)), "'%.*s' is not '%s'", (int)got.length,
              (const char *)got.data, want);
}

Test(answer, a_stop_token_is_no_part_of_the_text) {
    begin();
    say(" a fish.\n<turn|>", FINISH_STOP);
    cr_assert_eq(answer_end(&answer, FINISH_STOP, &error), OK);
    expect_text(answer_trimmed(&answer), "a fish.");
    cr_expect_str_eq(answer.finish, "stop");
    cr_expect_eq(answer.logprobs.count, 0);
}

Test(answer, a_length_limit_keeps_the_last_token) {
    begin();
    say("a fish", FINISH_LENGTH);
    cr_assert_eq(answer_end(&answer, FINISH_LENGTH, &error), OK);
    expect_text(answer_trimmed(&answer), "a fish");
    cr_expect_str_eq(answer.finish, "length");
}

Test(answer, thoughts_are_kept_apart) {
    begin();
    say("<|channel>thought\nIt has fins.\n<channel|>a fish<turn|>", FINISH_STOP);
    cr_assert_eq(answer_end(&answer, FINISH_STOP, &error), OK);
    expect_text(answer_trimmed(&answer), "a fish");
    expect_text(answer_thoughts(&answer), "It has fins.");
}

Test(answer, a_stop_text_cuts_wherever_the_tokens_end) {
    question.stops[0] = bytes_of_text("ed back");
    question.stop_count = 1;
    begin();
    say("a fish on a red background.", FINISH_NONE);
    cr_expect(answer.stopped);
    cr_assert_eq(answer_end(&answer, FINISH_CANCEL, &error), OK);
    expect_text(answer_trimmed(&answer), "a fish on a r");
    cr_expect_str_eq(answer.finish, "stop");
}

Test(answer, what_was_held_for_a_stop_text_comes_at_the_end) {
    question.stops[0] = bytes_of_text("fishing");
    question.stop_count = 1;
    begin();
    say("a fish", FINISH_LENGTH);
    cr_assert_eq(answer_end(&answer, FINISH_LENGTH, &error), OK);
    expect_text(answer_trimmed(&answer), "a fish");
}

Test(answer, the_pieces_handed_out_are_the_whole_text) {
    begin();
    TokenizerScratch scratch = {0};
    TokenList tokens = {0};
    const char *text = "caf\xc3\xa9 \xf0\x9f\x90\x88 and <|channel>thought\nhm<channel|>more";
    tokenizer_encode(runtime.tokenizer, bytes_of_text(text), TOKENIZER_PARSE_SPECIAL, &scratch,
                     &tokens, &error);
    Buffer said = {0};
    AnswerPart part;
    Bytes piece;
    for (size_t i = 0; i <= tokens.count; i++) {
        if (i < tokens.count) {
            const SchedulerEvent event = {.has_token = true, .chosen = {tokens.ids[i], 0}};
            cr_assert_eq(answer_push(&answer, &event, &error), OK);
        } else {
            cr_assert_eq(answer_end(&answer, FINISH_LENGTH, &error), OK);
        }
        while (answer_take(&answer, &part, &piece)) {
            if (part == ANSWER_TEXT) {
                buffer_append(&said, piece.data, piece.length);
            }
        }
    }
    cr_expect_str_eq((char *)said.data, "caf\xc3\xa9 \xf0\x9f\x90\x88 and more");
    buffer_free(&said);
    token_list_free(&tokens);
    tokenizer_scratch_free(&scratch);
}

Test(answer, log_probabilities_are_a_json_array_with_one_entry_per_token) {
    question.sampling.logprobs = 2;
    begin();
    const SchedulerEvent event = {.has_token = true,
                                  .chosen = {40, -0.25f},
                                  .top_count = 2,
                                  .top = {{40, -0.25f}, {41, -1.5f}}};
    cr_assert_eq(answer_push(&answer, &event, &error), OK);
    cr_assert_eq(answer_push(&answer, &event, &error), OK);
    cr_assert_eq(answer_end(&answer, FINISH_LENGTH, &error), OK);
    Buffer text = {0};
    logprobs_json(&answer.logprobs, &text);
    json_t *root;
    cr_assert_eq(json_parse((Bytes){text.data, text.length}, "logprobs", &root, &error), OK, "%s",
                 error.text);
    cr_assert_eq(json_array_size(root), 2);
    const json_t *top = json_object_get(json_array_get(root, 1), "top");
    cr_assert_eq(json_array_size(top), 2);
    cr_expect_eq(json_integer_value(json_object_get(json_array_get(top, 1), "id")), 41);
    cr_expect_eq(json_real_value(json_object_get(json_array_get(top, 1), "logprob")), -1.5);
    cr_expect_str_eq(
        json_string_value(json_object_get(json_array_get(top, 1), "text")),
        json_string_value(json_object_get(
            json_array_get(json_object_get(json_array_get(root, 0), "top"), 1), "text")));
    json_decref(root);
    buffer_free(&text);
}

Test(answer, an_answer_made_elsewhere_is_kept_as_it_comes) {
    question.sampling.logprobs = 1;
    begin();
    say("a fish", FINISH_LENGTH);
    const AnswerLogprob first = {
        .chosen = {7, -0.125, bytes_of_text("x")},
        .top = {{7, -0.125, bytes_of_text("x")}, {8, -2.5, bytes_of_text("\xff")}},
        .top_count = 2,
    };
    const AnswerLogprob second = {.chosen = {9, -1, bytes_of_text("")}};
    answer_clear(&answer);
    answer_add(&answer, ANSWER_THOUGHT, bytes_of_text("thought\nhm"));
    answer_add(&answer, ANSWER_TEXT, bytes_of_text(" a cr"));
    answer_add(&answer, ANSWER_TEXT, bytes_of_text("ab "));
    logprobs_add(&answer.logprobs, &first);
    logprobs_add(&answer.logprobs, &second);
    cr_assert_eq(answer_set(&answer, 2, "stop", &error), OK);
    expect_text(answer_trimmed(&answer), "a crab");
    expect_text(answer_thoughts(&answer), "hm");
    cr_expect_eq(answer.token_count, 2);
    AnswerLogprob got;
    uint32_t at = 0;
    cr_assert(logprobs_next(&answer.logprobs, &at, &got));
    cr_expect_eq(got.top_count, 2);
    cr_expect_eq(got.top[1].token, 8);
    cr_expect_eq(got.top[1].logprob, -2.5);
    expect_text(got.top[1].text, "\xff");
    cr_assert(logprobs_next(&answer.logprobs, &at, &got));
    cr_expect_eq(got.chosen.token, 9);
    cr_expect_eq(got.top_count, 0);
    cr_expect_not(logprobs_next(&answer.logprobs, &at, &got));
}

Test(answer, without_a_tokenizer_ids_are_printed) {
    cr_assert_eq(answer_begin(&answer, NULL, &question, &error), OK);
    const SchedulerEvent event = {.has_token = true, .chosen = {123, 0}};
    cr_assert_eq(answer_push(&answer, &event, &error), OK);
    cr_assert_eq(answer_push(&answer, &event, &error), OK);
    cr_assert_eq(answer_end(&answer, FINISH_LENGTH, &error), OK);
    expect_text(answer_trimmed(&answer), "<123><123>");
}

Test(answer, memory_is_used_again_without_a_trace_of_the_last_answer) {
    question.stops[0] = bytes_of_text("red");
    question.stop_count = 1;
    question.sampling.logprobs = 1;
    begin();
    say("<|channel>thought\nx<channel|>a fish on a red", FINISH_NONE);
    cr_assert_eq(answer_end(&answer, FINISH_CANCEL, &error), OK);
    question.stop_count = 0;
    question.sampling.logprobs = 0;
    begin();
    say("red", FINISH_LENGTH);
    cr_assert_eq(answer_end(&answer, FINISH_LENGTH, &error), OK);
    expect_text(answer_trimmed(&answer), "red");
    expect_text(answer_thoughts(&answer), "");
    cr_expect_eq(answer.logprobs.count, 0);
    cr_expect_str_eq(answer.finish, "length");
}
