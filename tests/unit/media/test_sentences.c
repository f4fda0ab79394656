// SPDX-License-Identifier: Apache-2.0
// What a broken picture is answered with is one of our own sentences, never one of a library: the
// texts go to clients. Tried on the fuzzer's corpus, on every fixture, and on what is left of them
// after cuts and wrong bytes.
#include "media_fixture.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "base/prng.h"

// All that media_load may say of a file, a `*` for what it names.
static const char *const sentences[] = {
    "the picture file has * bytes; at most * are taken",
    "the picture file has more than * bytes of headers; save it again without its metadata",
    "the * is * x * pixels; a side may have at most *",
    "the * is * x * = * pixels; at most * are taken",
    "the file is no JPEG, PNG or WebP picture by its first bytes and looks like *; convert it",
    "the * file declares no size (* x *); save it again",
    "the JPEG file ends inside its headers; fetch it anew",
    "the JPEG file ends inside its frame header; fetch it anew",
    "the JPEG file ends before its last row; fetch it anew",
    "the JPEG has * bits per sample; save it with 8",
    "the JPEG has * colour components; save it with 1, 3 or 4",
    "the JPEG has two frame headers that disagree; save it again",
    "the JPEG has more than 200 scans; save it again",
    "the JPEG is of a kind that is not decoded here; save it as an ordinary JPEG or PNG",
    "the JPEG is damaged; save it again or fetch it anew",
    "the PNG file ends before its pixels; save it again or fetch it anew",
    "the PNG file ends inside a chunk behind its pixels; save it again or fetch it anew",
    "the PNG file has a header that no reader knows; save it again or fetch it anew",
    "the PNG file has a header chunk whose sum is wrong; save it again or fetch it anew",
    "the PNG file has a palette of more than 256 colours; save it again or fetch it anew",
    "the PNG file has a transparent colour that is cut; save it again or fetch it anew",
    "the PNG is damaged; save it again or fetch it anew",
    "the WebP file ends inside its RIFF header; save it again or fetch it anew",
    "the WebP file ends inside its frame header; save it again or fetch it anew",
    "the WebP file ends before its last row; fetch it anew",
    "the WebP file is shorter than its RIFF header says; save it again or fetch it anew",
    "the WebP file has a chunk that is longer than the file; save it again or fetch it anew",
    "the WebP file has a first frame without a picture; save it again or fetch it anew",
    "the WebP file holds no picture; save it again or fetch it anew",
    "the WebP has a frame of * x * at (*, *), outside its canvas of * x *; save it again",
    "the WebP is of a kind that is not decoded here; save it as an ordinary WebP or PNG",
    "the WebP is damaged; save it again or fetch it anew",
};

static bool is_ours(const char *text) {
    for (size_t i = 0; i < sizeof sentences / sizeof sentences[0]; i++) {
        if (fnmatch(sentences[i], text, 0) == 0) {
            return true;
        }
    }
    return false;
}

typedef struct Trial {
    MediaScratch scratch;
    Patches patches;
    uint32_t refused;
} Trial;

// Small limits, so that a wrong byte in a size costs no time.
static void try_file(Trial *trial, const char *name, const uint8_t *data, size_t length) {
    const MediaLimits limits = {.file_bytes_max = 1 << 20, .pixels_max = 1 << 20, .side_max = 4096};
    Error error;
    Status status =
        media_load((Bytes){data, length}, &limits, 70, &trial->scratch, &trial->patches, &error);
    trial->refused += status != OK;
    cr_expect(status == OK || is_ours(error.text), "%s: %s", name, error.text);
}

// The file, cut at some places, and with a few bytes changed in many ways.
static void try_broken(Trial *trial, const char *name, const Buffer *file, uint64_t seed) {
    try_file(trial, name, file->data, file->length);
    for (size_t part = 1; part < 8; part++) {
        try_file(trial, name, file->data, file->length * part / 8);
    }
    for (uint64_t round = 0; file->length > 0 && round < 16; round++) {
        Buffer broken = {0};
        buffer_append(&broken, file->data, file->length);
        for (uint64_t change = 0; change <= round % 4; change++) {
            size_t range = round < 8 ? file->length : file->length < 200 ? file->length : 200;
            size_t at = (size_t)(prng_u64(seed, round, 2 * change) % range);
            broken.data[at] = (uint8_t)prng_u64(seed, round, 2 * change + 1);
        }
        try_file(trial, name, broken.data, broken.length);
        buffer_free(&broken);
    }
}

static void try_folder(Trial *trial, const char *below_golden) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", MEDIA_GOLDEN, below_golden);
    DIR *folder = opendir(path);
    cr_assert_not_null(folder, "%s", path);
    struct dirent *entry;
    for (uint64_t seed = 1; (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        snprintf(path, sizeof path, "%s/%s", below_golden, entry->d_name);
        Buffer file = fixture_read(path);
        try_broken(trial, path, &file, seed++);
        buffer_free(&file);
    }
    closedir(folder);
}

Test(sentences, are_all_that_is_said_of_a_broken_picture) {
    Trial trial = {0};
    try_folder(&trial, "files");
    try_folder(&trial, "../../fuzz/corpus/image");
    cr_assert_gt(trial.refused, 2000);
    patches_free(&trial.patches);
    media_scratch_free(&trial.scratch);
}

Test(sentences, begin_small_and_end_without_a_stop) {
    for (size_t i = 0; i < sizeof sentences / sizeof sentences[0]; i++) {
        size_t length = strlen(sentences[i]);
        cr_expect(sentences[i][0] == 't' && sentences[i][length - 1] != '.', "%s", sentences[i]);
        cr_expect_not_null(strchr(sentences[i], ';'), "no remedy: %s", sentences[i]);
    }
}
