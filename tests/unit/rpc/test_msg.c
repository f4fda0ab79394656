// SPDX-License-Identifier: Apache-2.0
// msg.h: the three message shapes, typed reading with one sticky error, and writing that any
// MessagePack library reads (the expected bytes below were made with the Python package
// msgpack 1.1).
#include "rpc/msg.h"

#include <criterion/criterion.h>
#include <string.h>

#define BYTES(text) ((Bytes){(const uint8_t *)(text), sizeof(text) - 1})

static Bytes view(const Buffer *buffer) {
    return (Bytes){buffer->data, buffer->length};
}

Test(msg, a_request_is_read_back) {
    Buffer out = {0};
    msg_put_request(&out, 7, "generate");
    msg_put_map(&out, 2);
    msg_pair_uint(&out, "max_tokens", 300);
    msg_pair_binary(&out, "image", BYTES("\x00\xff"));
    // msgpack.packb([0, 7, "generate", {"max_tokens": 300, "image": b"\x00\xff"}])
    cr_assert(bytes_equal(
        view(&out),
        BYTES("\x94\x00\x07\xa8generate\x82\xaamax_tokens\xcd\x01\x2c\xa5image\xc4\x02\x00\xff")));
    Msg msg;
    cr_assert_eq(msg_open(view(&out), &msg, NULL), OK);
    cr_assert_eq(msg.kind, MSG_REQUEST);
    cr_assert_eq(msg.id, 7);
    cr_assert(bytes_equal(msg.method, bytes_of_text("generate")));
    MsgReader reader = {0};
    MsgMap params = msg_map(&reader, msg.params, "params");
    cr_assert_eq(msg_int(&params, "max_tokens", 1, 1000, 64), 300);
    cr_assert(bytes_equal(msg_binary(&params, "image", (Bytes){0}), BYTES("\x00\xff")));
    cr_assert_float_eq(msg_real(&params, "temperature", 0, 2, 1.0), 1.0, 0);
    msg_map_end(&params);
    cr_assert_eq(reader.status, OK);
    msg_close(&msg);
    buffer_free(&out);
}

Test(msg, other_shapes_are_refused) {
    const Bytes bad[] = {
        BYTES("\x94\x00\x07\xa1g\x90"),                                 // params is an array
        BYTES("\x93\x00\x07\xa1g"),                                     // request of three
        BYTES("\x94\x00\xff\xa1g\x80"),                                 // negative id
        BYTES("\x94\x00\xcf\x00\x00\x00\x01\x00\x00\x00\x00\xa1g\x80"), // id of 33 bits
        BYTES("\x94\x03\x07\xa1g\x80"),                                 // unknown kind
        BYTES("\x90"),
        BYTES("\x80"),
        BYTES("\x01"),
        BYTES(""),
        BYTES("\x93\x02\xa1g\x80\x00"), // a byte too many
        BYTES("\x94\x01\x07\xa1"
              "e\xc0"), // error is a string
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        Msg msg;
        Error error = {0};
        cr_assert_eq(msg_open(bad[i], &msg, &error), E_MESSAGE, "case %zu", i);
        cr_assert_gt(strlen(error.text), 0);
    }
}

static void expect_fault(Bytes params, void (*read)(MsgMap *), const char *says) {
    Buffer out = {0};
    msg_put_notification(&out, "m");
    buffer_append(&out, params.data, params.length);
    Msg msg;
    cr_assert_eq(msg_open(view(&out), &msg, NULL), OK, "%s", says);
    Error error = {0};
    MsgReader reader = {.error = &error};
    MsgMap map = msg_map(&reader, msg.params, "params");
    read(&map);
    msg_map_end(&map);
    cr_assert_eq(reader.status, E_ARGUMENT, "%s", says);
    cr_assert(strstr(error.text, says) != NULL, "\"%s\" does not say \"%s\"", error.text, says);
    msg_close(&msg);
    buffer_free(&out);
}

static void read_int(MsgMap *map) {
    cr_assert_eq(msg_int(map, "n", 0, 10, 3), 3);
}
static void read_real(MsgMap *map) {
    msg_real(map, "t", 0, 2, 1);
}
static void read_text(MsgMap *map) {
    msg_need_text(map, "s", 4);
}
static void read_choice(MsgMap *map) {
    static const char *const words[] = {"red", "green"};
    cr_assert_eq(msg_choice(map, "c", words, 2, 7), 7);
}
static void read_nothing(MsgMap *map) {
    (void)map;
}
static void read_list(MsgMap *map) {
    MsgArray array = msg_array(map, "l", "params.l", 2);
    for (uint32_t i = 0; i < array.count; i++) {
        msg_item_int(&array, i, 0, 9);
    }
}

