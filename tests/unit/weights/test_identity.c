// SPDX-License-Identifier: Apache-2.0
// Whatever can change an answer changes the identity, and nothing else does. The tables are the
// tensors of the fixtures, and the keys of their texts.
#include "fixture.h"
#include "weights/identity_cache.h"
#include "weights/safetensors.h"
#include "weights/store.h"

#include "base/file_write.h"
#include "base/prng.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GOLDEN TEST_ROOT "/tests/golden/weights/"

typedef struct Identity {
    char text[33];
} Identity;

static Identity identity_of(const char *path, WeightLevel level) {
    const WeightsOptions options = {.level = level, .threads = 2};
    Weights *weights;
    Error error = {0};
    Identity out;
    cr_assert_eq(weights_open(path, &options, &weights, &error), OK, "%s", error.text);
    memcpy(out.text, weights->identity, sizeof out.text);
    weights_close(weights);
    return out;
}

static bool same(Identity a, Identity b) {
    return strcmp(a.text, b.text) == 0;
}

// Changes one bit at the beginning, at the end and at places between of every tensor. The level
// must hold every bit of the source's numbers.
static void expect_every_tensor_counts(const char *source, WeightLevel level) {
    Fixture fixture = fixture_open(source);
    TensorSource tensors;
    cr_assert_eq(safetensors_open(source, &tensors, NULL), OK);
    Identity before = identity_of(fixture.folder, level);
    for (size_t i = 0; i < tensors.count; i++) {
        const SourceTensor *tensor = &tensors.tensors[i];
        uint64_t places[] = {0, tensor->bytes - 1, prng_u64(1, i, 0) % tensor->bytes,
                             prng_u64(2, i, 0) % tensor->bytes};
        for (size_t j = 0; j < sizeof places / sizeof *places; j++) {
            fixture_flip(&fixture, tensor->name, places[j]);
            cr_expect_not(same(before, identity_of(fixture.folder, level)), "%s, byte %llu",
                          tensor->name, (unsigned long long)places[j]);
            fixture_flip(&fixture, tensor->name, places[j]);
        }
    }
    cr_expect(same(before, identity_of(fixture.folder, level)));
    source_close(&tensors);
    fixture_close(&fixture);
}

Test(identity, covers_every_tensor_of_a_bf16_folder) {
    expect_every_tensor_counts(GOLDEN "flat", LEVEL_BF16);
}

Test(identity, covers_every_tensor_of_a_sharded_f32_folder) {
    expect_every_tensor_counts(GOLDEN "per_layer", LEVEL_F32);
}

Test(identity, covers_every_tensor_of_an_f16_folder) {
    expect_every_tensor_counts(GOLDEN "renamed", LEVEL_F32);
}

// A change of one text, and whether it says something else.
static const struct {
    const char *file, *from, *to;
    bool counts;
} EDITS[] = {
    {"config.json", "\"final_logit_softcapping\": 30.0", "\"final_logit_softcapping\": 29.0", true},
    {"config.json", "\"sliding_window\": 24", "\"sliding_window\": 25", true},
    {"config.json", "\"rope_theta\": 10000.0", "\"rope_theta\": 20000.0", true},
    {"config.json", "\"rms_norm_eps\": 1e-06", "\"rms_norm_eps\": 1e-05", true},
    {"config.json", "\"image_token_id\": 61", "\"image_token_id\": 59", true},
    {"config.json", "\"max_position_embeddings\": 512", "\"max_position_embeddings\": 256", true},
    {"config.json", "\"eos_token_id\": [\n  1,", "\"eos_token_id\": [\n  4,", true},
    {"config.json", "{\n \"architectures\"", "{   \"architectures\"", false},
    {"config.json", "1e-06", "0.000001", false},
    {"generation_config.json", "[1, 6, 5]", "[1, 6, 4]", true},
    {"generation_config.json", "[65, 62]", "[65, 61]", true},
    {"generation_config.json", "\"do_sample\": true", "\"do_sample\": false", true},
    {"generation_config.json", "0.7", "0.8", true},
    {"generation_config.json", "\"top_k\": 64", "\"top_k\": 63", true},
    {"generation_config.json", "0.95", "0.9", true},
    {"generation_config.json", "{\"do_sample\": true, \"temperature\": 0.7,",
     "{\"temperature\":0.7,\"do_sample\":true,", false},
    {"processor_config.json", "\"max_soft_tokens\": 140", "\"max_soft_tokens\": 280", true},
    {"processor_config.json", ": 70", " : 70", false},
};

Test(identity, covers_what_every_text_says_and_not_how_it_is_written) {
    Identity before = identity_of(GOLDEN "flat", LEVEL_COUNT);
    for (size_t i = 0; i < sizeof EDITS / sizeof *EDITS; i++) {
        Fixture fixture = fixture_open(GOLDEN "flat");
        fixture_edit(&fixture, EDITS[i].file, EDITS[i].from, EDITS[i].to);
        Identity after = identity_of(fixture.folder, LEVEL_COUNT);
        cr_expect_neq(same(before, after), EDITS[i].counts, "%s: %s", EDITS[i].file, EDITS[i].to);
        fixture_close(&fixture);
    }
}

