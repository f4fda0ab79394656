// SPDX-License-Identifier: Apache-2.0
// From a question and its media to what the scheduler takes: token ids and spans of media. Either
// as a conversation (the chat template) or verbatim (text or ids as given, for `tessera logits`).
//
// Models without a tokenizer (synthetic:...) get made-up tokens, so that they can be run and
// measured: <bos>, then one token for every 4 bytes of system text and question, whose id is a hash
// of those bytes reduced to the ids that are no control tokens; media come first, as
// begin, soft tokens, end. Answers of such models are printed as <123>.
#ifndef HOST_REQUEST_PROMPT_H
#define HOST_REQUEST_PROMPT_H

#include "host/request/question.h"
#include "host/request/request_media.h"
#include "host/request/secret.h"
#include "host/text/chat_encode.h"
#include "host/text/token_list.h"
#include "host/text/tokenizer.h"
#include "scheduler/sched.h"
#include "weights/config.h"

// Shared by all threads; never changes.
typedef struct PromptMaker {
    const Tokenizer *tokenizer; // NULL: made-up tokens
    const Gemma4Config *config;
    Secret secret; // names pictures
} PromptMaker;

// Working memory of one thread, used again from prompt to prompt. Starts as zeros.
typedef struct PromptScratch {
    ChatScratch chat;
    ChatMedia *media; // [media_capacity]
    ChatPart *parts;  // [media_capacity + 2]
    uint32_t media_capacity;
} PromptScratch;

typedef struct Prompt {
    TokenList list; // owns `tokens`
    const int32_t *tokens;
    uint32_t token_count;
    SequenceMedia *media; // ascending; bytes borrowed from the request's media
    uint32_t media_count, media_capacity;
    uint32_t image_token_count; // of pictures and frames
} Prompt;

// `tokenizer` NULL: made-up tokens. Both must outlive the maker. The secret is still to be set.
PromptMaker prompt_maker(const Tokenizer *tokenizer, const Gemma4Config *config);

// Fills `out` (whose memory is used again). E_TEMPLATE, E_LIMIT, E_MEMORY.
Status prompt_make(const PromptMaker *maker, const Question *question, RequestMediaList media,
                   PromptScratch *scratch, Prompt *out, Error *error);

// The text, with control tokens written out in it read as such, or ids with commas or spaces
// between them; then every image token takes the next picture, and a soft token of another kind the
// next medium if that is of this kind: a single one becomes begin, soft tokens, end; a run that
// follows a begin token must be as long as the medium's and stays. E_ARGUMENT.
Status prompt_verbatim(const PromptMaker *maker, Bytes text, RequestMediaList media,
                       PromptScratch *scratch, Prompt *out, Error *error);
Status prompt_ids(const PromptMaker *maker, const char *ids, RequestMediaList media, Prompt *out,
                  Error *error);

// Tokens of the question with `image_count` pictures of its whole budget: for sizing.
Status prompt_count(const PromptMaker *maker, const Question *question, uint32_t image_count,
                    uint32_t *out, Error *error);

void prompt_free(Prompt *prompt);
void prompt_scratch_free(PromptScratch *scratch);

#endif
