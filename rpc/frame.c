// SPDX-License-Identifier: Apache-2.0
#include "rpc/frame.h"

#include "base/check.h"
#include "base/num.h"

FrameLimits frame_limits_default(void) {
    return (FrameLimits){
        .message_bytes_max = 32u << 20,
        .depth_max = 8,
        .objects_max = 262144,
        .array_max = 65536,
        .map_max = 64,
        .text_bytes_max = 4u << 20,
        .binary_bytes_max = 32u << 20,
    };
}

void frame_open(Frame *frame, const FrameLimits *limits) {
    REQUIRE(limits->depth_max <= FRAME_DEPTH_MAX);
    *frame = (Frame){.limits = *limits};
}

size_t frame_understood(const Frame *frame) {
    return (size_t)(frame->position - frame->dropped);
}

bool frame_drop(Frame *frame, size_t count) {
    REQUIRE(count <= frame_understood(frame));
    frame->dropped += count;
    bool over = frame->complete && frame_understood(frame) == 0;
    if (over) {
        FrameLimits limits = frame->limits;
        frame_open(frame, &limits);
    }
    return over;
}

typedef enum HeaderKind {
    HEADER_SCALAR,
    HEADER_TEXT,
    HEADER_BINARY,
    HEADER_ARRAY,
    HEADER_MAP
} HeaderKind;

// A value's header: what it is, the bytes of tag and count, and the count or fixed payload that
// follows.
typedef struct Header {
    HeaderKind kind;
    uint32_t bytes;   // tag and big-endian count
    uint64_t payload; // scalar, text, binary: bytes after the header; array, map: elements
} Header;

static uint64_t big_endian(const uint8_t *bytes, uint32_t count) {
    uint64_t value = 0;
    for (uint32_t i = 0; i < count; i++) {
        value = value << 8 | bytes[i];
    }
    return value;
}

// Shape of the tag alone: kind, bytes of the count, payload of scalars. False for tags that are
// never used (0xc1) or not allowed here (extension types).
static bool header_shape(uint8_t tag, HeaderKind *kind, uint32_t *count_bytes, uint64_t *payload) {
    *kind = HEADER_SCALAR;
    *count_bytes = 0;
    *payload = 0;
    if (tag <= 0x7f || tag >= 0xe0 || tag == 0xc0 || tag == 0xc2 || tag == 0xc3) {
        return true; // small integers, nil, false, true
    }
    if (tag <= 0x8f) {
        *kind = HEADER_MAP;
        *payload = tag & 0x0fu;
        return true;
    }
    if (tag <= 0x9f) {
        *kind = HEADER_ARRAY;
        *payload = tag & 0x0fu;
        return true;
    }
    if (tag <= 0xbf) {
        *kind = HEADER_TEXT;
        *payload = tag & 0x1fu;
        return true;
    }
    if (tag >= 0xc4 && tag <= 0xc6) {
        *kind = HEADER_BINARY;
        *count_bytes = 1u << (tag - 0xc4);
        return true;
    }
    if (tag == 0xca || tag == 0xcb) {
        *payload = tag == 0xca ? 4 : 8;
        return true;
    }
    if (tag >= 0xcc && tag <= 0xd3) {
        *payload = 1u << (tag & 3u);
        return true;
    }
    if (tag >= 0xd9 && tag <= 0xdb) {
        *kind = HEADER_TEXT;
        *count_bytes = 1u << (tag - 0xd9);
        return true;
    }
    if (tag >= 0xdc) { // 0xdc, 0xdd arrays, 0xde, 0xdf maps
        *kind = tag <= 0xdd ? HEADER_ARRAY : HEADER_MAP;
        *count_bytes = (tag & 1u) ? 4 : 2;
        return true;
    }
    return false;
}

static Status check_limit(uint64_t value, uint64_t limit, const char *what, Error *error) {
    if (value > limit) {
        return error_set(error, E_MESSAGE_LIMIT, "%s: %llu, at most %llu are allowed", what,
                         (unsigned long long)value, (unsigned long long)limit);
    }
    return OK;
}

static Status check_header(const FrameLimits *limits, const Header *header, Error *error) {
    switch (header->kind) {
    case HEADER_TEXT:
        return check_limit(header->payload, limits->text_bytes_max, "bytes of a string", error);
    case HEADER_BINARY:
        return check_limit(header->payload, limits->binary_bytes_max, "bytes of a bin", error);
    case HEADER_ARRAY:
        return check_limit(header->payload, limits->array_max, "elements of an array", error);
    case HEADER_MAP:
        return check_limit(header->payload, limits->map_max, "pairs of a map", error);
    default:
        return OK;
    }
}

// One value is done: closes every array and map that it completes. True when that was the message.
static bool frame_close_value(Frame *frame) {
    while (frame->depth > 0) {
        if (--frame->left[frame->depth - 1] > 0) {
            return false;
        }
        frame->depth--;
    }
    return true;
}

// Reads the next header at frame->position. False when its bytes have not all arrived.
static Status frame_header(Frame *frame, Bytes buffered, Header *header, bool *whole,
                           Error *error) {
    *whole = false;
    size_t at = frame_understood(frame);
    if (at >= buffered.length) {
        frame->wanted = frame->position + 1;
        return OK;
    }
    const uint8_t *bytes = buffered.data + at;
    uint32_t count_bytes;
    if (!header_shape(bytes[0], &header->kind, &count_bytes, &header->payload)) {
        return error_set(error, E_MESSAGE,
                         "byte %llu is 0x%02x, which is no MessagePack value this protocol uses",
                         (unsigned long long)frame->position, bytes[0]);
    }
    header->bytes = 1 + count_bytes;
    if (buffered.length - at < header->bytes) {
        frame->wanted = frame->position + header->bytes;
        return OK;
    }
    if (count_bytes > 0) {
        header->payload = big_endian(bytes + 1, count_bytes);
    }
    *whole = true;
    return check_header(&frame->limits, header, error);
}

// Goes on until the message's last header is read (frame->complete) or bytes are missing.
static Status frame_scan(Frame *frame, Bytes buffered, Error *error) {
    while (!frame->complete) {
        Header header;
        bool whole;
        TRY(frame_header(frame, buffered, &header, &whole, error));
        if (!whole) {
            break;
        }
        TRY(check_limit(++frame->objects, frame->limits.objects_max, "values in a message", error));
        bool container = header.kind == HEADER_ARRAY || header.kind == HEADER_MAP;
        frame->position += header.bytes + (container ? 0 : header.payload);
        frame->wanted = frame->position;
        if (container && header.payload > 0) {
            TRY(check_limit(frame->depth + 1, frame->limits.depth_max, "nested arrays and maps",
                            error));
            frame->left[frame->depth++] = header.payload * (header.kind == HEADER_MAP ? 2 : 1);
        } else {
            frame->complete = frame_close_value(frame);
        }
        TRY(check_limit(frame->wanted, frame->limits.message_bytes_max, "bytes of a message",
                        error));
    }
    return check_limit(frame->wanted, frame->limits.message_bytes_max, "bytes of a message", error);
}

Status frame_next(Frame *frame, Bytes buffered, size_t *length, Error *error) {
    *length = 0;
    TRY(frame_scan(frame, buffered, error));
    if (frame->complete && frame_understood(frame) <= buffered.length) {
        *length = frame_understood(frame);
        FrameLimits limits = frame->limits;
        frame_open(frame, &limits);
    }
    return OK;
}