Test(identity, covers_every_text_that_may_be_absent) {
    Identity before = identity_of(GOLDEN "flat", LEVEL_COUNT);
    for (int i = 1; i < CONFIG_TEXT_COUNT; i++) {
        Fixture fixture = fixture_open(GOLDEN "flat");
        fixture_remove(&fixture, config_file_names[i]);
        cr_expect_not(same(before, identity_of(fixture.folder, LEVEL_COUNT)), "%s",
                      config_file_names[i]);
        fixture_close(&fixture);
    }
}

Test(identity, covers_the_tables_of_the_tokenizer) {
    const WeightsOptions options = {.level = LEVEL_COUNT};
    Weights *weights;
    Identity seen[3];
    cr_assert_eq(weights_open(GOLDEN "flat", &options, &weights, NULL), OK);
    memcpy(seen[0].text, weights->identity, sizeof seen[0].text);
    for (int i = 1; i < 3; i++) {
        Bytes tables = bytes_of_text(i == 1 ? "the tables" : "the tabled");
        cr_assert_eq(weights_add_tokenizer(weights, tables, NULL), OK);
        memcpy(seen[i].text, weights->identity, sizeof seen[i].text);
    }
    cr_expect(!same(seen[0], seen[1]) && !same(seen[1], seen[2]) && !same(seen[0], seen[2]));
    weights_close(weights);
}

// A packed file with one bit changed and every checksum right.
Test(identity, covers_every_byte_of_the_tensors_and_of_the_tokenizer_in_a_packed_file) {
    enum { TOKENIZER = 4 };
    Packed packed = packed_open(GOLDEN "flat", LEVEL_INT4);
    Identity before = identity_of(packed.path, LEVEL_COUNT);
    for (int section = TOKENIZER; section < PACKED_SECTIONS; section++) {
        for (uint64_t i = 0; i < 20; i++) {
            size_t at = packed.section_at[section] +
                        prng_u64((uint64_t)section, i, 0) % packed.section_bytes[section];
            packed.bytes.data[at] ^= 1;
            packed_write(&packed, section);
            cr_expect_not(same(before, identity_of(packed.path, LEVEL_COUNT)), "%d, byte %zu",
                          section, at);
            packed.bytes.data[at] ^= 1;
            packed_write(&packed, section);
        }
    }
    cr_expect(same(before, identity_of(packed.path, LEVEL_COUNT)));
    packed_close(&packed);
}

// Files packed before the identity covered everything have another one in their header.
Test(identity, is_made_anew_from_a_packed_file_whatever_its_header_says) {
    enum { IDENTITY_AT = 64, TOKENIZER = 4 };
    Packed packed = packed_open(GOLDEN "flat", LEVEL_INT4);
    Identity before = identity_of(packed.path, LEVEL_COUNT);
    cr_expect_eq(memcmp(packed.bytes.data + IDENTITY_AT, before.text, 32), 0);
    memset(packed.bytes.data + IDENTITY_AT, '0', 32);
    packed_write(&packed, TOKENIZER);
    cr_expect(same(before, identity_of(packed.path, LEVEL_COUNT)));
    packed_close(&packed);
}

Test(identity, is_that_of_another_place_and_another_time) {
    Identity before = identity_of(GOLDEN "per_layer", LEVEL_COUNT);
    Fixture fixture = fixture_open(GOLDEN "per_layer"); // a copy of another name and inode
    cr_expect(same(before, identity_of(fixture.folder, LEVEL_COUNT)));
    char path[512];
    snprintf(path, sizeof path, "%s/model-00001-of-00004.safetensors", fixture.folder);
    cr_assert_eq(utimensat(AT_FDCWD, path, NULL, 0), 0);
    cr_expect(same(before, identity_of(fixture.folder, LEVEL_COUNT)));
    fixture_close(&fixture);
}

Test(identity, names_the_level_and_the_group) {
    Identity seen[8];
    size_t count = 0;
    for (int level = 0; level < LEVEL_COUNT; level++) {
        const bool grouped = level >= LEVEL_INT8;
        for (uint32_t group = 32; group <= (grouped ? 128 : 32); group *= 2) {
            const WeightsOptions options = {.level = (WeightLevel)level,
                                            .group = grouped ? group : 0};
            Weights *weights;
            cr_assert_eq(weights_open(GOLDEN "flat", &options, &weights, NULL), OK);
            memcpy(seen[count++].text, weights->identity, 33);
            weights_close(weights);
        }
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            cr_expect_not(same(seen[i], seen[j]), "%zu and %zu", i, j);
        }
    }
}

// What follows looks into the cache file: entries of two words that name it, the checksums of the
// sections, and a check of those 56 bytes.
enum { ENTRY_BYTES = 64, CHECK_AT = 56, CHECK_SEED = 1 };

typedef struct Cache {
    char folder[64], path[128];
} Cache;

