// SPDX-License-Identifier: Apache-2.0
#include "host/text/chat_template.h"

#include "host/text/chat_writer.h"

#include <stdlib.h>
#include <string.h>

// What the last message that is not a tool's ended with; it decides how the prompt ends.
typedef enum Ending { ENDING_TURN, ENDING_CALL, ENDING_RESULT } Ending;

typedef struct Renderer {
    const Chat *chat;
    ChatWriter writer;
    size_t first;         // messages before it went into the opening system turn
    size_t answers_begin; // one past the last user message
    Ending ending;
} Renderer;

static bool is_system(ChatRole role) {
    return role == CHAT_SYSTEM || role == CHAT_DEVELOPER;
}

static void begin_turn(ChatWriter *writer, const char *role) {
    chat_write_control(writer, "<|turn>");
    chat_write_text(writer, role);
    chat_write_text(writer, "\n");
}

static void end_turn(ChatWriter *writer) {
    chat_write_control(writer, "<turn|>");
    chat_write_text(writer, "\n");
}

static void begin_thought(ChatWriter *writer) {
    chat_write_control(writer, "<|channel>");
    chat_write_text(writer, "thought\n");
}

// The value of a JSON text, for the caller to json_decref; NULL when it is none.
static json_t *parse(ChatWriter *writer, Bytes text) {
    json_t *value = NULL;
    if (text.length > 0 && json_parse(text, "JSON", &value, NULL) == E_MEMORY) {
        chat_write_fail(writer, E_MEMORY, "not enough memory for the prompt");
    }
    return value;
}

// ---- the opening turn ---------------------------------------------------------------------------

static void write_opening(Renderer *renderer) {
    const Chat *chat = renderer->chat;
    ChatWriter *writer = &renderer->writer;
    const ChatMessage *system = is_system(chat->messages[0].role) ? &chat->messages[0] : NULL;
    if (!chat->thinking && chat->tool_count == 0 && system == NULL) {
        return;
    }
    begin_turn(writer, "system");
    if (chat->thinking) {
        chat_write_control(writer, "<|think|>");
        chat_write_text(writer, "\n");
    }
    for (size_t i = 0; system != NULL && i < system->part_count; i++) {
        if (system->parts[i].kind != CHAT_TEXT) {
            chat_write_fail(writer, E_TEMPLATE,
                            "messages[0]: a system message at the beginning may hold text only");
        }
        chat_write(writer, chat_trim(system->parts[i].text));
        chat_write_text(writer, system->is_list ? " " : "");
    }
    for (size_t i = 0; i < chat->tool_count; i++) {
        json_t *tool = parse(writer, chat->tools[i]);
        chat_write_tool(writer, tool, i);
        json_decref(tool);
    }
    end_turn(writer);
    renderer->first = system != NULL;
}

// ---- content ------------------------------------------------------------------------------------

static Bytes part_before(Bytes text, const char *token, Bytes *rest) {
    size_t length = strlen(token);
    const uint8_t *found = text.length > 0 ? memmem(text.data, text.length, token, length) : NULL;
    if (found == NULL) {
        *rest = (Bytes){0};
        return text;
    }
    size_t before = (size_t)(found - text.data);
    *rest = (Bytes){found + length, text.length - before - length};
    return (Bytes){text.data, before};
}

// An answer without its thoughts: of what stands before each end of a channel, only what stands
// before the channel's beginning.
static void write_without_thoughts(ChatWriter *writer, Bytes text) {
    Buffer kept = {0};
    while (text.length > 0) {
        Bytes rest, thought;
        Bytes part = part_before(part_before(text, "<channel|>", &rest), "<|channel>", &thought);
        buffer_append(&kept, part.data, part.length);
        text = rest;
    }
    if (kept.failed) {
        chat_write_fail(writer, E_MEMORY, "not enough memory for the prompt");
    }
    chat_write(writer, chat_trim((Bytes){kept.data, kept.length}));
    buffer_free(&kept);
}

