// SPDX-License-Identifier: Apache-2.0
// From a conversation to what the model is fed: token ids, and where the pictures lie in them.
// Control tokens go in by id and text is encoded as plain text, so that no message can forge one.
#ifndef HOST_TEXT_CHAT_ENCODE_H
#define HOST_TEXT_CHAT_ENCODE_H

#include "host/text/chat_template.h"
#include "host/text/tokenizer.h"

// The soft tokens of one picture in the token list.
typedef struct ChatSpan {
    uint32_t begin; // index of the first soft token; <|image> stands before it, <image|> after
    uint32_t count;
    uint32_t image; // which picture: they are numbered in the order of the conversation
} ChatSpan;

typedef struct ChatScratch {
    ChatPrompt prompt; // after a call: the text that was encoded, for logs
    TokenizerScratch tokenizer;
} ChatScratch;

// Renders the conversation and appends its tokens. Picture i takes image_tokens[i] soft tokens and
// fills spans[i]; the conversation must have exactly `image_count` pictures. E_TEMPLATE, E_LIMIT,
// E_MEMORY, E_UNSUPPORTED (audio and video), E_TOKENIZER (a control token is not in the
// vocabulary).
Status chat_encode(const Tokenizer *tokenizer, const Chat *chat, const uint32_t *image_tokens,
                   size_t image_count, ChatScratch *scratch, TokenList *tokens, ChatSpan *spans,
                   Error *error);

void chat_scratch_free(ChatScratch *scratch);

#endif
