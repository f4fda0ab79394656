// SPDX-License-Identifier: Apache-2.0
// Layout of TIFF: byte order "II" or "MM", 42, offset of the first directory; a directory is a
// count and entries of 12 bytes: tag, type, number of values, value (TIFF 6.0, section 2).
#include "host/media/exif.h"

#include <string.h>

#include "base/num.h"

enum {
    TAG_ORIENTATION = 0x0112,
    TYPE_BYTE = 1,
    TYPE_SHORT = 3,
    TYPE_LONG = 4,
    ENTRY_BYTES = 12,
};

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

uint32_t exif_orientation(Bytes data) {
    static const char prefix[6] = {'E', 'x', 'i', 'f', 0, 0};
    if (data.length >= sizeof prefix && memcmp(data.data, prefix, sizeof prefix) == 0) {
        data = (Bytes){data.data + sizeof prefix, data.length - sizeof prefix};
    }
    if (data.length < 8) {
        return 0;
    }
    Tiff tiff = {.bytes = data, .big_endian = memcmp(data.data, "MM", 2) == 0};
    if ((!tiff.big_endian && memcmp(data.data, "II", 2) != 0) || tiff_u16(&tiff, 2) != 42) {
        return 0;
    }
    uint64_t directory = tiff_u32(&tiff, 4);
    uint32_t entry_count = tiff_u16(&tiff, directory);
    for (uint32_t i = 0; i < entry_count; i++) {
        uint64_t entry = directory + 2 + (uint64_t)i * ENTRY_BYTES;
        if (entry >= data.length) {
            return 0; // the count is the file's word
        }
        if (tiff_u16(&tiff, entry) != TAG_ORIENTATION || tiff_u32(&tiff, entry + 4) != 1) {
            continue;
        }
        switch (tiff_u16(&tiff, entry + 2)) {
        case TYPE_BYTE:
            return num_in_range(entry + 8, 1, data.length) ? data.data[entry + 8] : 0;
        case TYPE_SHORT:
            return tiff_u16(&tiff, entry + 8);
        case TYPE_LONG:
            return tiff_u32(&tiff, entry + 8);
        default:
            return 0;
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
