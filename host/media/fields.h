// SPDX-License-Identifier: Apache-2.0
// Numbers as picture containers store them, and pieces of a file. Nothing here checks bounds but
// field_slice, which takes a range that was checked.
#ifndef HOST_MEDIA_FIELDS_H
#define HOST_MEDIA_FIELDS_H

#include <string.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/num.h"

static inline uint32_t field_big_u16(const uint8_t *p) {
    return (uint32_t)p[0] << 8 | p[1];
}

static inline uint32_t field_big_u32(const uint8_t *p) {
    return field_big_u16(p) << 16 | field_big_u16(p + 2);
}

static inline void field_put_big_u32(uint8_t *p, uint32_t value) {
    for (int i = 0; i < 4; i++) {
        p[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

static inline uint32_t field_little_u16(const uint8_t *p) {
    return (uint32_t)p[1] << 8 | p[0];
}

static inline uint32_t field_little_u24(const uint8_t *p) {
    return (uint32_t)p[2] << 16 | field_little_u16(p);
}

static inline uint32_t field_little_u32(const uint8_t *p) {
    return field_little_u16(p + 2) << 16 | field_little_u16(p);
}

static inline bool field_starts_with(Bytes bytes, const void *prefix, size_t length) {
    return bytes.length >= length && memcmp(bytes.data, prefix, length) == 0;
}

static inline Bytes field_slice(Bytes bytes, size_t offset, size_t length) {
    REQUIRE(num_in_range(offset, length, bytes.length));
    return (Bytes){bytes.data + offset, length};
}

#endif
