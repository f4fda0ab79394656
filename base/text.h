// SPDX-License-Identifier: Apache-2.0
// Text from outside: whether it is UTF-8, what is left of it without white space at its ends, and
// how it is shown where a terminal or a table would take some of it for commands.
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/bytes.h"

#include <stdint.h>

// Whether all of it is UTF-8. *at (NULL allowed) is the first byte that is not, else the length.
bool text_is_utf8(Bytes text, size_t *at);

// Without spaces, tabs and line ends (ASCII) at both ends.
Bytes text_trim(Bytes text);

// White_Space of Unicode.
bool text_is_white_space(uint32_t code);

#define TEXT_REPLACEMENT "\xef\xbf\xbd" // U+FFFD: stands for a byte that is not UTF-8

// Appends the text, each byte that is not UTF-8 as TEXT_REPLACEMENT.
void text_repair(Buffer *out, Bytes text);

// Without the byte order mark that some editors put before the first line.
Bytes text_skip_mark(Bytes text);

// What is never written as it is for people: control codes (C0, DEL, C1), line and paragraph
// separators, and what changes the direction of the text that follows.
bool text_is_control(uint32_t code);

typedef enum TextForm {
    TEXT_LINE,  // one line for people
    TEXT_FIELD, // one field of a line, which can be undone: a backslash is written twice
    TEXT_LINES, // several lines: line ends (\n) and tabs stay
} TextForm;

// Appends any bytes as printable UTF-8. Controls are written as in C, \n \t \r \x1b and beyond
// ASCII \u202e; bytes that are not UTF-8 as \xff.
void text_escape(Buffer *out, Bytes text, TextForm form);

#endif