static void write_content(ChatWriter *writer, const ChatMessage *message) {
    for (size_t i = 0; i < message->part_count; i++) {
        const ChatPart *part = &message->parts[i];
        if (part->kind != CHAT_TEXT) {
            chat_write_media(writer, part->kind);
        } else if (message->role == CHAT_ASSISTANT) {
            write_without_thoughts(writer, part->text);
        } else {
            chat_write(writer, chat_trim(part->text));
        }
    }
}

// ---- tools --------------------------------------------------------------------------------------

static void write_calls(ChatWriter *writer, const ChatMessage *message, size_t index) {
    for (size_t i = 0; i < message->call_count; i++) {
        const ChatToolCall *call = &message->calls[i];
        json_t *arguments = parse(writer, call->arguments);
        if (call->arguments.length > 0 && !json_is_object(arguments)) {
            chat_write_fail(writer, E_TEMPLATE,
                            "messages[%zu]: the arguments of a tool call must be a JSON object",
                            index);
        }
        chat_write_control(writer, "<|tool_call>");
        chat_write_text(writer, "call:");
        chat_write(writer, call->name);
        chat_write_text(writer, "{");
        chat_write_entries(writer, arguments, CHAT_KEYS_BARE);
        chat_write_text(writer, "}");
        chat_write_control(writer, "<tool_call|>");
        json_decref(arguments);
    }
}

static void begin_result(ChatWriter *writer, Bytes name) {
    chat_write_control(writer, "<|tool_response>");
    chat_write_text(writer, "response:");
    chat_write(writer, name.length > 0 ? name : bytes_of_text("unknown"));
    chat_write_text(writer, "{");
}

static void end_result(ChatWriter *writer) {
    chat_write_text(writer, "}");
    chat_write_control(writer, "<tool_response|>");
}

static void write_result(ChatWriter *writer, Bytes name, const json_t *content) {
    begin_result(writer, name);
    if (json_is_object(content)) {
        chat_write_entries(writer, content, CHAT_KEYS_BARE);
    } else {
        chat_write_text(writer, "value:");
        chat_write_value(writer, content, CHAT_KEYS_BARE);
    }
    end_result(writer);
}

// A result that came as text or parts: the texts as one string, the media after it.
static void write_result_parts(ChatWriter *writer, Bytes name, const ChatMessage *tool) {
    begin_result(writer, name);
    chat_write_text(writer, "value:");
    chat_write_control(writer, "<|\"|>");
    for (size_t i = 0; i < tool->part_count; i++) {
        chat_write(writer, tool->parts[i].kind == CHAT_TEXT ? tool->parts[i].text : (Bytes){0});
    }
    chat_write_control(writer, "<|\"|>");
    end_result(writer);
    for (size_t i = 0; i < tool->part_count; i++) {
        chat_write_media(writer, tool->parts[i].kind);
    }
}

// A tool message names its call by id, and two absent ids agree; the last call that fits wins.
static Bytes result_name(const ChatMessage *message, const ChatMessage *tool) {
    Bytes name = tool->tool_name;
    for (size_t i = 0; i < message->call_count; i++) {
        Bytes id = message->calls[i].id;
        if ((id.data == NULL) == (tool->tool_call_id.data == NULL) &&
            bytes_equal(id, tool->tool_call_id)) {
            name = message->calls[i].name;
        }
    }
    return name;
}

// The results that belong to message `index`: its own, or those of the tool messages after it.
// Returns whether there were any.
static bool write_results(Renderer *renderer, size_t index) {
    const Chat *chat = renderer->chat;
    ChatWriter *writer = &renderer->writer;
    const ChatMessage *message = &chat->messages[index];
    for (size_t i = 0; i < message->result_count; i++) {
        write_result(writer, message->results[i].name, message->results[i].content);
    }
    if (message->result_count > 0 || message->call_count == 0) {
        return message->result_count > 0;
    }
    size_t next = index + 1;
    for (; next < chat->message_count && chat->messages[next].role == CHAT_TOOL; next++) {
        const ChatMessage *tool = &chat->messages[next];
        Bytes name = result_name(message, tool);
        if (tool->part_count > 0 || tool->is_list) {
            write_result_parts(writer, name, tool);
        } else {
            write_result(writer, name, tool->result);
        }
    }
    return next > index + 1;
}

// ---- messages -----------------------------------------------------------------------------------