static Cache cache_open(void) {
    Cache cache = {.folder = "/tmp/tessera-cache-XXXXXX"};
    cr_assert_not_null(mkdtemp(cache.folder));
    snprintf(cache.path, sizeof cache.path, "%s/tessera/identities", cache.folder);
    setenv("XDG_CACHE_HOME", cache.folder, 1);
    return cache;
}

static Buffer cache_read(const Cache *cache) {
    Buffer out = {0};
    cr_assert_eq(file_read(cache->path, 1 << 20, &out, NULL), OK);
    return out;
}

static void cache_put(const Cache *cache, Bytes bytes) {
    cr_assert_eq(file_write_whole(cache->path, bytes, NULL), OK);
}

static void cache_close(Cache *cache) {
    char inner[128];
    snprintf(inner, sizeof inner, "%s/tessera", cache->folder);
    unlink(cache->path);
    rmdir(inner);
    rmdir(cache->folder);
}

static void seal(uint8_t *entry) {
    uint64_t check = hash64((Bytes){entry, CHECK_AT}, CHECK_SEED);
    memcpy(entry + CHECK_AT, &check, sizeof check);
}

Test(identity, is_taken_from_the_cache_when_the_files_are_the_same) {
    Cache cache = cache_open();
    Identity made = identity_of(GOLDEN "flat", LEVEL_COUNT);
    Buffer file = cache_read(&cache);
    cr_assert_eq(file.length, ENTRY_BYTES);
    cr_expect(same(made, identity_of(GOLDEN "flat", LEVEL_COUNT)));
    file.data[20] ^= 1; // a lie with a good check is believed, which shows that nothing was hashed
    seal(file.data);
    cache_put(&cache, (Bytes){file.data, file.length});
    cr_expect_not(same(made, identity_of(GOLDEN "flat", LEVEL_COUNT)));
    buffer_free(&file);
    cache_close(&cache);
}

Test(identity, does_not_believe_a_damaged_cache) {
    Cache cache = cache_open();
    Identity made = identity_of(GOLDEN "flat", LEVEL_COUNT);
    Buffer file = cache_read(&cache);
    for (size_t at = 0; at < ENTRY_BYTES; at++) {
        file.data[at] ^= 0x10;
        cache_put(&cache, (Bytes){file.data, file.length});
        cr_expect(same(made, identity_of(GOLDEN "flat", LEVEL_COUNT)), "byte %zu", at);
        file.data[at] ^= 0x10;
        cache_put(&cache, (Bytes){file.data, at});
        cr_expect(same(made, identity_of(GOLDEN "flat", LEVEL_COUNT)), "cut to %zu", at);
    }
    buffer_free(&file);
    cache_close(&cache);
}

Test(identity, needs_no_cache_that_can_be_written) {
    Identity made = identity_of(GOLDEN "flat", LEVEL_COUNT);
    setenv("XDG_CACHE_HOME", "/dev/null/nowhere", 1);
    cr_expect(same(made, identity_of(GOLDEN "flat", LEVEL_COUNT)));
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    cr_expect(same(made, identity_of(GOLDEN "flat", LEVEL_COUNT)));
}

Test(identity, keeps_as_many_entries_as_it_may_the_newest_first) {
    Cache cache = cache_open();
    identity_of(GOLDEN "flat", LEVEL_COUNT);
    Buffer newest = cache_read(&cache), full = {0};
    for (uint64_t i = 0; i < IDENTITY_CACHE_MAX; i++) {
        uint8_t entry[ENTRY_BYTES] = {0};
        memcpy(entry, &i, sizeof i);
        seal(entry);
        buffer_append(&full, entry, sizeof entry);
    }
    cache_put(&cache, (Bytes){full.data, full.length});
    identity_of(GOLDEN "flat", LEVEL_COUNT);
    Buffer now = cache_read(&cache);
    cr_assert_eq(now.length, full.length);
    cr_expect_eq(memcmp(now.data, newest.data, ENTRY_BYTES), 0);
    cr_expect_eq(memcmp(now.data + ENTRY_BYTES, full.data, full.length - ENTRY_BYTES), 0);
    buffer_free(&newest);
    buffer_free(&full);
    buffer_free(&now);
    cache_close(&cache);
}

Test(identity, does_not_remember_files_that_were_changed_a_moment_ago) {
    Cache cache = cache_open();
    Fixture fixture = fixture_open(GOLDEN "flat");
    Identity before = identity_of(fixture.folder, LEVEL_COUNT);
    cr_expect_not(file_exists(cache.path));
    // Another byte at the same size and, as rsync may leave it, at the same time.
    char path[512];
    struct stat info;
    snprintf(path, sizeof path, "%s/model.safetensors", fixture.folder);
    cr_assert_eq(stat(path, &info), 0);
    fixture_flip(&fixture, "model.language_model.layers.1.mlp.down_proj.weight", 1001);
    cr_assert_eq(utimensat(AT_FDCWD, path, (struct timespec[]){info.st_atim, info.st_mtim}, 0), 0);
    cr_expect_not(same(before, identity_of(fixture.folder, LEVEL_COUNT)));
    fixture_close(&fixture);
    cache_close(&cache);
}
