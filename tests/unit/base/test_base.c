// SPDX-License-Identifier: Apache-2.0
// The small tools everybody leans on: errors, numbers, memory, bytes, JSON, UTF-8, files.
#include "base/arena.h"
#include "base/file.h"
#include "base/file_write.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/num.h"
#include "base/prng.h"
#include "base/utf8.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Test(status, every_row_has_a_name_and_a_text) {
    const Status all[] = {
#define STATUS(name, number, class, retryable, text) name,
#include "base/status.def"
#undef STATUS
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        cr_assert_lt(all[i], 0);
        cr_assert_eq(strncmp(status_name(all[i]), "E_", 2), 0);
        cr_assert_gt(strlen(status_text(all[i])), 0);
        for (size_t j = 0; j < i; j++) {
            cr_assert_neq(all[i], all[j], "%s and %s share a number", status_name(all[i]),
                          status_name(all[j]));
        }
    }
    cr_assert_str_eq(status_name(OK), "OK");
    cr_assert_str_eq(status_name(-9), "E_UNKNOWN");
    cr_assert(status_retryable(E_BUSY));
    cr_assert_eq(status_class(E_BUSY), STATUS_BUSY);
}

Test(status, a_prefix_goes_before_the_text_and_long_texts_are_cut) {
    Error error;
    cr_assert_eq(error_set(&error, E_IO, "disk %d", 7), E_IO);
    cr_assert_eq(error_prefix(&error, E_IO, "%s", "a.bin"), E_IO);
    cr_assert_str_eq(error.text, "a.bin: disk 7");
    char big[3000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    error_set(&error, E_IO, "%s", big);
    cr_assert_eq(strlen(error.text), ERROR_TEXT_MAX - 1);
    cr_assert_eq(error_set(NULL, E_IO, "nobody listens"), E_IO);
}

Test(num, overflow_is_seen) {
    uint64_t out;
    cr_assert(num_mul(UINT32_MAX, UINT32_MAX, &out));
    cr_assert_not(num_mul(UINT64_MAX, 2, &out));
    cr_assert_not(num_add(UINT64_MAX, 1, &out));
    const uint64_t shape[] = {1u << 31, 1u << 31, 4};
    cr_assert_not(num_product(shape, 3, &out));
    cr_assert(num_product(shape, 0, &out));
    cr_assert_eq(out, 1);
    cr_assert(num_in_range(5, 5, 10));
    cr_assert_not(num_in_range(6, 5, 10));
    cr_assert_not(num_in_range(UINT64_MAX, 2, 10));
    cr_assert_not(num_in_range(2, UINT64_MAX, 10));
    cr_assert(num_in_range(10, 0, 10));
}

Test(arena, memory_is_zero_aligned_and_separate) {
    Arena arena = {0};
    unsigned char *last = NULL;
    for (size_t i = 1; i < 3000; i += 7) {
        unsigned char *p = arena_take(&arena, i);
        cr_assert_eq((uintptr_t)p % 16, 0);
        for (size_t j = 0; j < i; j++) {
            cr_assert_eq(p[j], 0);
        }
        memset(p, 0xff, i);
        cr_assert_neq(p, last);
        last = p;
    }
    cr_assert_not_null(arena_take(&arena, 1000000));
    cr_assert_null(arena_take_array(&arena, SIZE_MAX / 2, 4));
    cr_assert_str_eq(arena_copy_text(&arena, "hello", 4), "hell");
    arena_free(&arena);
    cr_assert_eq(arena.bytes_used, 0);
}

Test(bytes, a_buffer_grows_and_stays_terminated) {
    Buffer buffer = {0};
    for (int i = 0; i < 1000; i++) {
        buffer_printf(&buffer, "%d,", i);
    }
    buffer_append_byte(&buffer, '!');
    cr_assert_not(buffer.failed);
    cr_assert_eq(strlen((char *)buffer.data), buffer.length);
    cr_assert_eq(buffer.length, 3891);
    buffer_clear(&buffer);
    cr_assert_eq(buffer.length, 0);
    buffer_append(&buffer, NULL, SIZE_MAX / 2);
    cr_assert(buffer.failed);
    buffer_append_text(&buffer, "ignored");
    cr_assert_eq(buffer.length, 0);
    buffer_free(&buffer);
}

Test(json, errors_name_the_source_and_the_place) {
    Error error;
    json_t *root;
    cr_assert_eq(json_parse(bytes_of_text("{\"a\": 1,\n \"b\": }"), "config.json", &root, &error),
                 E_JSON);
    cr_assert(strstr(error.text, "config.json") && strstr(error.text, "line 2"), "%s", error.text);
    cr_assert_eq(json_parse(bytes_of_text("{\"a\": 1, \"a\": 2}"), "x", &root, &error), E_JSON);
    cr_assert_eq(json_parse(bytes_of_text(""), "x", &root, &error), E_JSON);
    cr_assert_eq(json_parse(bytes_of_text("[1, 2]"), "x", &root, &error), OK);
    cr_assert_eq(json_array_size(root), 2);
    json_decref(root);
}

Test(json, written_strings_parse_back) {
    const char text[] = "q\"b\\n\n\t\r\x01\x7f \xc3\xa9 \xf0\x9f\x98\x80 bad:\xff\xc3";
    Buffer out = {0};
    buffer_append_byte(&out, '[');
    json_append_string(&out, (Bytes){(const uint8_t *)text, sizeof text - 1});
    buffer_append_byte(&out, ']');
    json_t *root;
    cr_assert_eq(json_parse((Bytes){out.data, out.length}, "x", &root, NULL), OK);
    const char *back = json_string_value(json_array_get(root, 0));
    cr_assert_str_eq(
        back, "q\"b\\n\n\t\r\x01\x7f \xc3\xa9 \xf0\x9f\x98\x80 bad:\xef\xbf\xbd\xef\xbf\xbd");
    json_decref(root);
    buffer_free(&out);
}

Test(utf8, every_scalar_value_round_trips) {
    for (uint32_t code = 0; code <= 0x10ffff; code++) {
        if (code >= 0xd800 && code <= 0xdfff) {
            continue;
        }
        uint8_t bytes[4];
        size_t length = utf8_encode(code, bytes);
        uint32_t back;
        cr_assert_eq(utf8_decode((Bytes){bytes, length}, 0, &back), length);
        cr_assert_eq(back, code);
        cr_assert_eq(utf8_decode_before((Bytes){bytes, length}, length, &back), length);
        cr_assert_eq(back, code);
        for (size_t cut = 1; cut < length; cut++) {
            cr_assert_eq(utf8_decode((Bytes){bytes, cut}, 0, &back), 0);
            cr_assert_eq(
                utf8_decode_before((Bytes){bytes + cut, length - cut}, length - cut, &back), 0);
        }
    }
}

Test(utf8, invalid_sequences_are_refused) {
    const char *bad[] = {"\x80",
                         "\xc0\x80",
                         "\xc1\xbf",
                         "\xe0\x80\x80",
                         "\xed\xa0\x80",
                         "\xf0\x80\x80\x80",
                         "\xf4\x90\x80\x80",
                         "\xf5\x80\x80\x80",
                         "\xff",
                         "\xc3(",
                         "\xe2\x82("};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint32_t code;
        cr_assert_eq(utf8_decode(bytes_of_text(bad[i]), 0, &code), 0, "case %zu", i);
    }
}

