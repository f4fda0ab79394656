// SPDX-License-Identifier: Apache-2.0
#include "fixture.h"

#include "base/f16.h"
#include "base/file.h"
#include "base/file_write.h"
#include "base/hash.h"
#include "weights/pack_file.h"
#include "weights/safetensors.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char MODEL[] = "model.safetensors";

static void path_of(const Fixture *fixture, const char *file, char out[512]) {
    snprintf(out, 512, "%s/%s", fixture->folder, file);
}

static Buffer file_of(const Fixture *fixture, const char *file) {
    char path[512];
    path_of(fixture, file, path);
    Buffer buffer = {0};
    cr_assert_eq(file_read(path, 1 << 24, &buffer, NULL), OK, "%s", path);
    return buffer;
}

static void file_put(const Fixture *fixture, const char *file, Bytes bytes) {
    char path[512];
    path_of(fixture, file, path);
    cr_assert_eq(file_write_whole(path, bytes, NULL), OK, "%s", path);
}

Fixture fixture_open(const char *source) {
    Fixture fixture;
    snprintf(fixture.folder, sizeof fixture.folder, "/tmp/tessera-weights-XXXXXX");
    cr_assert_not_null(mkdtemp(fixture.folder));
    DIR *folder = opendir(source);
    cr_assert_not_null(folder, "%s", source);
    Fixture original;
    snprintf(original.folder, sizeof original.folder, "%s", source);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] != '.') {
            Buffer bytes = file_of(&original, entry->d_name);
            file_put(&fixture, entry->d_name, (Bytes){bytes.data, bytes.length});
            buffer_free(&bytes);
        }
    }
    closedir(folder);
    return fixture;
}

void fixture_close(Fixture *fixture) {
    DIR *folder = opendir(fixture->folder);
    cr_assert_not_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] != '.') {
            fixture_remove(fixture, entry->d_name);
        }
    }
    closedir(folder);
    rmdir(fixture->folder);
}

void fixture_remove(Fixture *fixture, const char *file) {
    char path[512];
    path_of(fixture, file, path);
    cr_assert_eq(unlink(path), 0, "%s", path);
}

void fixture_write(Fixture *fixture, const char *file, const char *text) {
    file_put(fixture, file, bytes_of_text(text));
}

void fixture_take(Fixture *fixture, const char *file, const char *source) {
    Fixture original;
    snprintf(original.folder, sizeof original.folder, "%s", source);
    Buffer bytes = file_of(&original, file);
    file_put(fixture, file, (Bytes){bytes.data, bytes.length});
    buffer_free(&bytes);
}

void fixture_link(Fixture *fixture, const char *file, const char *target) {
    char path[512];
    path_of(fixture, file, path);
    unlink(path);
    cr_assert_eq(symlink(target, path), 0, "%s", path);
}

static size_t append_replaced(Buffer *out, Bytes text, const char *from, const char *to,
                              size_t most) {
    size_t done = 0, at = 0, length = strlen(from);
    while (at < text.length) {
        if (done < most && at + length <= text.length &&
            memcmp(text.data + at, from, length) == 0) {
            buffer_append_text(out, to);
            at += length;
            done++;
        } else {
            buffer_append_byte(out, text.data[at++]);
        }
    }
    return done;
}

void fixture_edit(Fixture *fixture, const char *file, const char *from, const char *to) {
    Buffer old = file_of(fixture, file), new = {0};
    cr_assert_eq(append_replaced(&new, (Bytes){old.data, old.length}, from, to, 1), 1,
                 "no \"%s\" in %s", from, file);
    file_put(fixture, file, (Bytes){new.data, new.length});
    buffer_free(&old);
    buffer_free(&new);
}

static void header_replace(Fixture *fixture, const char *from, const char *to, size_t most) {
    Buffer old = file_of(fixture, MODEL), new = {0}, header = {0};
    uint64_t length;
    memcpy(&length, old.data, sizeof length);
    cr_assert(append_replaced(&header, (Bytes){old.data + 8, length}, from, to, most) > 0,
              "no \"%s\" in the header", from);
    uint64_t changed = header.length;
    buffer_append(&new, &changed, sizeof changed);
    buffer_append(&new, header.data, header.length);
    buffer_append(&new, old.data + 8 + length, old.length - 8 - length);
    file_put(fixture, MODEL, (Bytes){new.data, new.length});
    buffer_free(&old);
    buffer_free(&new);
    buffer_free(&header);
}

