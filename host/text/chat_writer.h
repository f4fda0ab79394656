// SPDX-License-Identifier: Apache-2.0
// What the files of the chat template share: writing segments with one sticky error, and the values
// of JSON as the template writes them. Private to host/text/chat_*.c.
#ifndef HOST_TEXT_CHAT_WRITER_H
#define HOST_TEXT_CHAT_WRITER_H

#include "host/text/chat_template.h"

typedef struct ChatWriter {
    ChatPrompt *prompt;
    Status status; // the first failure; later writes do nothing
    Error *error;
} ChatWriter;

void chat_write(ChatWriter *writer, Bytes text);
void chat_write_text(ChatWriter *writer, const char *text);
void chat_write_control(ChatWriter *writer, const char *token);
void chat_write_media(ChatWriter *writer, ChatPartKind kind);
void chat_write_fail(ChatWriter *writer, Status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// The text without white space at both ends, as Python's str.strip.
Bytes chat_trim(Bytes text);

typedef enum ChatKeys { CHAT_KEYS_BARE, CHAT_KEYS_QUOTED } ChatKeys;

// A value in Gemma's own notation: strings and, if asked, keys between <|"|> tokens, keys sorted.
void chat_write_value(ChatWriter *writer, const json_t *value, ChatKeys keys);

// The entries of an object, sorted, without the braces around them.
void chat_write_entries(ChatWriter *writer, const json_t *object, ChatKeys keys);

// The value as Python's str() would print it, perhaps in capitals.
void chat_write_plain(ChatWriter *writer, const json_t *value, bool capitals);

// <|"|>value<|"|>, the value as by chat_write_plain.
void chat_write_quoted(ChatWriter *writer, const json_t *value, bool capitals);

// What `if value` means in Jinja; NULL is undefined and false.
bool chat_is_true(const json_t *value);

// The entries of an object sorted as Jinja's dictsort does: by key, case ignored, ties in their own
// order. The caller frees. NULL: the object is empty, or no memory (then the writer has failed).
typedef struct ChatEntry {
    const char *key;
    json_t *value;
    size_t order;
} ChatEntry;
ChatEntry *chat_sorted(ChatWriter *writer, const json_t *object);

// <|tool>declaration:...<tool|> of one entry of the tools. In chat_tools.c.
void chat_write_tool(ChatWriter *writer, const json_t *tool, size_t index);

#endif
