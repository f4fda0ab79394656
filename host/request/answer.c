// SPDX-License-Identifier: Apache-2.0
#include "host/request/answer.h"

#include "base/check.h"
#include "base/json_write.h"
#include "base/text.h"

#include <string.h>

static Status answer_memory(const Answer *answer, Error *error) {
    bool failed = answer->parts[ANSWER_TEXT].failed || answer->parts[ANSWER_THOUGHT].failed ||
                  answer->piece.failed || answer->logprobs.failed;
    return failed ? error_set(error, E_MEMORY, "no memory for an answer of %u tokens",
                              answer->token_count)
                  : OK;
}

Status answer_begin(Answer *answer, const Tokenizer *tokenizer, const Question *question,
                    Error *error) {
    answer->tokenizer = tokenizer;
    answer->question = question;
    answer->channel_begin = tokenizer != NULL ? tokenizer_find(tokenizer, "<|channel>") : -1;
    answer->channel_end = tokenizer != NULL ? tokenizer_find(tokenizer, "<channel|>") : -1;
    answer->part = ANSWER_TEXT;
    for (int part = 0; part < ANSWER_PART_COUNT; part++) {
        buffer_clear(&answer->parts[part]);
        answer->taken[part] = 0;
    }
    buffer_clear(&answer->logprobs);
    answer->token_count = 0;
    answer->stopped = false;
    answer->finish = NULL;
    detok_end(&answer->detok);
    if (tokenizer != NULL) {
        answer->detok = detok_begin(tokenizer, true);
    }
    stop_end(&answer->stop);
    TRY(stop_begin(&answer->stop, question->stops, question->stop_count, error));
    return OK;
}

// The text of one token for people and reports, alone and therefore not always whole UTF-8.
static Bytes answer_token_text(Answer *answer, int32_t token) {
    buffer_clear(&answer->piece);
    if (answer->tokenizer == NULL) {
        buffer_printf(&answer->piece, "<%d>", token);
    } else {
        tokenizer_decode_piece(answer->tokenizer, token, &answer->piece);
    }
    return (Bytes){answer->piece.data, answer->piece.length};
}

static void answer_write_choice(Answer *answer, JsonWriter *json, const TokenChoice *choice) {
    json_write_unsigned(json, "id", (uint64_t)choice->token);
    json_write_text(json, "text", answer_token_text(answer, choice->token));
    json_write_real(json, "logprob", (double)choice->logprob, 7);
}

// {"id":5,"text":"a","logprob":-0.1,"top":[{...}]}
static void answer_add_logprob(Answer *answer, const SchedulerEvent *event) {
    JsonWriter json = {.out = &answer->logprobs, .comma = answer->token_count > 0};
    if (answer->token_count == 0) {
        buffer_append_byte(&answer->logprobs, '[');
    }
    json_write_open(&json, NULL, '{');
    answer_write_choice(answer, &json, &event->chosen);
    json_write_open(&json, "top", '[');
    for (uint32_t i = 0; i < event->top_count; i++) {
        json_write_open(&json, NULL, '{');
        answer_write_choice(answer, &json, &event->top[i]);
        json_write_close(&json, '}');
    }
    json_write_close(&json, ']');
    json_write_close(&json, '}');
}

// What has been decoded joins the part that is open; the text goes by way of the stop strings.
static void answer_add_piece(Answer *answer) {
    const Bytes piece = {answer->piece.data, answer->piece.length};
    if (answer->part == ANSWER_TEXT) {
        answer->stopped = stop_push(&answer->stop, piece, &answer->parts[ANSWER_TEXT]);
    } else {
        buffer_append(&answer->parts[ANSWER_THOUGHT], piece.data, piece.length);
    }
}