// Known answers of the Random123 distribution (kat_vectors, philox4x32 with 10 rounds).
Test(prng, philox_gives_the_published_answers) {
    const struct {
        uint32_t counter[4], key[2], answer[4];
    } cases[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < 3; i++) {
        Philox4 out = philox4x32(cases[i].counter, cases[i].key);
        cr_assert_eq(memcmp(out.word, cases[i].answer, sizeof out.word), 0, "case %zu", i);
    }
}

Test(prng, uniforms_are_in_range_and_depend_on_every_input) {
    double sum = 0;
    for (uint64_t i = 0; i < 100000; i++) {
        double u = prng_uniform(1, 2, i);
        cr_assert(u >= 0 && u < 1);
        sum += u;
    }
    cr_assert_float_eq(sum / 100000, 0.5, 0.005); // 5 sigma of the mean is 0.0046
    cr_assert_neq(prng_u64(1, 2, 3), prng_u64(2, 2, 3));
    cr_assert_neq(prng_u64(1, 2, 3), prng_u64(1, 3, 3));
    cr_assert_neq(prng_u64(1, 2, 3), prng_u64(1, 2, 4));
}

Test(file, a_written_file_reads_back_and_limits_hold) {
    char path[] = "/tmp/tessera-test-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
    Error error;
    cr_assert_eq(file_write_whole(path, bytes_of_text("hello"), &error), OK, "%s", error.text);
    Buffer out = {0};
    cr_assert_eq(file_read(path, 5, &out, &error), OK);
    cr_assert_eq(out.length, 5);
    cr_assert_eq(file_read(path, 4, &out, &error), E_LIMIT);
    cr_assert(strstr(error.text, path) && strstr(error.text, "4"));
    FileMap map;
    cr_assert_eq(file_map_open(path, &map, &error), OK);
    cr_assert(bytes_equal(map.bytes, bytes_of_text("hello")));
    file_map_close(&map);
    unlink(path);
    cr_assert_eq(file_map_open(path, &map, &error), E_NOT_FOUND);
    cr_assert_eq(file_read("/", 10, &out, &error), E_IO);
    cr_assert_eq(file_write_whole("/nonexistent/x", bytes_of_text("a"), &error), E_IO);
    cr_assert(file_is_folder("/tmp"));
    cr_assert_not(file_exists(path));
    buffer_free(&out);
}

