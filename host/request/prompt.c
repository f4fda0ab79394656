// SPDX-License-Identifier: Apache-2.0
#include "host/request/prompt.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/num.h"

#include <stdlib.h>
#include <string.h>

enum { MADE_UP_TOKEN_BYTES = 4 };

PromptMaker prompt_maker(const Tokenizer *tokenizer, const Gemma4Config *config) {
    return (PromptMaker){.tokenizer = tokenizer, .config = config};
}

static Status prompt_no_memory(Error *error) {
    return error_set(error, E_MEMORY, "no memory for the tokens of a prompt");
}

static Status prompt_reset(Prompt *prompt, uint32_t media_count, Error *error) {
    prompt->list.count = 0;
    prompt->list.failed = false;
    prompt->media_count = 0;
    prompt->image_token_count = 0;
    if (media_count > prompt->media_capacity) {
        SequenceMedia *media = realloc(prompt->media, media_count * sizeof *media);
        if (media == NULL) {
            return prompt_no_memory(error);
        }
        prompt->media = media;
        prompt->media_capacity = media_count;
    }
    return OK;
}

static Status prompt_finish(Prompt *prompt, Error *error) {
    if (prompt->list.failed) {
        return prompt_no_memory(error);
    }
    if (prompt->list.count > UINT32_MAX) {
        return error_set(error, E_LIMIT, "the prompt has more than 2^32 tokens");
    }
    prompt->tokens = prompt->list.ids;
    prompt->token_count = (uint32_t)prompt->list.count;
    return OK;
}

// The tokens that a medium becomes.
typedef struct PromptForm {
    int32_t begin, soft, end;
} PromptForm;

static PromptForm prompt_form(const Gemma4Config *c, MediaKind kind) {
    const PromptForm forms[MEDIA_KIND_COUNT] = {
        [MEDIA_PICTURE] = {c->image_begin_id, c->image_id, c->image_end_id},
        [MEDIA_SOUND] = {c->audio_begin_id, c->audio_id, c->audio_end_id},
        [MEDIA_FILM_FRAME] = {c->image_begin_id, c->video_id, c->image_end_id},
    };
    return forms[kind];
}

// The next medium begins at `position` of the list.
static void prompt_add_span(Prompt *prompt, size_t position, const RequestMedia *media) {
    SequenceMedia span = request_media_span(media, (uint32_t)position);
    prompt->media[prompt->media_count++] = span;
    prompt->image_token_count += media->kind == MEDIA_SOUND ? 0 : span.row_count;
}

static void prompt_push_media(const Gemma4Config *config, Prompt *prompt,
                              const RequestMedia *media) {
    PromptForm form = prompt_form(config, media->kind);
    token_list_push(&prompt->list, form.begin);
    prompt_add_span(prompt, prompt->list.count, media);
    token_list_repeat(&prompt->list, form.soft, request_media_rows(media));
    token_list_push(&prompt->list, form.end);
}

static bool prompt_is_control(const Gemma4Config *c, int32_t id) {
    const int32_t control[] = {
        c->pad_id,       c->bos_id,         c->eos_id,   c->image_begin_id, c->image_id,
        c->image_end_id, c->audio_begin_id, c->audio_id, c->audio_end_id,   c->video_id};
    for (size_t i = 0; i < sizeof control / sizeof control[0]; i++) {
        if (control[i] == id) {
            return true;
        }
    }
    return false;
}

static void prompt_push_made_up(const Gemma4Config *config, Prompt *prompt, Bytes text) {
    for (size_t at = 0; at < text.length; at += MADE_UP_TOKEN_BYTES) {
        Bytes bytes = {text.data + at, num_min(text.length - at, MADE_UP_TOKEN_BYTES)};
        int32_t id;
        uint64_t seed = 0;
        do {
            id = (int32_t)(hash64(bytes, seed++) % config->vocab_count);
        } while (prompt_is_control(config, id));
        token_list_push(&prompt->list, id);
    }
}

