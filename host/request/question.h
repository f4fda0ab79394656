// SPDX-License-Identifier: Apache-2.0
// What is asked of the model apart from the pictures: the words, how to draw tokens, when to stop.
// One Question serves many requests and never changes while they run. Texts are borrowed.
#ifndef HOST_REQUEST_QUESTION_H
#define HOST_REQUEST_QUESTION_H

#include "base/bytes.h"
#include "host/text/chat.h"
#include "host/text/stop.h"
#include "scheduler/batch.h"

typedef enum QuestionForm {
    QUESTION_CHAT, // a conversation, in the form of the chat template
    QUESTION_TEXT, // `text` and nothing around it; control tokens written out in it count as such
    QUESTION_IDS,  // `text` is token ids
} QuestionForm;

typedef struct Question {
    QuestionForm form;
    const char *system; // NULL = no system turn
    const char *text;
    const Chat *chat; // a whole conversation instead of system and text; NULL = those two. The
                      // other fields of it that are set here too (thinking) are not read.
    bool thinking;
    uint32_t budget; // image tokens of a picture, at most
    uint32_t new_tokens_max;
    Sampling sampling;
    Bytes stops[STOP_STRINGS_MAX];
    uint32_t stop_count;
} Question;

#endif
