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

static Status prompt_reset(Prompt *prompt, uint32_t image_count, Error *error) {
    prompt->list.count = 0;
    prompt->list.failed = false;
    prompt->media_count = 0;
    prompt->image_token_count = 0;
    if (image_count > prompt->media_capacity) {
        SequenceMedia *media = realloc(prompt->media, image_count * sizeof *media);
        if (media == NULL) {
            return prompt_no_memory(error);
        }
        prompt->media = media;
        prompt->media_capacity = image_count;
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

// The next picture begins at `position` of the list.
static void prompt_add_span(Prompt *prompt, size_t position, const Patches *patches) {
    prompt->media[prompt->media_count++] = (SequenceMedia){
        .kind = MEDIA_PICTURE,
        .position_first = (uint32_t)position,
        .row_count = patches->count,
        .pixels = patches->pixels,
        .positions = patches->positions,
        .name = patches->name,
    };
    prompt->image_token_count += patches->count;
}

static void prompt_push_image(const Gemma4Config *config, Prompt *prompt, const Patches *patches) {
    token_list_push(&prompt->list, config->image_begin_id);
    prompt_add_span(prompt, prompt->list.count, patches);
    token_list_repeat(&prompt->list, config->image_id, patches->count);
    token_list_push(&prompt->list, config->image_end_id);
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

static Status prompt_make_up(const PromptMaker *maker, const Chat *chat, const Patches *patches,
                             uint32_t image_count, Prompt *out, Error *error) {
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
            } else {
                REQUIRE(out->media_count < image_count);
                prompt_push_image(maker->config, out, &patches[out->media_count]);
            }
        }
    }
    return prompt_finish(out, error);
}

// Room for a conversation with `image_count` pictures.
static Status prompt_scratch_fit(PromptScratch *scratch, uint32_t image_count, Error *error) {
    if (scratch->parts != NULL && image_count <= scratch->image_capacity) {
        return OK;
    }
    uint32_t *counts = realloc(scratch->counts, (image_count + 1) * sizeof *counts);
    scratch->counts = counts != NULL ? counts : scratch->counts;
    ChatSpan *spans = realloc(scratch->spans, (image_count + 1) * sizeof *spans);
    scratch->spans = spans != NULL ? spans : scratch->spans;
    ChatPart *parts = realloc(scratch->parts, (image_count + 2) * sizeof *parts);
    scratch->parts = parts != NULL ? parts : scratch->parts;
    if (counts == NULL || spans == NULL || parts == NULL) {
        return prompt_no_memory(error);
    }
    scratch->image_capacity = image_count;
    return OK;
}

static Status prompt_converse(const PromptMaker *maker, const Chat *chat, const Patches *patches,
                              uint32_t image_count, PromptScratch *scratch, Prompt *out,
                              Error *error) {
    for (uint32_t i = 0; i < image_count; i++) {
        scratch->counts[i] = patches[i].count;
    }
    // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): what the scratch holds is freed with it
    TRY(chat_encode(maker->tokenizer, chat, scratch->counts, image_count, &scratch->chat,
                    &out->list, scratch->spans, error));
    for (uint32_t i = 0; i < image_count; i++) {
        prompt_add_span(out, scratch->spans[i].begin, &patches[scratch->spans[i].image]);
    }
    return prompt_finish(out, error);
}

Status prompt_make(const PromptMaker *maker, const Question *question, const Patches *patches,
                   uint32_t image_count, PromptScratch *scratch, Prompt *out, Error *error) {
    TRY(prompt_reset(out, image_count, error));
    TRY(prompt_scratch_fit(scratch, image_count, error));
    ChatMessage messages[2];
    Chat chat;
    if (question->chat != NULL) {
        chat = *question->chat;
    } else {
        Bytes system = question->system != NULL ? bytes_of_text(question->system) : (Bytes){0};
        chat = chat_question(system, bytes_of_text(question->text), image_count, messages,
                             scratch->parts);
    }
    chat.thinking = question->thinking;
    return maker->tokenizer != NULL
               ? prompt_converse(maker, &chat, patches, image_count, scratch, out, error)
               : prompt_make_up(maker, &chat, patches, image_count, out, error);
}

// Replaces the image tokens of `given` by pictures.
static Status prompt_place_images(const PromptMaker *maker, const TokenList *given,
                                  const Patches *patches, uint32_t image_count, Prompt *out,
                                  Error *error) {
    const Gemma4Config *config = maker->config;
    for (size_t at = 0; at < given->count;) {
        size_t run = 0;
        while (at + run < given->count && given->ids[at + run] == config->image_id) {
            run++;
        }
        if (run == 0) {
            token_list_push(&out->list, given->ids[at++]);
            continue;
        }
        bool framed = at > 0 && given->ids[at - 1] == config->image_begin_id;
        if (out->media_count == image_count) {
            return error_set(error, E_ARGUMENT,
                             "the prompt has an image token at position %zu for which there is no "
                             "picture; give one --image for each",
                             at);
        }
        const Patches *picture = &patches[out->media_count];
        if (!framed) {
            prompt_push_image(config, out, picture);
            at++;
            continue;
        }
        if (run != picture->count) {
            return error_set(
                error, E_ARGUMENT,
                "the prompt has %zu image tokens at position %zu, but picture %u takes "
                "%u; write a single one to have it done",
                run, at, out->media_count + 1, picture->count);
        }
        prompt_add_span(out, out->list.count, picture);
        token_list_repeat(&out->list, config->image_id, run);
        at += run;
    }
    if (out->media_count < image_count) {
        return error_set(error, E_ARGUMENT, "%u pictures, but the prompt has %u image tokens",
                         image_count, out->media_count);
    }
    return prompt_finish(out, error);
}

Status prompt_verbatim(const PromptMaker *maker, Bytes text, const Patches *patches,
                       uint32_t image_count, PromptScratch *scratch, Prompt *out, Error *error) {
    if (maker->tokenizer == NULL) {
        return error_set(error, E_UNSUPPORTED,
                         "this model has no tokenizer; give token ids with --tokens");
    }
    TRY(prompt_reset(out, image_count, error));
    TokenList given = {0};
    Status status = tokenizer_encode(maker->tokenizer, text, TOKENIZER_PARSE_SPECIAL,
                                     &scratch->chat.tokenizer, &given, error);
    if (status == OK && given.count == 0) {
        status = error_set(error, E_ARGUMENT, "the prompt is empty");
    }
    if (status == OK) {
        status = prompt_place_images(maker, &given, patches, image_count, out, error);
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

Status prompt_ids(const PromptMaker *maker, const char *ids, const Patches *patches,
                  uint32_t image_count, Prompt *out, Error *error) {
    TRY(prompt_reset(out, image_count, error));
    TokenList given = {0};
    Status status = prompt_parse_ids(maker->config, ids, &given, error);
    if (status == OK) {
        status = prompt_place_images(maker, &given, patches, image_count, out, error);
    }
    token_list_free(&given);
    return status;
}

Status prompt_count(const PromptMaker *maker, const Question *question, uint32_t image_count,
                    uint32_t *out, Error *error) {
    Patches *full = calloc((size_t)image_count + 1, sizeof *full);
    if (full == NULL) {
        return prompt_no_memory(error);
    }
    for (uint32_t i = 0; i < image_count; i++) {
        full[i].count = question->budget;
    }
    Prompt prompt = {0};
    PromptScratch scratch = {0};
    Status status = prompt_make(maker, question, full, image_count, &scratch, &prompt, error);
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
    free(scratch->counts);
    free(scratch->spans);
    free(scratch->parts);
    *scratch = (PromptScratch){0};
}
