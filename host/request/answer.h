// SPDX-License-Identifier: Apache-2.0
// The answer of one request as it grows: token ids in, whole UTF-8 text out. Keeps what the model
// thinks (between <|channel> and <channel|>) apart from what it says, holds text back while it may
// still become a stop string, and collects log probabilities. Memory is kept from answer to answer.
#ifndef HOST_REQUEST_ANSWER_H
#define HOST_REQUEST_ANSWER_H

#include "host/request/logprobs.h"
#include "host/request/question.h"
#include "host/text/detok.h"
#include "host/text/stop.h"
#include "host/text/tokenizer.h"
#include "scheduler/sched.h"

typedef enum AnswerPart { ANSWER_TEXT, ANSWER_THOUGHT, ANSWER_PART_COUNT } AnswerPart;

typedef struct Answer {
    const Tokenizer *tokenizer; // NULL: ids are printed as <123>
    const Question *question;
    int32_t channel_begin, channel_end; // -1 = none
    AnswerPart part;                    // that the next token belongs to
    Detok detok;
    Stop stop;
    Buffer parts[ANSWER_PART_COUNT];
    size_t taken[ANSWER_PART_COUNT]; // bytes answer_take has handed out
    Buffer piece;
    Logprobs logprobs; // of every token, where the question asks for them
    uint32_t token_count;
    bool stopped;       // a stop string came; nothing more is taken
    const char *finish; // "stop" or "length", after answer_end
} Answer;

Status answer_begin(Answer *answer, const Tokenizer *tokenizer, const Question *question,
                    Error *error);

// One token. Sets `stopped` when it completes a stop string. E_MEMORY.
Status answer_push(Answer *answer, const SchedulerEvent *event, Error *error);

// After the last token: what was held back belongs to the text. E_MEMORY.
Status answer_end(Answer *answer, FinishReason reason, Error *error);

// An answer that was made elsewhere, in place of begin, push and end: cleared, then its pieces in
// order, then how it ended. `finish` is kept, not copied. E_MEMORY for all of it.
void answer_clear(Answer *answer);
void answer_add(Answer *answer, AnswerPart part, Bytes text);
Status answer_set(Answer *answer, uint32_t token_count, const char *finish, Error *error);

// New text since the last call, part by part; false when there is none.
bool answer_take(Answer *answer, AnswerPart *part, Bytes *text);

Bytes answer_trimmed(const Answer *answer);  // the text without white space at its ends
Bytes answer_thoughts(const Answer *answer); // without the channel's name and white space
void answer_free(Answer *answer);

#endif
