// SPDX-License-Identifier: Apache-2.0
// One small file of equal entries, each with a checksum of its own. It is read whole and written
// whole; when two processes write at once one entry is lost, which costs hashing once more.
//
// An entry is found by the files, the config, the levels and the beginning of every section. The
// last is there for programs to come: one that rounds or orders the numbers in another way does not
// find the entries of this one.
#include "weights/identity_cache.h"

#include "base/cache.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/num.h"
#include "weights/identity.h"

#include <string.h>
#include <sys/stat.h>

enum { CACHE_FORM = 1, BEGINNING = 1 << 16 };

static const char CACHE_NAME[] = "identities";

static const uint64_t SETTLED_NS = 2000000000u; // some file systems stamp to two seconds only

typedef struct Entry {
    Hash128 key;
    uint64_t checksums[SECTION_COUNT];
    uint64_t check; // of all before it
} Entry;

_Static_assert(sizeof(Entry) == 16 + 8 * SECTION_COUNT + 8, "Entry has padding");

static uint64_t entry_check(const Entry *entry) {
    return hash64((Bytes){(const uint8_t *)entry, offsetof(Entry, check)}, CACHE_FORM);
}

static uint64_t time_ns(struct timespec time) {
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void stamp_file(FilesStamp *stamp, const char *path, uint64_t now_ns) {
    struct stat info;
    if (stat(path, &info) != 0) {
        stamp->settled = false;
        return;
    }
    uint64_t parts[] = {
        stamp->hash.high,       stamp->hash.low,       hash64(bytes_of_text(path), 0),
        (uint64_t)info.st_size, (uint64_t)info.st_dev, (uint64_t)info.st_ino,
        time_ns(info.st_mtim),  time_ns(info.st_ctim)};
    stamp->hash = hash128((Bytes){(const uint8_t *)parts, sizeof parts});
    stamp->settled = stamp->settled && time_ns(info.st_mtim) + SETTLED_NS < now_ns &&
                     time_ns(info.st_ctim) + SETTLED_NS < now_ns;
}

FilesStamp identity_cache_stamp(const TensorSource *tensors) {
    FilesStamp stamp = {.settled = true};
    uint64_t now_ns = clock_utc_ns();
    const char *last = NULL;
    for (size_t i = 0; i < tensors->count; i++) {
        const char *path = tensors->tensors[i].file; // one pointer for all tensors of a file
        if (path != last) {
            stamp_file(&stamp, path, now_ns);
        }
        last = path;
    }
    return stamp;
}

static bool same_hash(Hash128 a, Hash128 b) {
    return a.high == b.high && a.low == b.low;
}

static Hash128 entry_key(const WeightsStore *store, Hash128 files) {
    const ManifestLevels *levels = &store->levels;
    Hash128 config = hash128(store->texts.text[0]);
    uint64_t parts[7 + SECTION_COUNT] = {files.high,      files.low,     config.high,  config.low,
                                         levels->decoder, levels->group, levels->media};
    for (int i = 0; i < SECTION_COUNT; i++) {
        size_t bytes = num_min(store->manifest.section_bytes[i], BEGINNING);
        parts[7 + i] = identity_checksum((Bytes){store->sections[i], bytes});
    }
    return hash128((Bytes){(const uint8_t *)parts, sizeof parts});
}

// The good entries of the file; how many.
static size_t entries_read(Entry out[IDENTITY_CACHE_MAX]) {
    char path[CACHE_PATH_MAX];
    Buffer file = {0};
    size_t count = 0;
    if (cache_path(CACHE_NAME, path) &&
        file_read(path, IDENTITY_CACHE_MAX * sizeof *out, &file, NULL) == OK) {
        for (size_t at = 0; at + sizeof *out <= file.length; at += sizeof *out) {
            memcpy(&out[count], file.data + at, sizeof *out);
            count += out[count].check == entry_check(&out[count]);
        }
    }
    buffer_free(&file);
    return count;
}

static bool cache_get(Hash128 key, uint64_t checksums[SECTION_COUNT]) {
    Entry entries[IDENTITY_CACHE_MAX];
    size_t count = entries_read(entries);
    for (size_t i = 0; i < count; i++) {
        if (same_hash(entries[i].key, key)) {
            memcpy(checksums, entries[i].checksums, sizeof entries[i].checksums);
            return true;
        }
    }
    return false;
}

static void cache_put(Hash128 key, const uint64_t checksums[SECTION_COUNT]) {
    Entry entries[IDENTITY_CACHE_MAX + 1];
    size_t old = entries_read(entries + 1), count = 1;
    entries[0] = (Entry){.key = key};
    memcpy(entries[0].checksums, checksums, sizeof entries[0].checksums);
    entries[0].check = entry_check(&entries[0]);
    for (size_t i = 1; i <= old && count < IDENTITY_CACHE_MAX; i++) {
        if (!same_hash(entries[i].key, key)) {
            entries[count++] = entries[i];
        }
    }
    cache_write(CACHE_NAME, (Bytes){(const uint8_t *)entries, count * sizeof *entries});
}

void identity_cache_sections(WeightsStore *store, const TensorSource *tensors, FilesStamp before,
                             uint32_t threads) {
    FilesStamp now = identity_cache_stamp(tensors);
    bool usable = before.settled && now.settled && same_hash(before.hash, now.hash);
    Hash128 key = entry_key(store, now.hash);
    if (usable && cache_get(key, store->checksums.sections)) {
        return;
    }
    identity_hash_sections(store, threads);
    if (usable) {
        cache_put(key, store->checksums.sections);
    }
}
