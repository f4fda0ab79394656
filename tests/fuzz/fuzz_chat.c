// SPDX-License-Identifier: Apache-2.0
// Conversations from anybody: {"messages": [...], "tools": ..., and the flags}. Besides not
// crashing: every refusal has a sentence, the segments cover the prompt, and control tokens stand
// only in segments of their own (one segment, one token of the template's).
#include "base/check.h"
#include "host/text/chat_template.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const ChatPrompt *prompt) {
    static const char *const tokens[] = {"<bos>",        "<|turn>",          "<turn|>",
                                         "<|think|>",    "<|channel>",       "<channel|>",
                                         "<|tool>",      "<tool|>",          "<|tool_call>",
                                         "<tool_call|>", "<|tool_response>", "<tool_response|>",
                                         "<|\"|>"};
    size_t at = 0;
    for (size_t i = 0; i < prompt->segment_count; i++) {
        const ChatSegment *segment = &prompt->segments[i];
        Bytes text = {prompt->text.data + segment->offset, segment->length};
        bool known = segment->kind != CHAT_SEGMENT_CONTROL;
        for (size_t k = 0; k < sizeof tokens / sizeof *tokens; k++) {
            known = known || bytes_equal(text, bytes_of_text(tokens[k]));
        }
        REQUIRE(known && segment->offset == at && segment->length > 0);
        at += segment->length;
    }
    REQUIRE(at == prompt->text.length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *root;
    if (json_parse((Bytes){data, size}, "fuzz", &root, NULL) != OK) {
        return 0;
    }
    Arena arena = {0};
    ChatPrompt prompt = {0};
    Error error = {0};
    Chat chat = {.thinking = json_is_true(json_object_get(root, "thinking")),
                 .preserve_thinking = json_is_true(json_object_get(root, "preserve_thinking")),
                 .add_generation_prompt = true};
    Status status = chat_from_json(json_object_get(root, "messages"),
                                   json_object_get(root, "tools"), &arena, &chat, &error);
    status = status == OK ? chat_template(&chat, &prompt, &error) : status;
    if (status == OK) {
        check(&prompt);
    } else {
        REQUIRE(status == E_TEMPLATE && error.status == status && error.text[0] != '\0');
    }
    chat_prompt_free(&prompt);
    arena_free(&arena);
    json_decref(root);
    return 0;
}