static Status prompt_make_up(const PromptMaker *maker, const Chat *chat, RequestMediaList media,
                             Prompt *out, Error *error) {
    token_list_push(&out->list, maker->config->bos_id);
    for (size_t t = 0; t < chat->tool_count; t++) {
        prompt_push_made_up(maker->config, out, chat->tools[t]);
    }
    for (size_t m = 0; m < chat->message_count; m++) {
        for (size_t c = 0; c < chat->messages[m].call_count; c++) {
            prompt_push_made_up(maker->config, out, chat->messages[m].calls[c].arguments);
        }
        for (size_t p = 0; p < chat->messages[m].part_count; p++) {
            const ChatPart *part = &chat->messages[m].parts[p];
            if (part->kind == CHAT_TEXT) {
                prompt_push_made_up(maker->config, out, part->text);
                continue;
            }
            const RequestMedia *next;
            do { // all frames of a film
                REQUIRE(out->media_count < media.count);
                next = &media.items[out->media_count];
                prompt_push_media(maker->config, out, next);
            } while (next->film_goes_on);
        }
    }
    return prompt_finish(out, error);
}

// The media as the conversation has them, and room for its parts.
static Status prompt_scratch_fill(PromptScratch *scratch, RequestMediaList media, Error *error) {
    if (scratch->parts == NULL || media.count > scratch->media_capacity) {
        ChatMedia *items = realloc(scratch->media, ((size_t)media.count + 1) * sizeof *items);
        scratch->media = items != NULL ? items : scratch->media;
        ChatPart *parts = realloc(scratch->parts, ((size_t)media.count + 2) * sizeof *parts);
        scratch->parts = parts != NULL ? parts : scratch->parts;
        if (items == NULL || parts == NULL) {
            return prompt_no_memory(error);
        }
        scratch->media_capacity = media.count;
    }
    for (uint32_t i = 0; i < media.count; i++) {
        scratch->media[i] = request_media_chat(&media.items[i]);
    }
    return OK;
}

static Status prompt_converse(const PromptMaker *maker, const Chat *chat, RequestMediaList media,
                              PromptScratch *scratch, Prompt *out, Error *error) {
    const ChatMediaList places = {scratch->media, media.count};
    // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): what the scratch holds is freed with it
    TRY(chat_encode(maker->tokenizer, chat, places, &scratch->chat, &out->list, error));
    for (uint32_t i = 0; i < media.count; i++) {
        prompt_add_span(out, scratch->chat.spans[i].begin, &media.items[i]);
    }
    return prompt_finish(out, error);
}

Status prompt_make(const PromptMaker *maker, const Question *question, RequestMediaList media,
                   PromptScratch *scratch, Prompt *out, Error *error) {
    TRY(prompt_reset(out, media.count, error));
    TRY(prompt_scratch_fill(scratch, media, error));
    ChatMessage messages[2];
    Chat chat = question->chat;
    if (question->form == QUESTION_WORDS) {
        Bytes system = question->system != NULL ? bytes_of_text(question->system) : (Bytes){0};
        chat =
            chat_question(system, bytes_of_text(question->text),
                          (ChatMediaList){scratch->media, media.count}, messages, scratch->parts);
        chat.thinking = question->chat.thinking;
    }
    return maker->tokenizer != NULL ? prompt_converse(maker, &chat, media, scratch, out, error)
                                    : prompt_make_up(maker, &chat, media, out, error);
}

static size_t prompt_run(const TokenList *given, size_t at, int32_t id) {
    size_t run = 0;
    while (at + run < given->count && given->ids[at + run] == id) {
        run++;
    }
    return run;
}

