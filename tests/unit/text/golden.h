// SPDX-License-Identifier: Apache-2.0
// Reading the fixtures that tests/golden/text/make_text.py wrote (its head describes the files).
#ifndef TESTS_UNIT_TEXT_GOLDEN_H
#define TESTS_UNIT_TEXT_GOLDEN_H

#include "host/text/tokenizer.h"

#include <string.h>

#define GOLDEN(name) TEST_ROOT "/tests/golden/text/" name

// FNV-1a of 64 bits folded to 32, never 0.
static inline uint32_t golden_hash(const void *data, size_t length) {
    const uint8_t *bytes = data;
    uint64_t value = 0xCBF29CE484222325u;
    for (size_t i = 0; i < length; i++) {
        value = (value ^ bytes[i]) * 0x100000001B3u;
    }
    uint32_t folded = (uint32_t)(value ^ value >> 32);
    return folded != 0 ? folded : 1;
}

static inline uint32_t golden_u32(Bytes bytes, size_t at) {
    uint32_t value;
    memcpy(&value, bytes.data + at, sizeof value);
    return value;
}

static inline uint16_t golden_u16(Bytes bytes, size_t at) {
    uint16_t value;
    memcpy(&value, bytes.data + at, sizeof value);
    return value;
}

#endif
