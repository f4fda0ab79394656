// SPDX-License-Identifier: Apache-2.0
// Stop strings: the cut is exact, nothing is shown that is taken back, and neither depends on how
// the text was divided.
#include "base/prng.h"
#include "host/text/stop.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

typedef struct Outcome {
    char text[256];
    int found;
} Outcome;

// Pushes `text` in pieces of the given sizes, cycling through them.
static Outcome run(const char *const *stops, size_t count, const char *text, const size_t *sizes,
                   size_t size_count) {
    Bytes strings[STOP_STRINGS_MAX];
    for (size_t i = 0; i < count; i++) {
        strings[i] = bytes_of_text(stops[i]);
    }
    Stop stop;
    Buffer out = {0};
    cr_assert_eq(stop_begin(&stop, strings, count, NULL), OK);
    bool found = false;
    size_t length = strlen(text);
    for (size_t at = 0, i = 0; at < length && !found; i++) {
        size_t piece = sizes[i % size_count] < length - at ? sizes[i % size_count] : length - at;
        found = stop_push(&stop, (Bytes){(const uint8_t *)text + at, piece}, &out);
        at += piece;
    }
    found = found || stop_flush(&stop, &out);
    cr_assert_eq(found, stop.found >= 0);
    Outcome outcome = {.found = stop.found};
    memcpy(outcome.text, out.length > 0 ? (char *)out.data : "", out.length);
    buffer_free(&out);
    stop_end(&stop);
    return outcome;
}

static void expect(const char *const *stops, size_t count, const char *text, const char *shown) {
    for (size_t size = 1; size <= 5; size++) {
        Outcome outcome = run(stops, count, text, &size, 1);
        cr_assert_str_eq(outcome.text, shown, "\"%s\" in pieces of %zu: \"%s\"", text, size,
                         outcome.text);
    }
}

#define STOPS(...)                                                                                 \
    (const char *const[]){__VA_ARGS__}, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)

Test(stop, cuts_exactly_before_the_string) {
    expect(STOPS("END"), "one END two", "one ");
    expect(STOPS("END"), "ENDone", "");
    expect(STOPS("END"), "one EN", "one EN");
    expect(STOPS("END"), "EENND END", "EENND ");
    expect(STOPS("aab"), "aaab", "a");
    expect(STOPS("\n\n", "###"), "a\nb###c\n\n", "a\nb");
    expect(STOPS("\xf0\x9f\xa6\x8a"),
           "a\xf0\x9f\xa6\x8a"
           "b",
           "a");
}

Test(stop, takes_the_one_that_begins_first) {
    expect(STOPS("bc", "abcd"), "xabcdy", "x");
    expect(STOPS("bc", "abcd"), "xabcy", "xa");
    expect(STOPS("bc", "abcd"), "xabc", "xa"); // the end decides
    expect(STOPS("ab", "abc"), "xabcd", "x");
}

Test(stop, holds_nothing_back_that_cannot_become_one) {
    Bytes strings[] = {bytes_of_text("STOP")};
    Stop stop;
    Buffer out = {0};
    cr_assert_eq(stop_begin(&stop, strings, 1, NULL), OK);
    cr_assert_not(stop_push(&stop, bytes_of_text("hello ST"), &out));
    cr_assert_str_eq((char *)out.data, "hello ");
    cr_assert_not(stop_push(&stop, bytes_of_text("ART"), &out));
    cr_assert_str_eq((char *)out.data, "hello START");
    cr_assert(stop_push(&stop, bytes_of_text("STOP and more"), &out));
    cr_assert(stop_push(&stop, bytes_of_text("more"), &out), "it stays stopped");
    cr_assert_str_eq((char *)out.data, "hello START");
    buffer_free(&out);
    stop_end(&stop);
}

Test(stop, refuses_empty_and_too_many) {
    Bytes strings[STOP_STRINGS_MAX + 1];
    Error error = {0};
    Stop stop;
    for (size_t i = 0; i <= STOP_STRINGS_MAX; i++) {
        strings[i] = bytes_of_text("x");
    }
    cr_assert_eq(stop_begin(&stop, strings, STOP_STRINGS_MAX + 1, &error), E_LIMIT);
    strings[1] = (Bytes){0};
    cr_assert_eq(stop_begin(&stop, strings, 2, &error), E_ARGUMENT);
    cr_assert_eq(stop_begin(&stop, NULL, 0, &error), OK);
    Buffer out = {0};
    cr_assert_not(stop_push(&stop, bytes_of_text("anything"), &out));
    cr_assert_str_eq((char *)out.data, "anything");
    buffer_free(&out);
    stop_end(&stop);
}

// Against the plain definition (the first place where some stop string stands), on random texts
// over two letters, divided at random.
Test(stop, equals_the_definition_on_random_texts) {
    const uint64_t seed = 20261124;
    cr_log_info("seed %llu", (unsigned long long)seed);
    uint64_t counter = 0;
    for (int round = 0; round < 5000; round++) {
        char stops[3][6], text[41] = {0};
        const char *names[3] = {stops[0], stops[1], stops[2]};
        size_t sizes[7], count = 1 + prng_u64(seed, 0, counter++) % 3;
        for (size_t i = 0; i < count; i++) {
            size_t length = 1 + prng_u64(seed, 0, counter++) % 5;
            for (size_t k = 0; k < length; k++) {
                stops[i][k] = "ab"[prng_u64(seed, 0, counter++) % 2];
            }
            stops[i][length] = '\0';
        }
        for (size_t i = 0; i < 40; i++) {
            text[i] = "aabc"[prng_u64(seed, 0, counter++) % 4];
        }
        for (size_t i = 0; i < 7; i++) {
            sizes[i] = 1 + prng_u64(seed, 0, counter++) % 6;
        }
        const char *first = NULL;
        for (size_t i = 0; i < count; i++) {
            const char *at = strstr(text, names[i]);
            first = at != NULL && (first == NULL || at < first) ? at : first;
        }
        Outcome outcome = run(names, count, text, sizes, 7);
        size_t want = first != NULL ? (size_t)(first - text) : 40;
        cr_assert_eq(strlen(outcome.text), want, "round %d: \"%s\"", round, text);
        cr_assert_eq(memcmp(outcome.text, text, want), 0);
        cr_assert_eq(outcome.found >= 0, first != NULL);
    }
}