// xxHash's own sanity value: XXH3_64bits of nothing with seed 0, and the 128-bit form of it.
Test(hash, known_values) {
    cr_assert_eq(hash64((Bytes){NULL, 0}, 0), 0x2D06800538D394C2u);
    char text[33];
    hash128_text(hash128((Bytes){NULL, 0}), text);
    cr_assert_str_eq(text, "99aa06d3014798d86001c324468d497f");
}

// Pays for 10,000 bytes.
static size_t purse_held;
static bool purse_small_take(Purse *purse, size_t bytes) {
    purse->refused = bytes > 10000 - purse_held ? E_BUSY : OK;
    purse_held += purse->refused == OK ? bytes : 0;
    return purse->refused == OK;
}
static void purse_small_give(Purse *purse, size_t bytes) {
    (void)purse;
    cr_assert_leq(bytes, purse_held);
    purse_held -= bytes;
}

Test(purse, a_buffer_and_an_arena_hold_what_is_paid_for_and_no_more) {
    Purse purse = {.take = purse_small_take, .give = purse_small_give};
    Buffer buffer = {.purse = &purse};
    for (int i = 0; i < 20000 && !buffer.failed; i++) {
        buffer_append_byte(&buffer, 7);
        cr_assert_eq(purse_held, buffer.capacity);
    }
    cr_expect(buffer.failed);
    cr_expect_gt(buffer.length, 8000,
                 "where twice as much is refused, what is needed is asked for");
    Error error;
    cr_expect_eq(purse_error(&purse, "a message", &error), E_BUSY);
    buffer_free(&buffer);
    cr_assert_eq(purse_held, 0);
    Arena arena = {.purse = &purse};
    cr_assert_not_null(arena_take(&arena, 100));
    cr_expect_eq(purse_held, arena.bytes_held);
    cr_expect_null(arena_take(&arena, 9000));
    arena_free(&arena);
    cr_expect_eq(purse_held, 0);
    cr_expect_eq(purse_error(NULL, "a message", &error), E_MEMORY);
}
