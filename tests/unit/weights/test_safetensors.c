// SPDX-License-Identifier: Apache-2.0
// The container format: what is read, and each way a header can lie.
#include "weights/safetensors.h"

#include <criterion/criterion.h>
#include <string.h>

// Puts length, header and `data_bytes` zeros together; the caller frees.
static Buffer build(const char *header, size_t data_bytes) {
    Buffer file = {0};
    uint64_t length = strlen(header);
    buffer_append(&file, &length, sizeof length);
    buffer_append_text(&file, header);
    for (size_t i = 0; i < data_bytes; i++) {
        buffer_append_byte(&file, (uint8_t)i);
    }
    return file;
}

Test(safetensors, reads_names_types_shapes_and_places) {
    Buffer file = build("{\"__metadata__\":{\"format\":\"pt\"},"
                        "\"b\":{\"dtype\":\"F32\",\"shape\":[1,3],\"data_offsets\":[6,18]},"
                        "\"a\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[0,6]},"
                        "\"c\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[18,26]},"
                        "\"d\":{\"dtype\":\"F16\",\"shape\":[0,7],\"data_offsets\":[26,26]}}",
                        26);
    TensorSource tensors;
    Error error;
    Bytes bytes = {file.data, file.length};
    cr_assert_eq(safetensors_parse(bytes, "x", &tensors, &error), OK, "%s", error.text);
    cr_assert_eq(tensors.count, 4);
    const SourceTensor *b = source_find(&tensors, "b");
    cr_assert_not_null(b);
    cr_expect_eq(b->type, ELEMENT_F32);
    cr_expect_eq(b->rank, 2);
    cr_expect_eq(b->shape[1], 3);
    cr_expect_eq(b->bytes, 12);
    cr_expect_eq(b->data[0], 6);
    cr_expect_eq(source_find(&tensors, "c")->type, ELEMENT_OTHER);
    cr_expect_null(source_find(&tensors, "e"));
    source_close(&tensors);
    buffer_free(&file);
}

Test(safetensors, marks_tensors_beyond_the_end) {
    Buffer file = build("{\"a\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[0,8]},"
                        "\"b\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[8,16]}}",
                        15);
    TensorSource tensors;
    Bytes bytes = {file.data, file.length};
    cr_assert_eq(safetensors_parse(bytes, "x", &tensors, NULL), OK);
    cr_expect_not(source_find(&tensors, "a")->truncated);
    cr_expect(source_find(&tensors, "b")->truncated);
    cr_expect_null(source_find(&tensors, "b")->data);
    source_close(&tensors);
    buffer_free(&file);
}

#define ENTRY(type, shape, from, to)                                                               \
    "{\"a\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}}"

static const struct {
    const char *header;
    size_t data;
    const char *text;
} WRONG[] = {
    {ENTRY("F32", "[2]", "0", "4"), 4, "tensor a: its shape [2] of F32 does not take the 4 bytes"},
    {ENTRY("F32", "[4294967296,4294967296,2]", "0", "8"), 8, "does not take"},
    {ENTRY("F32", "[-1]", "0", "8"), 8, "not a size"},
    {ENTRY("F32", "[1.5]", "0", "8"), 8, "not a size"},
    {ENTRY("F32", "2", "0", "8"), 8, "not an array"},
    {ENTRY("F32", "[1,1,1,1,1,1,1,1,1]", "0", "4"), 4, "at most 8"},
    {ENTRY("F32", "[1]", "4", "0"), 4, "not two rising numbers"},
    {ENTRY("F32", "[1]", "-4", "0"), 4, "not two rising numbers"},
    {ENTRY("F32", "[1]", "4", "8"), 8, "there is a gap"},
    {ENTRY("F32", "[1]", "0", "4"), 5, "1 bytes behind its last tensor"},
    {ENTRY("F4", "[3]", "0", "1"), 1, "does not take"},
    {"{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "no dtype"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "data_offsets"},
    {"{\"a\":[]}", 0, "not described by an object"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
     8, "tensor b begins at byte 4 of the data; it overlaps"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
     "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
     8, "duplicate"},
    {"[]", 0, "not a JSON object"},
    {"{\"a\":", 0, "not valid JSON"},
};

Test(safetensors, names_the_file_the_tensor_and_the_rule) {
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        Buffer file = build(WRONG[i].header, WRONG[i].data);
        TensorSource tensors;
        Error error = {0};
        Bytes bytes = {file.data, file.length};
        Status status = safetensors_parse(bytes, "the.safetensors", &tensors, &error);
        cr_expect_eq(status, E_CHECKPOINT, "%s: %s", WRONG[i].header, status_name(status));
        cr_expect_eq(error.status, status);
        cr_expect_not_null(strstr(error.text, WRONG[i].text), "%s", error.text);
        cr_expect_not_null(strstr(error.text, "the.safetensors"), "%s", error.text);
        cr_expect_eq(tensors.count, 0);
        buffer_free(&file);
    }
}

Test(safetensors, checks_the_length_of_the_header_first) {
    static const struct {
        uint64_t header;
        size_t file;
        const char *text;
    } rows[] = {{0, 4, "at least 8"},
                {100, 20, "truncated"},
                {100000001, 20, "at most 100000000"},
                {UINT64_MAX, 20, "at most 100000000"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t file[32] = {0};
        memcpy(file, &rows[i].header, 8);
        TensorSource tensors;
        Error error = {0};
        cr_expect_eq(safetensors_parse((Bytes){file, rows[i].file}, "x", &tensors, &error),
                     E_CHECKPOINT);
        cr_expect_not_null(strstr(error.text, rows[i].text), "%s", error.text);
    }
}
