// SPDX-License-Identifier: Apache-2.0
#include "fixture.h"

#include "base/f16.h"
#include "base/file.h"
#include "base/file_write.h"
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

static void element_put(ElementType type, float value, uint8_t *out) {
    uint16_t half = type == ELEMENT_BF16 ? bf16_from_f32(value) : f16_from_f32(value);
    type == ELEMENT_F32 ? memcpy(out, &value, sizeof value) : memcpy(out, &half, sizeof half);
}

void fixture_set(Fixture *fixture, const char *name, uint64_t index, float value) {
    Safetensors all, one;
    cr_assert_eq(safetensors_open(fixture->folder, &all, NULL), OK);
    const SafetensorsTensor *tensor = safetensors_find(&all, name);
    cr_assert_not_null(tensor, "%s", name);
    const char *shard = strrchr(tensor->file, '/') + 1;
    Buffer file = file_of(fixture, shard);
    cr_assert_eq(safetensors_parse((Bytes){file.data, file.length}, shard, &one, NULL), OK);
    tensor = safetensors_find(&one, name);
    size_t at = (size_t)(tensor->data - file.data) + index * element_bytes(tensor->type);
    element_put(tensor->type, value, file.data + at);
    file_put(fixture, shard, (Bytes){file.data, file.length});
    safetensors_close(&one);
    safetensors_close(&all);
    buffer_free(&file);
}
