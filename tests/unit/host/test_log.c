// SPDX-License-Identifier: Apache-2.0
// Whatever a text from outside holds, a line of the log has the keys and values that were meant:
// the line is read back by another reader and compared.
#include "base/log.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const hostile[] = {
    "",
    "plain",
    "two words",
    "x user=alice reason=OK",
    "\" user=alice reason=OK text=\"",
    "\\\" user=alice",
    "ends with a backslash\\",
    "a\nb user=root",
    "\r2026-01-01T00:00:00Z info done reason=stop",
    "\x1b]52;c;aGk=\a",
    "\x7f\x80\xff\xc2\x85",
    "gr\xc3\xbc\xc3\x9f",
    "=",
    "a=b",
    "%s%n%99999d",
    "\t",
};
enum { HOSTILE = sizeof hostile / sizeof hostile[0] };

// What the log writes goes to a file from here on.
static FILE *catch_log(void) {
    FILE *file = tmpfile();
    cr_assert_not_null(file);
    cr_assert_geq(dup2(fileno(file), STDERR_FILENO), 0);
    log_set_level("info");
    return file;
}

static void read_line(FILE *file, char line[4096]) {
    static long at;
    cr_assert_eq(fseek(file, at, SEEK_SET), 0);
    cr_assert_not_null(fgets(line, 4096, file));
    at = ftell(file);
    size_t length = strlen(line);
    cr_assert(length > 0 && line[length - 1] == '\n');
    line[length - 1] = '\0';
    for (size_t i = 0; i + 1 < length; i++) {
        cr_expect(line[i] >= ' ' && line[i] < 0x7f, "byte 0x%02x in a line", (uint8_t)line[i]);
    }
}

static char unescape(const char **at) {
    char c = *(*at)++;
    if (c != '\\') {
        return c;
    }
    c = *(*at)++;
    if (c == 'x') {
        char hex[3] = {(*at)[0], (*at)[1], 0};
        *at += 2;
        return (char)strtoul(hex, NULL, 16);
    }
    return c == 'n' ? '\n' : c;
}

// One pair as logfmt has it; what follows it. Fails the test where there is none.
static const char *read_pair(const char *at, char key[64], char value[4096]) {
    size_t length = strcspn(at, "=");
    cr_assert(length > 0 && length < 64 && at[length] == '=', "no pair: %s", at);
    memcpy(key, at, length);
    key[length] = '\0';
    at += length + 1;
    size_t count = 0;
    if (*at == '"') {
        at++;
        while (*at != '"' && *at != '\0') {
            value[count++] = unescape(&at);
        }
        cr_assert_eq(*at, '"', "quotes that do not end");
        at++;
    } else {
        while (*at != ' ' && *at != '\0') {
            value[count++] = *at++;
        }
    }
    value[count] = '\0';
    cr_assert(*at == ' ' || *at == '\0', "something behind a value: %s", at);
    return *at == ' ' ? at + 1 : at;
}

static const char *behind_words(const char *line, int words) {
    while (words-- > 0) {
        line += strcspn(line, " ") + 1;
    }
    return line;
}

static void expect_pair(const char **at, const char *key, const char *value) {
    char seen_key[64], seen[4096];
    *at = read_pair(*at, seen_key, seen);
    cr_expect_str_eq(seen_key, key);
    cr_expect_str_eq(seen, value);
}

Test(log, hostile_texts_are_read_back_as_the_one_value_they_are) {
    FILE *file = catch_log();
    for (int i = 0; i < HOSTILE; i++) {
        char line[4096];
        log_event(LOG_WARN, "refused", "connection=%u text=%s user=%s ms=%.1f bytes=%zu", 7u,
                  hostile[i], hostile[HOSTILE - 1 - i], 2.5, (size_t)99);
        read_line(file, line);
        const char *at = behind_words(line, 3);
        expect_pair(&at, "connection", "7");
        expect_pair(&at, "text", hostile[i]);
        expect_pair(&at, "user", hostile[HOSTILE - 1 - i]);
        expect_pair(&at, "ms", "2.5");
        expect_pair(&at, "bytes", "99");
        cr_expect_eq(*at, '\0');
    }
    fclose(file);
}

Test(log, a_long_value_is_cut_inside_its_quotes) {
    FILE *file = catch_log();
    char text[6000], line[4096], key[64], value[4096];
    memset(text, '\n', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    log_event(LOG_WARN, "prompt", "request=%u text=%s", 1u, text);
    read_line(file, line);
    const char *at = behind_words(line, 3);
    expect_pair(&at, "request", "1");
    at = read_pair(at, key, value);
    cr_expect_str_eq(key, "text");
    cr_expect_gt(strlen(value), 500);
    cr_expect_str_eq(value + strlen(value) - 3, "...");
    cr_expect_eq(*at, '\0');
    fclose(file);
}

Test(log, so_many_lines_a_second_and_the_others_are_counted) {
    LogLimit limit = {0};
    uint32_t written = 0;
    for (int i = 0; i < 1000; i++) {
        written += log_limit(&limit, 5000);
    }
    cr_expect_eq(written, LOG_LIMIT_LINES);
    cr_expect_eq(log_limit_left_out(&limit, 5000), 0, "not before the second is over");
    cr_expect_eq(log_limit_left_out(&limit, 5000 + LOG_LIMIT_MS), 1000 - LOG_LIMIT_LINES);
    cr_expect_eq(log_limit_left_out(&limit, 5000 + LOG_LIMIT_MS), 0, "once");
    cr_expect(log_limit(&limit, 5000 + LOG_LIMIT_MS));
}
