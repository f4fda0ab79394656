// SPDX-License-Identifier: Apache-2.0
// From a conversation to what the model is fed: token ids, and where the media lie in them. Control
// tokens go in by id and text is encoded as plain text, so that no message can forge one.
//
// Media become what transformers' processor makes of them:
//     a picture   <|image> <|image|> ... <image|>
//     a sound     <|audio> <|audio|> ... <audio|>
//     a film      00:00 <|image> <|video|> ... <image|> 00:01 <|image> <|video|> ... <image|> ...
#ifndef HOST_TEXT_CHAT_ENCODE_H
#define HOST_TEXT_CHAT_ENCODE_H

#include "host/text/chat_template.h"
#include "host/text/tokenizer.h"

// The soft tokens of one medium in the token list.
typedef struct ChatSpan {
    uint32_t begin; // index of the first; a begin token stands before it, an end token after
    uint32_t count;
} ChatSpan;

typedef struct ChatScratch {
    ChatPrompt prompt; // after a call: the text that was encoded, for logs
    ChatSpan *spans;   // after a call: of every medium
    size_t span_capacity;
    Buffer text; // words not encoded yet
    TokenizerScratch tokenizer;
} ChatScratch;

// Renders the conversation and appends its tokens. Its places for media take `media` in order:
// there must be as many, each of the kind of its place. E_TEMPLATE, E_LIMIT, E_MEMORY,
// E_UNSUPPORTED (a place for audio or video, and none is given), E_TOKENIZER (a control token is
// not in the vocabulary).
Status chat_encode(const Tokenizer *tokenizer, const Chat *chat, ChatMediaList media,
                   ChatScratch *scratch, TokenList *tokens, Error *error);

void chat_scratch_free(ChatScratch *scratch);

#endif
