// SPDX-License-Identifier: Apache-2.0
// Text from outside: what is UTF-8, what is trimmed, and that nothing a terminal obeys gets
// through.
#include "base/text.h"

#include "base/utf8.h"

#include <criterion/criterion.h>
#include <string.h>

static const char *escaped(const char *text, size_t length, TextForm form) {
    static Buffer out;
    buffer_clear(&out);
    text_escape(&out, (Bytes){(const uint8_t *)text, length}, form);
    buffer_append_text(&out, "");
    return (const char *)out.data;
}

#define ESCAPED(text, form) escaped(text, sizeof(text) - 1, form)

Test(text, controls_are_written_as_in_c) {
    cr_expect_str_eq(ESCAPED("a\tb\nc\rd", TEXT_LINE), "a\\tb\\nc\\rd");
    cr_expect_str_eq(ESCAPED("\x1b]52;c;aGk=\x07", TEXT_LINE), "\\x1b]52;c;aGk=\\x07");
    cr_expect_str_eq(ESCAPED("a\0b\x7f", TEXT_LINE), "a\\x00b\\x7f");
    cr_expect_str_eq(ESCAPED("\xc2\x9b"
                             "31m",
                             TEXT_LINE),
                     "\\u009b31m");
    cr_expect_str_eq(ESCAPED("\xe2\x80\xae"
                             "gpj.exe\xe2\x81\xa6",
                             TEXT_LINE),
                     "\\u202egpj.exe\\u2066");
    cr_expect_str_eq(ESCAPED("caf\xe9 \x9b", TEXT_LINE), "caf\\xe9 \\x9b");
}

Test(text, what_is_printable_stays) {
    static const char text[] = "caf\xc3\xa9 \xe4\xb8\xad \xf0\x9f\x90\x9f \"<&>' \\ #$%";
    cr_expect_str_eq(ESCAPED(text, TEXT_LINE), text);
    cr_expect_str_eq(ESCAPED(text, TEXT_LINES), text);
}

Test(text, a_field_can_be_undone_and_lines_keep_their_ends) {
    cr_expect_str_eq(ESCAPED("a\\n\n", TEXT_FIELD), "a\\\\n\\n");
    cr_expect_str_eq(ESCAPED("a\n\tb\r\n", TEXT_LINES), "a\n\tb\\r\n");
}

// Every code point, and every pair of bytes.
Test(text, nothing_that_is_written_is_a_control) {
    uint8_t bytes[4];
    for (uint32_t code = 0; code <= 0x10ffff; code++) {
        if (code >= 0xd800 && code <= 0xdfff) {
            continue;
        }
        size_t length = utf8_encode(code, bytes);
        const char *shown = escaped((const char *)bytes, length, TEXT_LINE);
        Bytes out = bytes_of_text(shown);
        uint32_t seen;
        for (size_t at = 0, step; at < out.length; at += step) {
            step = utf8_decode(out, at, &seen);
            cr_assert(step > 0 && !text_is_control(seen), "U+%04X", code);
        }
    }
    for (int pair = 0; pair < 0x10000; pair++) {
        const char two[] = {(char)(pair >> 8), (char)pair};
        Bytes out = bytes_of_text(escaped(two, 2, TEXT_LINE));
        cr_assert(text_is_utf8(out, NULL), "%04x", pair);
    }
}

Test(text, utf8_is_told_from_the_rest_and_where) {
    size_t at;
    cr_expect(text_is_utf8((Bytes){NULL, 0}, &at) && at == 0);
    cr_expect(text_is_utf8(bytes_of_text("caf\xc3\xa9"), &at) && at == 5);
    cr_expect(!text_is_utf8(bytes_of_text("caf\xe9!"), &at) && at == 3);
    cr_expect(!text_is_utf8(bytes_of_text("\xff\xfeW"), &at) && at == 0);
}

static void expect_bytes(Bytes text, const char *expected) {
    cr_expect(bytes_equal(text, bytes_of_text(expected)), "'%.*s'", (int)text.length,
              (const char *)text.data);
}

Test(text, white_space_and_a_byte_order_mark_are_trimmed) {
    expect_bytes(text_trim(bytes_of_text(" \t\r\n\v\fa b \n")), "a b");
    expect_bytes(text_trim(bytes_of_text(" \n")), "");
    expect_bytes(text_trim(bytes_of_text("")), "");
    expect_bytes(text_skip_mark(bytes_of_text("\xef\xbb\xbftoken")), "token");
    expect_bytes(text_skip_mark(bytes_of_text("token")), "token");
    expect_bytes(text_skip_mark(bytes_of_text("\xef\xbb")), "\xef\xbb");
}

// Python's str.isspace knows the same characters, and U+001C to U+001F beside them.
Test(text, white_space_is_that_of_unicode) {
    static const uint32_t spaces[] = {9,      10,     11,     12,     13,     0x20,   0x85,
                                      0xa0,   0x1680, 0x2000, 0x2001, 0x2002, 0x2003, 0x2004,
                                      0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200a, 0x2028,
                                      0x2029, 0x202f, 0x205f, 0x3000};
    size_t next = 0, count = sizeof spaces / sizeof *spaces;
    for (uint32_t code = 0; code <= 0x10ffff; code++) {
        bool wanted = next < count && spaces[next] == code;
        next += wanted;
        cr_assert_eq(text_is_white_space(code), wanted, "U+%04X", (unsigned)code);
    }
}

Test(text, each_byte_that_is_not_utf8_is_replaced) {
    Buffer out = {0};
    text_repair(&out, bytes_of_text("a\xff\xe2\x82 caf\xc3\xa9"));
    buffer_append_byte(&out, 0);
    cr_expect_str_eq((const char *)out.data,
                     "a" TEXT_REPLACEMENT TEXT_REPLACEMENT TEXT_REPLACEMENT " caf\xc3\xa9");
    buffer_free(&out);
}
