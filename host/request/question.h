// SPDX-License-Identifier: Apache-2.0
// What is asked of the model apart from the media: the words, how to draw tokens, when to stop.
// One Question serves many requests and never changes while they run. Texts are borrowed.
#ifndef HOST_REQUEST_QUESTION_H
#define HOST_REQUEST_QUESTION_H

#include "base/bytes.h"
#include "host/text/chat.h"
#include "host/text/stop.h"
#include "scheduler/batch.h"

typedef enum QuestionForm {
    QUESTION_WORDS, // `system` and, after the media that a request has, `text`: one user's turn
    QUESTION_CHAT,  // a conversation in which the media have their places
    QUESTION_TEXT,  // `text` and nothing around it; control tokens written out in it count as such
    QUESTION_IDS,   // `text` is token ids
} QuestionForm;

typedef struct Question {
    QuestionForm form;
    Chat chat;          // CHAT; of WORDS what is asked of the template (thinking), without messages
    const char *system; // WORDS; NULL = no system turn
    const char *text;   // not of CHAT
    uint32_t budget;    // image tokens of a picture, at most
    uint32_t new_tokens_max;
    Sampling sampling;
    Bytes stops[STOP_STRINGS_MAX];
    uint32_t stop_count;
} Question;

#endif
