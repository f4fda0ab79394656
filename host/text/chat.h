// SPDX-License-Identifier: Apache-2.0
// A conversation as callers build it: messages of parts, tool declarations, and what is asked of
// the template. Nothing here owns memory: texts and JSON values are borrowed and must outlive the
// Chat. JSON of clients stays text until the template writes it: a tree of it may be many times its
// size, and lives then for one tool only. chat_template.h turns a Chat into Gemma 4's prompt,
// chat_encode.h into tokens.
#ifndef HOST_TEXT_CHAT_H
#define HOST_TEXT_CHAT_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/json.h"
#include "base/status.h"

typedef enum ChatRole {
    CHAT_SYSTEM,
    CHAT_DEVELOPER,
    CHAT_USER,
    CHAT_ASSISTANT,
    CHAT_TOOL
} ChatRole;

typedef enum ChatPartKind { CHAT_TEXT, CHAT_IMAGE, CHAT_AUDIO, CHAT_VIDEO } ChatPartKind;

typedef struct ChatPart {
    ChatPartKind kind;
    Bytes text; // CHAT_TEXT
    // The part as it came, for whoever loads the media; NULL when built by hand
    const json_t *source;
} ChatPart;

typedef struct ChatToolCall {
    Bytes id; // data NULL: none
    Bytes name;
    Bytes arguments; // JSON text of an object; length 0: no arguments
} ChatToolCall;

typedef struct ChatToolResult {
    Bytes name;            // data NULL or length 0: "unknown"
    const json_t *content; // any value; an object is written as its entries; NULL is null
} ChatToolResult;

typedef struct ChatMessage {
    ChatRole role;
    const ChatPart *parts;
    size_t part_count;
    bool is_list;    // content was a list of parts: only a system message looks different then
    Bytes reasoning; // of an assistant; length 0: none
    const ChatToolCall *calls; // of an assistant
    size_t call_count;
    const ChatToolResult *results; // Google's own form: results on the assistant's message itself
    size_t result_count;
    Bytes tool_call_id, tool_name; // of a tool message; data NULL: none
    const json_t *result;          // of a tool message whose content is neither text nor parts
} ChatMessage;

typedef struct Chat {
    const ChatMessage *messages;
    size_t message_count;
    const Bytes *tools; // JSON texts of {"type": "function", "function": {...}}
    size_t tool_count;
    bool thinking;              // the model is asked to think
    bool preserve_thinking;     // reasoning of earlier turns that called tools is kept
    bool add_generation_prompt; // the prompt ends where the model is to speak
} Chat;

// What takes the places of a conversation's media: a picture or a sound is one, a film is one for
// every frame.
typedef struct ChatMedia {
    ChatPartKind kind;    // CHAT_IMAGE, CHAT_AUDIO or CHAT_VIDEO
    uint32_t token_count; // soft tokens
    uint32_t seconds;     // of a frame: since the beginning of the film; written before it
    bool film_goes_on;    // of a frame: the next one is of the same film
} ChatMedia;

typedef struct ChatMediaList {
    const ChatMedia *items;
    size_t count;
} ChatMediaList;

// A user's question after the media, and perhaps a system text (length 0: none): the conversation
// of a caption. `messages` has room for 2, `parts` for media.count + 2.
Chat chat_question(Bytes system, Bytes question, ChatMediaList media, ChatMessage *messages,
                   ChatPart *parts);

// Reads a list of messages as the OpenAI chat API has them: role, content (text, null or a list of
// parts of type text, image, image_url, audio, input_audio, video), reasoning or reasoning_content,
// tool_calls (arguments as an object or as JSON text), tool_call_id, name; and Google's
// tool_responses. `tools` is a list or NULL. Fills messages and tools of *out from the arena; the
// other fields stay as they are. The texts point into `messages` and the arena. E_TEMPLATE (the
// text names message and rule), E_MEMORY.
// For tests: the golden conversations have this form. Clients send a GenerateCall (rpc/generate.h).
Status chat_from_json(const json_t *messages, const json_t *tools, Arena *arena, Chat *out,
                      Error *error);

#endif