// Replaces the soft tokens of `given` by media. Those of a kind that is not the next one stay
// tokens, but for pictures'.
static Status prompt_place_media(const PromptMaker *maker, const TokenList *given,
                                 RequestMediaList media, Prompt *out, Error *error) {
    const Gemma4Config *config = maker->config;
    for (size_t at = 0; at < given->count;) {
        bool left = out->media_count < media.count;
        const RequestMedia *next = left ? &media.items[out->media_count] : NULL;
        PromptForm form = prompt_form(config, left ? next->kind : MEDIA_PICTURE);
        size_t run = prompt_run(given, at, form.soft);
        if (run == 0 && given->ids[at] != config->image_id) {
            token_list_push(&out->list, given->ids[at++]);
            continue;
        }
        if (run == 0 || next == NULL) {
            return error_set(error, E_ARGUMENT,
                             "the prompt has an image token at position %zu for which there is no "
                             "picture; give one --image for each",
                             at);
        }
        if (at == 0 || given->ids[at - 1] != form.begin) {
            prompt_push_media(config, out, next);
            at++;
            continue;
        }
        if (run != request_media_rows(next)) {
            return error_set(
                error, E_ARGUMENT,
                "the prompt has %zu image tokens at position %zu, but picture %u takes "
                "%u; write a single one to have it done",
                run, at, out->media_count + 1, request_media_rows(next));
        }
        prompt_add_span(out, out->list.count, next);
        token_list_repeat(&out->list, form.soft, run);
        at += run;
    }
    if (out->media_count < media.count) {
        return error_set(error, E_ARGUMENT, "%u pictures, but the prompt has %u image tokens",
                         media.count, out->media_count);
    }
    return prompt_finish(out, error);
}

Status prompt_verbatim(const PromptMaker *maker, Bytes text, RequestMediaList media,
                       PromptScratch *scratch, Prompt *out, Error *error) {
    if (maker->tokenizer == NULL) {
        return error_set(error, E_UNSUPPORTED,
                         "this model has no tokenizer; give token ids with --tokens");
    }
    TRY(prompt_reset(out, media.count, error));
    TokenList given = {0};
    Status status = tokenizer_encode(maker->tokenizer, text, TOKENIZER_PARSE_SPECIAL,
                                     &scratch->chat.tokenizer, &given, error);
    if (status == OK && given.count == 0) {
        status = error_set(error, E_ARGUMENT, "the prompt is empty");
    }
    if (status == OK) {
        status = prompt_place_media(maker, &given, media, out, error);
    }
    token_list_free(&given);
    return status;
}

static Status prompt_parse_ids(const Gemma4Config *config, const char *ids, TokenList *out,
                               Error *error) {
    for (const char *at = ids + strspn(ids, ", \t\n"); *at != '\0'; at += strspn(at, ", \t\n")) {
        char *end;
        unsigned long id = strtoul(at, &end, 10);
        if (*at < '0' || *at > '9' || id >= config->vocab_count ||
            (*end != '\0' && strchr(", \t\n", *end) == NULL)) {
            return error_set(error, E_ARGUMENT, "--tokens: '%.20s' is not a token id from 0 to %u",
                             at, config->vocab_count - 1);
        }
        token_list_push(out, (int32_t)id);
        at = end;
    }
    if (out->count == 0) {
        return error_set(error, E_ARGUMENT, "--tokens: there is no token id in it");
    }
    return out->failed ? prompt_no_memory(error) : OK;
}

Status prompt_ids(const PromptMaker *maker, const char *ids, RequestMediaList media, Prompt *out,
                  Error *error) {
    TRY(prompt_reset(out, media.count, error));
    TokenList given = {0};
    Status status = prompt_parse_ids(maker->config, ids, &given, error);
    if (status == OK) {
        status = prompt_place_media(maker, &given, media, out, error);
    }
    token_list_free(&given);
    return status;
}

Status prompt_count(const PromptMaker *maker, const Question *question, uint32_t image_count,
                    uint32_t *out, Error *error) {
    RequestMedia *full = calloc((size_t)image_count + 1, sizeof *full);
    if (full == NULL) {
        return prompt_no_memory(error);
    }
    for (uint32_t i = 0; i < image_count; i++) {
        full[i].patches.count = question->budget;
    }
    Prompt prompt = {0};
    PromptScratch scratch = {0};
    Status status = prompt_make(maker, question, (RequestMediaList){full, image_count}, &scratch,
                                &prompt, error);
    *out = prompt.token_count;
    prompt_scratch_free(&scratch);
    prompt_free(&prompt);
    free(full);
    return status;
}

void prompt_free(Prompt *prompt) {
    token_list_free(&prompt->list);
    free(prompt->media);
    *prompt = (Prompt){0};
}

void prompt_scratch_free(PromptScratch *scratch) {
    chat_scratch_free(&scratch->chat);
    free(scratch->media);
    free(scratch->parts);
    *scratch = (PromptScratch){0};
}