// The next message that is not a tool's, or NULL.
static const ChatMessage *next_speaker(const Chat *chat, size_t index) {
    for (size_t i = index + 1; i < chat->message_count; i++) {
        if (chat->messages[i].role != CHAT_TOOL) {
            return &chat->messages[i];
        }
    }
    return NULL;
}

static void write_message(Renderer *renderer, size_t index, const ChatMessage *previous) {
    static const char *const names[] = {"system", "developer", "user", "model"};
    const Chat *chat = renderer->chat;
    ChatWriter *writer = &renderer->writer;
    const ChatMessage *message = &chat->messages[index];
    bool assistant = message->role == CHAT_ASSISTANT;
    if (!assistant || previous == NULL || previous->role != CHAT_ASSISTANT) {
        begin_turn(writer, names[message->role]);
    }
    bool keep =
        index >= renderer->answers_begin || (chat->preserve_thinking && message->call_count > 0);
    if (keep && message->reasoning.length > 0) {
        begin_thought(writer);
        chat_write(writer, message->reasoning);
        chat_write_text(writer, "\n");
        chat_write_control(writer, "<channel|>");
    }
    write_calls(writer, message, index);
    bool has_results = write_results(renderer, index);
    renderer->ending = has_results               ? ENDING_RESULT
                       : message->call_count > 0 ? ENDING_CALL
                                                 : ENDING_TURN;
    size_t before = writer->prompt->text.length;
    write_content(writer, message);
    bool has_content = writer->prompt->text.length > before;

    const ChatMessage *next = next_speaker(chat, index);
    bool goes_on = assistant && next != NULL && next->role == CHAT_ASSISTANT;
    if (renderer->ending == ENDING_CALL) {
        chat_write_control(writer, "<|tool_response>"); // the caller's turn
    } else if (!goes_on && !(has_results && !has_content && next == NULL)) {
        end_turn(writer);
    }
}

// Tool results that no call asked for would be left out by the template without a word.
static void check_tools(Renderer *renderer) {
    const Chat *chat = renderer->chat;
    const ChatMessage *speaker = NULL;
    for (size_t i = 0; i < chat->message_count; i++) {
        if (chat->messages[i].role != CHAT_TOOL) {
            speaker = &chat->messages[i];
        } else if (speaker == NULL || speaker->call_count == 0 || speaker->result_count > 0) {
            chat_write_fail(&renderer->writer, E_TEMPLATE,
                            "messages[%zu]: a tool message must follow an assistant message with "
                            "the tool_calls it answers",
                            i);
        }
    }
}

static void write_generation_prompt(Renderer *renderer) {
    ChatWriter *writer = &renderer->writer;
    if (renderer->ending == ENDING_TURN) {
        begin_turn(writer, "model");
        if (!renderer->chat->thinking) {
            begin_thought(writer);
            chat_write_control(writer, "<channel|>");
        }
    } else if (renderer->ending == ENDING_RESULT && renderer->chat->thinking) {
        begin_thought(writer);
    }
}

Status chat_template(const Chat *chat, ChatPrompt *out, Error *error) {
    buffer_clear(&out->text);
    out->segment_count = 0;
    if (chat->message_count == 0) {
        return error_set(error, E_TEMPLATE, "the conversation has no messages");
    }
    Renderer renderer = {.chat = chat, .writer = {.prompt = out, .error = error}};
    check_tools(&renderer);
    chat_write_control(&renderer.writer, "<bos>");
    write_opening(&renderer);
    for (size_t i = renderer.first; i < chat->message_count; i++) {
        if (chat->messages[i].role == CHAT_USER) {
            renderer.answers_begin = i + 1;
        }
    }
    const ChatMessage *previous = NULL;
    for (size_t i = renderer.first; i < chat->message_count; i++) {
        if (chat->messages[i].role != CHAT_TOOL) {
            write_message(&renderer, i, previous);
            previous = &chat->messages[i];
        }
    }
    if (chat->add_generation_prompt) {
        write_generation_prompt(&renderer);
    }
    return renderer.writer.status;
}

void chat_prompt_free(ChatPrompt *prompt) {
    buffer_free(&prompt->text);
    free(prompt->segments);
    *prompt = (ChatPrompt){0};
}