void fixture_replace(Fixture *fixture, const char *from, const char *to) {
    header_replace(fixture, from, to, 1);
}

void fixture_replace_all(Fixture *fixture, const char *from, const char *to) {
    header_replace(fixture, from, to, SIZE_MAX);
}

void fixture_cut(Fixture *fixture, size_t bytes) {
    Buffer old = file_of(fixture, MODEL);
    file_put(fixture, MODEL, (Bytes){old.data, old.length - bytes});
    buffer_free(&old);
}

// A shard in memory and where a tensor begins in it.
typedef struct Shard {
    char name[128];
    Buffer file;
    ElementType type;
    size_t at;
} Shard;

static Shard shard_open(const Fixture *fixture, const char *name) {
    Shard shard = {0};
    TensorSource all, one;
    cr_assert_eq(safetensors_open(fixture->folder, &all, NULL), OK);
    const SourceTensor *tensor = source_find(&all, name);
    cr_assert_not_null(tensor, "%s", name);
    snprintf(shard.name, sizeof shard.name, "%s", strrchr(tensor->file, '/') + 1);
    shard.file = file_of(fixture, shard.name);
    Bytes bytes = {shard.file.data, shard.file.length};
    cr_assert_eq(safetensors_parse(bytes, shard.name, &one, NULL), OK);
    tensor = source_find(&one, name);
    shard.type = tensor->type;
    shard.at = (size_t)(tensor->data - shard.file.data);
    source_close(&one);
    source_close(&all);
    return shard;
}

static void shard_close(const Fixture *fixture, Shard *shard) {
    file_put(fixture, shard->name, (Bytes){shard->file.data, shard->file.length});
    buffer_free(&shard->file);
}

void fixture_set(Fixture *fixture, const char *name, uint64_t index, float value) {
    Shard shard = shard_open(fixture, name);
    uint8_t *out = shard.file.data + shard.at + index * element_bytes(shard.type);
    uint16_t half = shard.type == ELEMENT_BF16 ? bf16_from_f32(value) : f16_from_f32(value);
    memcpy(out, shard.type == ELEMENT_F32 ? (void *)&value : (void *)&half,
           element_bytes(shard.type));
    shard_close(fixture, &shard);
}

void fixture_flip(Fixture *fixture, const char *name, uint64_t byte) {
    Shard shard = shard_open(fixture, name);
    shard.file.data[shard.at + byte] ^= 1;
    shard_close(fixture, &shard);
}

// Places in the header, from docs/formats.md.
enum { SECTIONS_AT = 96, SECTION_BYTES = 24, DATA_FIRST = 5, CHECKSUM_AT = 336 };

Packed packed_open(const char *folder, WeightLevel level) {
    const WeightsOptions options = {.level = level};
    Packed packed = {.path = "/tmp/tessera-packed-XXXXXX"};
    close(mkstemp(packed.path));
    Weights *weights;
    cr_assert_eq(weights_open(folder, &options, &weights, NULL), OK);
    cr_assert_eq(pack_file_write(weights, bytes_of_text("tables"), packed.path, NULL), OK);
    weights_close(weights);
    cr_assert_eq(file_read(packed.path, 1 << 24, &packed.bytes, NULL), OK);
    for (int i = 0; i < PACKED_SECTIONS; i++) {
        const uint8_t *row = packed.bytes.data + SECTIONS_AT + i * SECTION_BYTES;
        memcpy(&packed.section_at[i], row, sizeof(uint64_t));
        memcpy(&packed.section_bytes[i], row + 8, sizeof(uint64_t));
    }
    return packed;
}

int packed_data(SectionKind kind) {
    return DATA_FIRST + (int)kind;
}

void packed_write(Packed *packed, int section) {
    uint8_t *file = packed->bytes.data;
    uint64_t sum =
        hash64((Bytes){file + packed->section_at[section], packed->section_bytes[section]}, 0);
    memcpy(file + SECTIONS_AT + section * SECTION_BYTES + 16, &sum, sizeof sum);
    sum = hash64((Bytes){file, CHECKSUM_AT}, 0);
    memcpy(file + CHECKSUM_AT, &sum, sizeof sum);
    cr_assert_eq(file_write_whole(packed->path, (Bytes){file, packed->bytes.length}, NULL), OK);
}

void packed_close(Packed *packed) {
    unlink(packed->path);
    buffer_free(&packed->bytes);
}