Test(msg, every_fault_names_the_field_and_the_rule) {
    expect_fault(BYTES("\x81\xa1n\x0b"), read_int, "params.n must be an integer from 0 to 10");
    expect_fault(BYTES("\x81\xa1n\xff"), read_int, "from 0 to 10");
    expect_fault(BYTES("\x81\xa1n\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), read_int, "from 0 to 10");
    expect_fault(BYTES("\x81\xa1n\xa1x"), read_int, "from 0 to 10");
    expect_fault(BYTES("\x81\xa1t\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"), read_real,
                 "a number from 0 to 2");
    expect_fault(BYTES("\x80"), read_text, "params.s is missing");
    expect_fault(BYTES("\x81\xa1s\xa5"
                       "abcde"),
                 read_text, "at most 4 bytes");
    expect_fault(BYTES("\x81\xa1s\xa1\xff"), read_text, "UTF-8");
    expect_fault(BYTES("\x81\xa4typo\x01"), read_nothing, "no parameter named \"typo\"");
    // What is quoted can go into a log line: no quotes, no line breaks, no bytes of other
    // encodings.
    expect_fault(BYTES("\x81\xa2\n\x01\x01"), read_nothing, "a key that is no parameter's name");
    expect_fault(BYTES("\x81\xa1\xff\x01"), read_nothing, "a key that is no parameter's name");
    expect_fault(BYTES("\x81\xa1\"\x01"), read_nothing, "a key that is no parameter's name");
    expect_fault(BYTES("\x81\xa1"
                       "c\xa3"
                       "Red"),
                 read_choice, "params.c must be one of: red, green");
    expect_fault(BYTES("\x81\xa1"
                       "c\x01"),
                 read_choice, "must be one of");
    expect_fault(BYTES("\x82\xa1n\x01\xa1n\x01"), read_int, "a key twice");
    expect_fault(BYTES("\x82\xa0\x01\xa0\x01"), read_int, "a key twice"); // both empty
    expect_fault(BYTES("\x81\x01\x01"), read_nothing, "not a string");
    expect_fault(BYTES("\x81\xa1l\x93\x01\x02\x03"), read_list, "at most 2 items");
    expect_fault(BYTES("\x81\xa1l\x91\x0a"), read_list, "from 0 to 9");
}

Test(msg, the_first_fault_sticks) {
    Buffer out = {0};
    msg_put_notification(&out, "m");
    msg_put_map(&out, 2);
    msg_pair_word(&out, "a", "text");
    msg_pair_word(&out, "b", "text");
    Msg msg;
    cr_assert_eq(msg_open(view(&out), &msg, NULL), OK);
    Error error = {0};
    MsgReader reader = {.error = &error};
    MsgMap map = msg_map(&reader, msg.params, "params");
    msg_int(&map, "a", 0, 1, 0);
    msg_int(&map, "b", 0, 1, 0);
    cr_assert(strstr(error.text, "params.a") != NULL);
    msg_close(&msg);
    buffer_free(&out);
}

Test(msg, text_that_is_not_utf8_is_repaired_byte_by_byte) {
    Buffer out = {0};
    msg_put_text_repaired(&out, BYTES("a\xc3\xa4\xff\xe2\x82"));
    // "a\u00e4\ufffd\ufffd\ufffd", which is 12 bytes
    cr_assert(bytes_equal(view(&out), BYTES("\xac"
                                            "a\xc3\xa4\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd")));
    buffer_free(&out);
}

Test(msg, an_error_response_carries_the_catalogue) {
    Buffer out = {0};
    msg_put_error(&out, 9, E_BUSY, NULL, 250);
    Msg msg;
    cr_assert_eq(msg_open(view(&out), &msg, NULL), OK);
    cr_assert_eq(msg.kind, MSG_RESPONSE);
    MsgReader reader = {0};
    MsgMap map = msg_map(&reader, msg.error, "error");
    cr_assert_eq(msg_int(&map, "code", INT32_MIN, -1, 0), E_BUSY);
    cr_assert(bytes_equal(msg_need_text(&map, "name", 64), bytes_of_text("E_BUSY")));
    cr_assert(bytes_equal(msg_need_text(&map, "message", 64), bytes_of_text("busy")));
    cr_assert_eq(msg_int(&map, "retry_after_ms", 0, 1000, 0), 250);
    msg_map_end(&map);
    cr_assert_eq(reader.status, OK);
    msg_close(&msg);
    buffer_free(&out);
}
