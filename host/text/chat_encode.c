// SPDX-License-Identifier: Apache-2.0
#include "host/text/chat_encode.h"

#include "base/check.h"

#include <stdlib.h>

typedef struct MediaForm {
    const char *word; // in sentences
    const char *begin, *soft, *end;
} MediaForm;

static const MediaForm forms[] = {
    [CHAT_IMAGE] = {"picture", "<|image>", "<|image|>", "<image|>"},
    [CHAT_AUDIO] = {"sound", "<|audio>", "<|audio|>", "<audio|>"},
    [CHAT_VIDEO] = {"film", "<|image>", "<|video|>", "<image|>"},
};

typedef struct Encoder {
    const Tokenizer *tokenizer;
    ChatMediaList media;
    size_t next; // medium
    ChatScratch *scratch;
    TokenList *tokens;
    Error *error;
} Encoder;

// The words since the last control token are one text for the tokenizer: the template's, the
// users', and the times of a film.
static Status encode_words(Encoder *encoder) {
    Buffer *text = &encoder->scratch->text;
    if (text->failed) {
        return error_set(encoder->error, E_MEMORY,
                         "not enough memory for the tokens of the conversation");
    }
    Bytes words = {text->data, text->length};
    if (words.length > 0) {
        TRY(tokenizer_encode(encoder->tokenizer, words, TOKENIZER_PLAIN,
                             &encoder->scratch->tokenizer, encoder->tokens, encoder->error));
    }
    buffer_clear(text);
    return OK;
}

static Status encode_control(Encoder *encoder, Bytes name, uint32_t count) {
    TRY(encode_words(encoder));
    int32_t id = tokenizer_find_bytes(encoder->tokenizer, name);
    if (id < 0) {
        return error_set(encoder->error, E_TOKENIZER,
                         "the conversation needs the control token %.*s, which this model's "
                         "vocabulary does not have",
                         (int)name.length, (const char *)name.data);
    }
    token_list_repeat(encoder->tokens, id, count);
    return OK;
}

// The next medium, between its begin and end token.
static Status encode_span(Encoder *encoder) {
    const ChatMedia *media = &encoder->media.items[encoder->next];
    const MediaForm *form = &forms[media->kind];
    if (media->token_count == 0) {
        return error_set(encoder->error, E_ARGUMENT, "medium %zu, a %s, takes no tokens",
                         encoder->next + 1, form->word);
    }
    TRY(encode_control(encoder, bytes_of_text(form->begin), 1));
    encoder->scratch->spans[encoder->next++] =
        (ChatSpan){(uint32_t)encoder->tokens->count, media->token_count};
    TRY(encode_control(encoder, bytes_of_text(form->soft), media->token_count));
    return encode_control(encoder, bytes_of_text(form->end), 1);
}

static Status encode_film(Encoder *encoder) {
    const ChatMedia *frame;
    bool first = true;
    do {
        REQUIRE(encoder->next < encoder->media.count);
        frame = &encoder->media.items[encoder->next];
        REQUIRE(frame->kind == CHAT_VIDEO);
        buffer_printf(&encoder->scratch->text, "%s%02u:%02u ", first ? "" : " ",
                      frame->seconds / 60, frame->seconds % 60);
        TRY(encode_span(encoder));
        first = false;
    } while (frame->film_goes_on);
    return OK;
}

static Status encode_media(Encoder *encoder, ChatPartKind kind, Bytes name) {
    if (encoder->next == encoder->media.count) {
        return kind == CHAT_IMAGE
                   ? error_set(encoder->error, E_TEMPLATE,
                               "the conversation has more pictures than the %zu that were given",
                               encoder->media.count)
                   : error_set(encoder->error, E_UNSUPPORTED,
                               "%.*s: audio and video are not served", (int)name.length,
                               (const char *)name.data);
    }
    ChatPartKind given = encoder->media.items[encoder->next].kind;
    if (given != kind) {
        return error_set(encoder->error, E_TEMPLATE,
                         "medium %zu is a %s, but the conversation has a place for a %s there",
                         encoder->next + 1, forms[given].word, forms[kind].word);
    }
    return kind == CHAT_VIDEO ? encode_film(encoder) : encode_span(encoder);
}

static Status encode_segment(Encoder *encoder, const ChatSegment *segment) {
    Bytes text = {encoder->scratch->prompt.text.data + segment->offset, segment->length};
    switch (segment->kind) {
    case CHAT_SEGMENT_TEXT:
        buffer_append(&encoder->scratch->text, text.data, text.length);
        return OK;
    case CHAT_SEGMENT_CONTROL:
        return encode_control(encoder, text, 1);
    case CHAT_SEGMENT_IMAGE:
        return encode_media(encoder, CHAT_IMAGE, text);
    case CHAT_SEGMENT_AUDIO:
        return encode_media(encoder, CHAT_AUDIO, text);
    case CHAT_SEGMENT_VIDEO:
        return encode_media(encoder, CHAT_VIDEO, text);
    }
    return OK;
}

static Status chat_scratch_fit(ChatScratch *scratch, size_t media_count, Error *error) {
    buffer_clear(&scratch->text);
    if (media_count > scratch->span_capacity) {
        ChatSpan *spans = realloc(scratch->spans, media_count * sizeof *spans);
        if (spans == NULL) {
            return error_set(error, E_MEMORY, "no memory for %zu pictures and sounds", media_count);
        }
        scratch->spans = spans;
        scratch->span_capacity = media_count;
    }
    return OK;
}

Status chat_encode(const Tokenizer *tokenizer, const Chat *chat, ChatMediaList media,
                   ChatScratch *scratch, TokenList *tokens, Error *error) {
    Encoder encoder = {tokenizer, media, 0, scratch, tokens, error};
    TRY(chat_scratch_fit(scratch, media.count, error));
    TRY(chat_template(chat, &scratch->prompt, error));
    for (size_t i = 0; i < scratch->prompt.segment_count; i++) {
        TRY(encode_segment(&encoder, &scratch->prompt.segments[i]));
    }
    TRY(encode_words(&encoder));
    if (encoder.next < media.count) {
        return error_set(error, E_TEMPLATE,
                         "%zu pictures were given, but the conversation has places for %zu",
                         media.count, encoder.next);
    }
    if (tokens->failed || tokens->count > UINT32_MAX) {
        return error_set(error, E_MEMORY, "not enough memory for the tokens of the conversation");
    }
    return OK;
}

void chat_scratch_free(ChatScratch *scratch) {
    chat_prompt_free(&scratch->prompt);
    free(scratch->spans);
    buffer_free(&scratch->text);
    tokenizer_scratch_free(&scratch->tokenizer);
}
