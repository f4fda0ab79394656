// SPDX-License-Identifier: Apache-2.0
#include "host/text/chat_encode.h"

#include "base/check.h"

static Status push_control(const Tokenizer *tokenizer, Bytes name, TokenList *tokens,
                           Error *error) {
    int32_t id = tokenizer_find_bytes(tokenizer, name);
    if (id < 0) {
        return error_set(error, E_TOKENIZER,
                         "the conversation needs the control token %.*s, which this model's "
                         "vocabulary does not have",
                         (int)name.length, (const char *)name.data);
    }
    token_list_push(tokens, id);
    return OK;
}

// <|image>, the soft tokens, <image|> (model card; transformers' processor writes the same).
static Status push_image(const Tokenizer *tokenizer, Bytes soft, uint32_t index, uint32_t count,
                         TokenList *tokens, ChatSpan *span, Error *error) {
    TRY(push_control(tokenizer, bytes_of_text("<|image>"), tokens, error));
    *span = (ChatSpan){(uint32_t)tokens->count, count, index};
    TRY(push_control(tokenizer, soft, tokens, error));
    if (count == 0) {
        return error_set(error, E_ARGUMENT, "picture %u takes no tokens", index + 1);
    }
    if (!tokens->failed) {
        token_list_repeat(tokens, tokens->ids[tokens->count - 1], count - 1);
    }
    return push_control(tokenizer, bytes_of_text("<image|>"), tokens, error);
}

Status chat_encode(const Tokenizer *tokenizer, const Chat *chat, const uint32_t *image_tokens,
                   size_t image_count, ChatScratch *scratch, TokenList *tokens, ChatSpan *spans,
                   Error *error) {
    const ChatPrompt *prompt = &scratch->prompt;
    uint32_t images = 0;
    TRY(chat_template(chat, &scratch->prompt, error));
    for (size_t i = 0; i < prompt->segment_count; i++) {
        const ChatSegment *segment = &prompt->segments[i];
        Bytes text = {prompt->text.data + segment->offset, segment->length};
        if (segment->kind == CHAT_SEGMENT_TEXT) {
            TRY(tokenizer_encode(tokenizer, text, TOKENIZER_PLAIN, &scratch->tokenizer, tokens,
                                 error));
        } else if (segment->kind == CHAT_SEGMENT_CONTROL) {
            TRY(push_control(tokenizer, text, tokens, error));
        } else if (segment->kind != CHAT_SEGMENT_IMAGE) {
            return error_set(error, E_UNSUPPORTED, "%.*s: audio and video are not served",
                             (int)text.length, (const char *)text.data);
        } else if (images == image_count) {
            return error_set(error, E_TEMPLATE,
                             "the conversation has more pictures than the %zu that were given",
                             image_count);
        } else {
            TRY(push_image(tokenizer, text, images, image_tokens[images], tokens, &spans[images],
                           error));
            images++;
        }
    }
    if (images < image_count) {
        return error_set(error, E_TEMPLATE,
                         "%zu pictures were given, but the conversation has places for %u",
                         image_count, images);
    }
    if (tokens->failed || tokens->count > UINT32_MAX) {
        return error_set(error, E_MEMORY, "not enough memory for the tokens of the conversation");
    }
    return OK;
}

void chat_scratch_free(ChatScratch *scratch) {
    chat_prompt_free(&scratch->prompt);
    tokenizer_scratch_free(&scratch->tokenizer);
}