static void answer_add_token(Answer *answer, int32_t token) {
    buffer_clear(&answer->piece);
    if (answer->tokenizer == NULL) {
        buffer_printf(&answer->piece, "<%d>", token);
    } else if (token == answer->channel_begin || token == answer->channel_end) {
        detok_flush(&answer->detok, &answer->piece);
    } else {
        detok_push(&answer->detok, token, &answer->piece);
    }
    answer_add_piece(answer);
    if (token == answer->channel_begin && token >= 0) {
        answer->part = ANSWER_THOUGHT;
    } else if (token == answer->channel_end && token >= 0) {
        answer->part = ANSWER_TEXT;
    }
}

Status answer_push(Answer *answer, const SchedulerEvent *event, Error *error) {
    if (answer->question->sampling.logprobs > 0) {
        answer_add_logprob(answer, event);
    }
    answer->token_count++;
    if (event->finish != FINISH_STOP) {
        answer_add_token(answer, event->chosen.token);
    }
    return answer_memory(answer, error);
}

Status answer_end(Answer *answer, FinishReason reason, Error *error) {
    if (!answer->stopped) {
        buffer_clear(&answer->piece);
        if (answer->tokenizer != NULL) {
            detok_flush(&answer->detok, &answer->piece);
        }
        answer_add_piece(answer);
        stop_flush(&answer->stop, &answer->parts[ANSWER_TEXT]);
    }
    answer->finish = answer->stopped || reason == FINISH_STOP ? "stop" : "length";
    if (answer->logprobs.length > 0) {
        buffer_append_byte(&answer->logprobs, ']');
    }
    return answer_memory(answer, error);
}

Status answer_take_over(Answer *answer, Bytes text, Bytes thoughts, Bytes logprobs,
                        uint32_t token_count, const char *finish, Error *error) {
    buffer_clear(&answer->parts[ANSWER_TEXT]);
    buffer_clear(&answer->parts[ANSWER_THOUGHT]);
    buffer_clear(&answer->logprobs);
    buffer_append(&answer->parts[ANSWER_TEXT], text.data, text.length);
    buffer_append(&answer->parts[ANSWER_THOUGHT], thoughts.data, thoughts.length);
    buffer_append(&answer->logprobs, logprobs.data, logprobs.length);
    answer->token_count = token_count;
    answer->finish = finish;
    return answer_memory(answer, error);
}

bool answer_take(Answer *answer, AnswerPart *part, Bytes *text) {
    // Thoughts come before what is said after them.
    static const AnswerPart order[] = {ANSWER_THOUGHT, ANSWER_TEXT};
    for (int i = 0; i < ANSWER_PART_COUNT; i++) {
        const Buffer *all = &answer->parts[order[i]];
        size_t taken = answer->taken[order[i]];
        if (taken < all->length) {
            *part = order[i];
            *text = (Bytes){all->data + taken, all->length - taken};
            answer->taken[order[i]] = all->length;
            return true;
        }
    }
    return false;
}

Bytes answer_trimmed(const Answer *answer) {
    const Buffer *text = &answer->parts[ANSWER_TEXT];
    return text_trim((Bytes){text->data, text->length});
}

Bytes answer_thoughts(const Answer *answer) {
    static const char name[] = "thought\n";
    const Buffer *thought = &answer->parts[ANSWER_THOUGHT];
    Bytes text = {thought->data, thought->length};
    if (text.length >= sizeof name - 1 && memcmp(text.data, name, sizeof name - 1) == 0) {
        text.data += sizeof name - 1;
        text.length -= sizeof name - 1;
    }
    return text_trim(text);
}

Bytes answer_logprobs(const Answer *answer) {
    return (Bytes){answer->logprobs.data, answer->logprobs.length};
}

void answer_free(Answer *answer) {
    detok_end(&answer->detok);
    stop_end(&answer->stop);
    for (int part = 0; part < ANSWER_PART_COUNT; part++) {
        buffer_free(&answer->parts[part]);
    }
    buffer_free(&answer->piece);
    buffer_free(&answer->logprobs);
}
