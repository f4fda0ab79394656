// SPDX-License-Identifier: Apache-2.0
#include "host/request/answer.h"

#include "base/check.h"
#include "base/text.h"

#include <string.h>

static Status answer_memory(const Answer *answer, Error *error) {
    bool failed = answer->parts[ANSWER_TEXT].failed || answer->parts[ANSWER_THOUGHT].failed ||
                  answer->piece.failed || answer->logprobs.failed;
    return failed ? error_set(error, E_MEMORY, "no memory for an answer of %u tokens",
                              answer->token_count)
                  : OK;
}

void answer_clear(Answer *answer) {
    answer->part = ANSWER_TEXT;
    for (int part = 0; part < ANSWER_PART_COUNT; part++) {
        buffer_clear(&answer->parts[part]);
        answer->taken[part] = 0;
    }
    logprobs_clear(&answer->logprobs);
    answer->token_count = 0;
    answer->stopped = false;
    answer->finish = NULL;
}

Status answer_begin(Answer *answer, const Tokenizer *tokenizer, const Question *question,
                    Error *error) {
    answer->tokenizer = tokenizer;
    answer->question = question;
    answer->channel_begin = tokenizer != NULL ? tokenizer_find(tokenizer, "<|channel>") : -1;
    answer->channel_end = tokenizer != NULL ? tokenizer_find(tokenizer, "<channel|>") : -1;
    answer_clear(answer);
    detok_end(&answer->detok);
    if (tokenizer != NULL) {
        answer->detok = detok_begin(tokenizer, true);
    }
    stop_end(&answer->stop);
    TRY(stop_begin(&answer->stop, question->stops, question->stop_count, error));
    return OK;
}

// A token for people and reports. Its text is appended to `piece`, where it lies once that moves no
// more.
static AnswerChoice answer_choice(Answer *answer, const TokenChoice *choice) {
    size_t begin = answer->piece.length;
    if (answer->tokenizer == NULL) {
        buffer_printf(&answer->piece, "<%d>", choice->token);
    } else {
        tokenizer_decode_piece(answer->tokenizer, choice->token, &answer->piece);
    }
    return (AnswerChoice){
        .token = choice->token,
        .logprob = (double)choice->logprob,
        .text.length = answer->piece.length - begin,
    };
}

static void answer_add_logprob(Answer *answer, const SchedulerEvent *event) {
    AnswerLogprob logprob = {.top_count = event->top_count};
    buffer_clear(&answer->piece);
    logprob.chosen = answer_choice(answer, &event->chosen);
    for (uint32_t i = 0; i < event->top_count; i++) {
        logprob.top[i] = answer_choice(answer, &event->top[i]);
    }
    const uint8_t *text = answer->piece.data;
    logprob.chosen.text.data = text;
    text += logprob.chosen.text.length;
    for (uint32_t i = 0; i < event->top_count; i++) {
        logprob.top[i].text.data = text;
        text += logprob.top[i].text.length;
    }
    logprobs_add(&answer->logprobs, &logprob);
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
    return answer_memory(answer, error);
}

void answer_add(Answer *answer, AnswerPart part, Bytes text) {
    buffer_append(&answer->parts[part], text.data, text.length);
}

Status answer_set(Answer *answer, uint32_t token_count, const char *finish, Error *error) {
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

void answer_free(Answer *answer) {
    detok_end(&answer->detok);
    stop_end(&answer->stop);
    for (int part = 0; part < ANSWER_PART_COUNT; part++) {
        buffer_free(&answer->parts[part]);
    }
    buffer_free(&answer->piece);
    logprobs_free(&answer->logprobs);
}
