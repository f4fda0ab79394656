// SPDX-License-Identifier: Apache-2.0
// Layout of TIFF: byte order "II" or "MM", 42, offset of the first directory; a directory is a
// count and entries of 12 bytes: tag, type, number of values, value (TIFF 6.0, section 2).
#include "host/media/exif.h"

#include <string.h>

#include "base/num.h"

enum { TAG_ORIENTATION = 0x0112, ENTRY_BYTES = 12, NO_TURN = 9 };

enum {
    TYPE_SHORT = 3,
    TYPE_LONG = 4,
    TYPE_RATIONAL = 5,
    TYPE_SIGNED_BYTE = 6,
    TYPE_SIGNED_SHORT = 8,
    TYPE_SIGNED_LONG = 9,
    TYPE_SIGNED_RATIONAL = 10,
    TYPE_FLOAT = 11,
    TYPE_DOUBLE = 12,
    TYPE_DIRECTORY = 13,
    TYPE_LONG8 = 16,
    TYPES,
};

// Bytes of a value by its type; 0 for no type.
static const uint8_t type_bytes[TYPES] = {0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8};

typedef struct Tiff {
    Bytes bytes;
    bool big_endian;
} Tiff;

// 0 outside the data: no number that matters here is 0.
static uint32_t tiff_u16(const Tiff *tiff, uint64_t offset) {
    if (!num_in_range(offset, 2, tiff->bytes.length)) {
        return 0;
    }
    const uint8_t *p = tiff->bytes.data + offset;
    return tiff->big_endian ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
}

static uint32_t tiff_u32(const Tiff *tiff, uint64_t offset) {
    uint32_t a = tiff_u16(tiff, offset), b = tiff_u16(tiff, offset + 2);
    return tiff->big_endian ? a << 16 | b : b << 16 | a;
}

static uint64_t tiff_u64(const Tiff *tiff, uint64_t offset) {
    uint64_t a = tiff_u32(tiff, offset), b = tiff_u32(tiff, offset + 4);
    return tiff->big_endian ? a << 32 | b : b << 32 | a;
}

static uint32_t turn_of(double value) {
    return value >= 1.0 && value <= 8.0 && value == (double)(uint32_t)value ? (uint32_t)value
                                                                            : NO_TURN;
}

static uint32_t turn_at(const Tiff *tiff, uint32_t type, uint64_t offset) {
    float single;
    double twice;
    uint32_t word = tiff_u32(tiff, offset), second = tiff_u32(tiff, offset + 4);
    uint64_t wide = tiff_u64(tiff, offset);
    switch (type) {
    case TYPE_SIGNED_BYTE:
        return turn_of(tiff->bytes.data[offset]);
    case TYPE_SHORT:
    case TYPE_SIGNED_SHORT:
        return turn_of(tiff_u16(tiff, offset));
    case TYPE_LONG:
    case TYPE_SIGNED_LONG:
    case TYPE_DIRECTORY:
        return turn_of(word);
    case TYPE_LONG8:
        return turn_of((double)wide);
    case TYPE_RATIONAL:
    case TYPE_SIGNED_RATIONAL:
        if (second == 0 || word % second != 0) {
            return NO_TURN;
        }
        word /= second;
        return turn_of(word);
    case TYPE_FLOAT:
        memcpy(&single, &word, sizeof single);
        return turn_of((double)single);
    case TYPE_DOUBLE:
        memcpy(&twice, &wide, sizeof twice);
        return turn_of(twice);
    default:
        return NO_TURN;
    }
}

// One of the four headers that Pillow takes: 42 may stand in the other byte order.
static bool tiff_open(Bytes data, Tiff *tiff) {
    static const char prefix[6] = {'E', 'x', 'i', 'f', 0, 0};
    for (int i = 0; i < 2; i++) {
        if (data.length >= sizeof prefix && memcmp(data.data, prefix, sizeof prefix) == 0) {
            data = (Bytes){data.data + sizeof prefix, data.length - sizeof prefix};
        }
    }
    if (data.length < 8) {
        return false;
    }
    *tiff = (Tiff){.bytes = data, .big_endian = memcmp(data.data, "MM", 2) == 0};
    return (tiff->big_endian || memcmp(data.data, "II", 2) == 0) &&
           (tiff_u16(tiff, 2) == 42 || tiff_u16(tiff, 2) == 42 << 8);
}

// Values of more than 4 bytes lie elsewhere. One outside the data ends the directory, for Pillow
// gives up there; one that makes all of them longer than the data is passed over.
uint32_t exif_orientation(Bytes data) {
    Tiff tiff;
    if (!tiff_open(data, &tiff)) {
        return 0;
    }
    uint64_t directory = tiff_u32(&tiff, 4), elsewhere = 0;
    uint32_t entry_count = tiff_u16(&tiff, directory);
    for (uint32_t i = 0; i < entry_count; i++) {
        uint64_t entry = directory + 2 + (uint64_t)i * ENTRY_BYTES;
        if (!num_in_range(entry, ENTRY_BYTES, tiff.bytes.length)) {
            return 0; // the count is the file's word
        }
        uint32_t type = tiff_u16(&tiff, entry + 2);
        uint64_t size = type < TYPES ? (uint64_t)tiff_u32(&tiff, entry + 4) * type_bytes[type] : 0;
        uint64_t at = size > 4 ? tiff_u32(&tiff, entry + 8) : entry + 8;
        if (size > 4) {
            elsewhere += size;
            if (elsewhere > tiff.bytes.length) {
                continue;
            }
        }
        if (!num_in_range(at, size, tiff.bytes.length)) {
            return 0;
        }
        if (tiff_u16(&tiff, entry) == TAG_ORIENTATION && size > 0) {
            return turn_at(&tiff, type, at);
        }
    }
    return 0;
}

uint32_t exif_orientation_xmp(Bytes data) {
    static const char name[] = "tiff:Orientation";
    if (data.length == 0) {
        return 0;
    }
    const uint8_t *at = data.data, *end = data.data + data.length;
    while ((at = memmem(at, (size_t)(end - at), name, sizeof name - 1)) != NULL) {
        at += sizeof name - 1;
        size_t skip = at < end && *at == '>'                       ? 1
                      : end - at >= 2 && memcmp(at, "=\"", 2) == 0 ? 2
                                                                   : 0;
        if (skip > 0 && (size_t)(end - at) > skip && at[skip] >= '0' && at[skip] <= '9') {
            return at[skip] - '0';
        }
    }
    return 0;
}
