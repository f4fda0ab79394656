// SPDX-License-Identifier: Apache-2.0
// The packed file: the same bytes back, and no damage that goes unnoticed.
#include "fixture.h"
#include "weights/pack_file.h"
#include "weights/store.h"

#include "base/file_write.h"
#include "base/prng.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GOLDEN TEST_ROOT "/tests/golden/weights/"

static const WeightsOptions AS_STORED = {.level = LEVEL_COUNT};

static void pack_path(char out[64]) {
    snprintf(out, 64, "/tmp/tessera-pack-XXXXXX");
    int fd = mkstemp(out);
    cr_assert(fd >= 0);
    close(fd);
}

static Weights *open_at(const char *path, WeightLevel level) {
    const WeightsOptions options = {.level = level};
    Weights *weights;
    Error error;
    cr_assert_eq(weights_open(path, &options, &weights, &error), OK, "%s", error.text);
    return weights;
}

static void expect_same_matrix(const Matrix *a, const Matrix *b) {
    cr_assert_eq(a->level, b->level);
    cr_assert_eq(a->rows, b->rows);
    cr_assert_eq(a->columns, b->columns);
    cr_assert_eq(a->group, b->group);
    cr_expect_eq(
        memcmp(a->codes, b->codes, matrix_codes_bytes(a->level, a->rows, a->padded_columns)), 0);
    cr_expect_eq(a->scales == NULL, b->scales == NULL);
    if (a->scales != NULL) {
        cr_expect_eq(memcmp(a->scales, b->scales,
                            matrix_scales_bytes(a->level, a->rows, a->padded_columns, a->group)),
                     0);
    }
}

static void expect_same(const Weights *a, const Weights *b) {
    cr_expect_eq(memcmp(&a->config, &b->config, sizeof a->config), 0);
    cr_expect_eq(a->level, b->level);
    cr_expect_eq(a->group, b->group);
    cr_expect_str_eq(a->identity, b->identity);
    expect_same_matrix(&a->embedding, &b->embedding);
    for (uint32_t i = 0; i < a->config.layer_count; i++) {
        expect_same_matrix(&a->layers[i].qkv, &b->layers[i].qkv);
        expect_same_matrix(&a->layers[i].o, &b->layers[i].o);
        expect_same_matrix(&a->layers[i].gate_up, &b->layers[i].gate_up);
        expect_same_matrix(&a->layers[i].down, &b->layers[i].down);
        cr_expect_eq(a->layers[i].layer_scalar, b->layers[i].layer_scalar);
    }
    const Manifest *manifest = &a->store->manifest;
    for (int i = 0; i < SECTION_COUNT; i++) {
        cr_expect_eq(
            memcmp(a->store->sections[i], b->store->sections[i], manifest->section_bytes[i]), 0);
    }
}

Test(pack, brings_every_byte_back_at_every_level) {
    static const char *const folders[] = {GOLDEN "per_layer", GOLDEN "flat", GOLDEN "renamed"};
    for (size_t i = 0; i < 3; i++) {
        for (int level = 0; level < LEVEL_COUNT; level++) {
            char path[64];
            pack_path(path);
            Weights *original = open_at(folders[i], (WeightLevel)level);
            Bytes blob = bytes_of_text("the host's own bytes");
            Error error;
            cr_assert_eq(weights_add_tokenizer(original, blob, &error), OK);
            cr_assert_eq(pack_file_write(original, blob, path, &error), OK, "%s", error.text);
            Weights *packed = open_at(path, LEVEL_COUNT);
            expect_same(original, packed);
            cr_expect(bytes_equal(packed->tokenizer.tables, blob));
            cr_expect_eq(packed->tokenizer.form,
                         blob.length > 0 ? TOKENIZER_TABLES : TOKENIZER_NONE);
            cr_expect_eq(memcmp(packed->store->map.bytes.data + 64, packed->identity, 32), 0);
            cr_expect_eq(weights_verify(path, &error), OK, "%s", error.text);
            // A packed model packs again into the same file.
            char again[64];
            pack_path(again);
            cr_assert_eq(pack_file_write(packed, packed->tokenizer.tables, again, &error), OK);
            Buffer a = {0}, b = {0};
            cr_assert_eq(file_read(path, 1 << 24, &a, NULL), OK);
            cr_assert_eq(file_read(again, 1 << 24, &b, NULL), OK);
            cr_expect(bytes_equal((Bytes){a.data, a.length}, (Bytes){b.data, b.length}));
            buffer_free(&a);
            buffer_free(&b);
            weights_close(original);
            weights_close(packed);
            unlink(path);
            unlink(again);
        }
    }
}

