// SPDX-License-Identifier: Apache-2.0
// Gemma 4's chat template, natively (Google's canonical template of 2026-07-09 for the large
// models; docs/text.md names the source). Its output is not one string but segments, so that what a
// user wrote can never become a control token: only CHAT_SEGMENT_CONTROL holds those. All segments
// one after another are, character for character, what the template renders.
#ifndef HOST_TEXT_CHAT_TEMPLATE_H
#define HOST_TEXT_CHAT_TEMPLATE_H

#include "host/text/chat.h"

typedef enum ChatSegmentKind {
    CHAT_SEGMENT_TEXT,    // words of the template and of the users, together: one run of text
    CHAT_SEGMENT_CONTROL, // exactly one control token, by its name
    CHAT_SEGMENT_IMAGE,   // a place for media, written as its one token
    CHAT_SEGMENT_AUDIO,
    CHAT_SEGMENT_VIDEO
} ChatSegmentKind;

typedef struct ChatSegment {
    ChatSegmentKind kind;
    size_t offset, length; // in ChatPrompt.text
} ChatSegment;

// A zero ChatPrompt is empty; its memory is used again by the next chat_template.
typedef struct ChatPrompt {
    Buffer text;
    ChatSegment *segments;
    size_t segment_count, segment_capacity;
} ChatPrompt;

// Writes the whole prompt, <bos> first. E_TEMPLATE (the text names the message or the tool and the
// rule), E_MEMORY.
Status chat_template(const Chat *chat, ChatPrompt *out, Error *error);

void chat_prompt_free(ChatPrompt *prompt);

#endif
