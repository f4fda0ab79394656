// SPDX-License-Identifier: Apache-2.0
#include "base/utf8.h"

// Length announced by the first byte and the allowed range of the second (RFC 3629, section 4).
static size_t utf8_shape(uint8_t first, uint8_t *low, uint8_t *high) {
    *low = 0x80;
    *high = 0xbf;
    if (first < 0x80) {
        return 1;
    }
    if (first >= 0xc2 && first <= 0xdf) {
        return 2;
    }
    if (first >= 0xe0 && first <= 0xef) {
        *low = first == 0xe0 ? 0xa0 : 0x80;
        *high = first == 0xed ? 0x9f : 0xbf;
        return 3;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        *low = first == 0xf0 ? 0x90 : 0x80;
        *high = first == 0xf4 ? 0x8f : 0xbf;
        return 4;
    }
    return 0;
}

// Number of bytes from `at` that form a valid prefix, up to the announced length.
static size_t utf8_valid_prefix(Bytes bytes, size_t at, size_t *announced) {
    uint8_t low, high;
    *announced = at < bytes.length ? utf8_shape(bytes.data[at], &low, &high) : 0;
    if (*announced == 0) {
        return 0;
    }
    size_t have = 1;
    while (have < *announced && at + have < bytes.length) {
        uint8_t byte = bytes.data[at + have];
        if (byte < (have == 1 ? low : 0x80) || byte > (have == 1 ? high : 0xbf)) {
            return have;
        }
        have++;
    }
    return have;
}

size_t utf8_decode(Bytes bytes, size_t at, uint32_t *code) {
    size_t announced;
    size_t have = utf8_valid_prefix(bytes, at, &announced);
    if (announced == 0 || have < announced) {
        return 0;
    }
    const uint8_t *b = bytes.data + at;
    switch (announced) {
    case 1:
        *code = b[0];
        break;
    case 2:
        *code = (uint32_t)(b[0] & 0x1f) << 6 | (b[1] & 0x3f);
        break;
    case 3:
        *code = (uint32_t)(b[0] & 0x0f) << 12 | (uint32_t)(b[1] & 0x3f) << 6 | (b[2] & 0x3f);
        break;
    default:
        *code = (uint32_t)(b[0] & 0x07) << 18 | (uint32_t)(b[1] & 0x3f) << 12 |
                (uint32_t)(b[2] & 0x3f) << 6 | (b[3] & 0x3f);
    }
    return announced;
}

size_t utf8_decode_before(Bytes bytes, size_t at, uint32_t *code) {
    size_t length = at > 0;
    while (length < 4 && length < at && (bytes.data[at - length] & 0xc0) == 0x80) {
        length++;
    }
    return length > 0 && utf8_decode(bytes, at - length, code) == length ? length : 0;
}

size_t utf8_encode(uint32_t code, uint8_t out[4]) {
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (uint8_t)(0xc0 | code >> 6);
        out[1] = (uint8_t)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (uint8_t)(0xe0 | code >> 12);
        out[1] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | code >> 18);
    out[1] = (uint8_t)(0x80 | (code >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (code & 0x3f));
    return 4;
}