// A packed fixture in memory, and a file it is written to with one change.
typedef struct Sample {
    char path[64];
    Buffer bytes;
} Sample;

static Sample sample_open(void) {
    Sample sample = {0};
    pack_path(sample.path);
    Weights *weights = open_at(GOLDEN "flat", LEVEL_INT4);
    cr_assert_eq(pack_file_write(weights, bytes_of_text("blob"), sample.path, NULL), OK);
    weights_close(weights);
    cr_assert_eq(file_read(sample.path, 1 << 24, &sample.bytes, NULL), OK);
    return sample;
}

static void sample_write(const Sample *sample, size_t length) {
    cr_assert_eq(file_write_whole(sample->path, (Bytes){sample->bytes.data, length}, NULL), OK);
}

static void sample_close(Sample *sample) {
    unlink(sample->path);
    buffer_free(&sample->bytes);
}

Test(pack, finds_damage_in_every_section_and_between_them) {
    Sample sample = sample_open();
    Error error;
    // One changed bit in every 64-byte line of the file, at a place that moves through the line.
    size_t missed = 0;
    for (size_t line = 0; line * 64 < sample.bytes.length; line++) {
        size_t at = line * 64 + line * 7 % 64;
        uint8_t bit = (uint8_t)(1 << line % 8);
        sample.bytes.data[at] ^= bit;
        sample_write(&sample, sample.bytes.length);
        Status status = weights_verify(sample.path, &error);
        missed += status == OK;
        cr_assert(status == E_PACK, "byte %zu: %s", at, status_name(status));
        sample.bytes.data[at] ^= bit;
    }
    cr_expect_eq(missed, 0);
    sample_close(&sample);
}

Test(pack, names_the_damaged_section) {
    Sample sample = sample_open();
    Weights *weights = open_at(sample.path, LEVEL_COUNT);
    size_t decoder =
        (size_t)(weights->store->sections[SECTION_DECODER] - weights->store->map.bytes.data);
    weights_close(weights);
    sample.bytes.data[decoder + 100] ^= 1;
    sample_write(&sample, sample.bytes.length);
    Error error;
    weights = open_at(sample.path, LEVEL_COUNT); // opening does not read the tensors
    weights_close(weights);
    cr_expect_eq(weights_verify(sample.path, &error), E_PACK);
    cr_expect_not_null(strstr(error.text, "decoder"), "%s", error.text);
    sample_close(&sample);
}

Test(pack, refuses_a_file_cut_anywhere) {
    Sample sample = sample_open();
    for (size_t i = 0; i < 400; i++) {
        // Every short length, then lengths all over the file.
        size_t length = i < 200 ? i * 2 : (size_t)prng_u64(5, 0, i) % sample.bytes.length;
        sample_write(&sample, length);
        Weights *weights;
        Error error;
        Status status = weights_open(sample.path, &AS_STORED, &weights, &error);
        cr_expect_eq(status, E_PACK, "length %zu: %s", length, status_name(status));
    }
    sample_close(&sample);
}

Test(pack, refuses_a_file_that_grew) {
    Sample sample = sample_open();
    buffer_append_byte(&sample.bytes, 0);
    sample_write(&sample, sample.bytes.length);
    Weights *weights;
    Error error;
    cr_expect_eq(weights_open(sample.path, &AS_STORED, &weights, &error), E_PACK);
    cr_expect_not_null(strstr(error.text, "grew"), "%s", error.text);
    sample_close(&sample);
}

Test(pack, names_version_byte_order_and_what_is_no_packed_file) {
    static const struct {
        size_t at;
        uint8_t value;
        const char *text;
    } rows[] = {{0, 'X', "not a packed model"},
                {8, 9, "byte order"},
                {12, 77, "version 77"},
                {16, 'q', "layout"},
                {41, 1, "checksum"}};
    Sample sample = sample_open();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t old = sample.bytes.data[rows[i].at];
        sample.bytes.data[rows[i].at] = rows[i].value;
        sample_write(&sample, sample.bytes.length);
        Weights *weights;
        Error error;
        cr_expect_eq(weights_open(sample.path, &AS_STORED, &weights, &error), E_PACK);
        cr_expect_not_null(strstr(error.text, rows[i].text), "%s", error.text);
        cr_expect_not_null(strstr(error.text, sample.path), "%s", error.text);
        sample.bytes.data[rows[i].at] = old;
    }
    sample_close(&sample);
}

Test(pack, names_a_file_that_git_lfs_has_not_fetched) {
    Sample sample = sample_open();
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:00\n";
    cr_assert_eq(file_write_whole(sample.path, bytes_of_text(pointer), NULL), OK);
    Weights *weights;
    Error error = {0};
    cr_expect_eq(weights_open(sample.path, &AS_STORED, &weights, &error), E_PACK);
    cr_expect_not_null(strstr(error.text, "git lfs pull"), "%s", error.text);
    sample_close(&sample);
}

Test(pack, says_what_it_was_packed_at_when_another_level_is_asked) {
    Sample sample = sample_open();
    const WeightsOptions int8 = {.level = LEVEL_INT8};
    const WeightsOptions group = {.level = LEVEL_INT4, .group = 64};
    const WeightsOptions same = {.level = LEVEL_INT4, .group = 32};
    Weights *weights;
    Error error;
    cr_expect_eq(weights_open(sample.path, &int8, &weights, &error), E_ARGUMENT);
    cr_expect_not_null(strstr(error.text, "int4"), "%s", error.text);
    cr_expect_eq(weights_open(sample.path, &group, &weights, &error), E_ARGUMENT);
    cr_expect_eq(weights_open(sample.path, &same, &weights, &error), OK);
    weights_close(weights);
    sample_close(&sample);
}

Test(pack, refuses_a_group_where_there_are_none) {
    Sample sample = sample_open();
    Weights *weights = open_at(GOLDEN "flat", LEVEL_BF16);
    Error error;
    cr_assert_eq(pack_file_write(weights, (Bytes){0}, sample.path, &error), OK, "%s", error.text);
    weights_close(weights);
    const WeightsOptions group = {.level = LEVEL_COUNT, .group = 64};
    const WeightsOptions bf16 = {.level = LEVEL_BF16, .group = 32};
    const char *const paths[] = {sample.path, GOLDEN "flat", "synthetic:gemma-4-12b"};
    for (size_t i = 0; i < 3; i++) {
        cr_expect_eq(weights_open(paths[i], &bf16, &weights, &error), E_ARGUMENT, "%s", paths[i]);
        cr_expect_not_null(strstr(error.text, "--group is for int8 and int4"), "%s", error.text);
        if (i < 2) { // as stored: bf16
            cr_expect_eq(weights_open(paths[i], &group, &weights, &error), E_ARGUMENT);
            cr_expect_not_null(strstr(error.text, "--group is for int8"), "%s", error.text);
        }
    }
    sample_close(&sample);
}

Test(pack, leaves_nothing_behind_when_it_cannot_write) {
    Weights *weights = open_at(GOLDEN "flat", LEVEL_INT4);
    Error error;
    cr_expect_eq(pack_file_write(weights, (Bytes){0}, "/nowhere/model.tessera", &error), E_IO);
    cr_expect_not_null(strstr(error.text, "/nowhere/model.tessera"), "%s", error.text);
    cr_expect_eq(weights_verify(GOLDEN "flat", &error), E_ARGUMENT);
    weights_close(weights);
}
