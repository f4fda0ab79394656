// SPDX-License-Identifier: Apache-2.0
// Where one MessagePack message ends, and whether it keeps the limits, before any parser sees it.
//
// MessagePack delimits itself, but its parsers allocate on the word of a header: five bytes can ask
// for 96 GiB. This scanner walks the headers only, allocates nothing, can stop at any byte and go
// on when more arrive, and refuses a message at the first header that breaks a limit. Bytes in, a
// length out: no socket, no clock. One Frame per connection.
#ifndef RPC_FRAME_H
#define RPC_FRAME_H

#include "base/bytes.h"
#include "base/status.h"

enum { FRAME_DEPTH_MAX = 16 };

typedef struct FrameLimits {
    uint64_t message_bytes_max; // of one whole message
    uint32_t depth_max;         // nested arrays and maps, at most FRAME_DEPTH_MAX
    uint32_t objects_max;       // values of any type in one message: bounds what a parser allocates
    uint32_t array_max;         // elements of one array
    uint32_t map_max;           // pairs of one map
    uint64_t text_bytes_max;    // of one string
    uint64_t binary_bytes_max;  // of one bin
} FrameLimits;

// 32 MiB a message, depth 8, 262,144 objects, arrays of 65,536, maps of 64, strings of 4 MiB, bins
// of the whole message.
FrameLimits frame_limits_default(void);

typedef struct Frame {
    FrameLimits limits;
    uint64_t position; // bytes of the message that are understood, payloads included
    uint64_t dropped;  // of these: bytes that are not buffered any more
    uint64_t wanted;   // least length the buffer must have before another scan can get further
    uint32_t objects;
    bool complete; // the last header is read; its payload may still be arriving
    uint32_t depth;
    uint64_t left[FRAME_DEPTH_MAX]; // values still to come at each depth
} Frame;

void frame_open(Frame *frame, const FrameLimits *limits);

// Scans `buffered`, which starts at a message's first byte (or behind those that were dropped) and
// holds all that has arrived of it (and may hold more). OK with *length > 0: the first *length
// bytes are one message, and the frame is ready for the next. OK with *length = 0: more bytes are
// needed, at least until frame->wanted. E_MESSAGE (not MessagePack, or a type that is not allowed),
// E_MESSAGE_LIMIT (the text names the limit and both numbers). After an error the connection cannot
// be resynchronised and must be closed.
Status frame_next(Frame *frame, Bytes buffered, size_t *length, Error *error);

// For a message that is only to be got over: how many bytes, buffered and still to come, need not
// be kept; and that the first `count` of these are gone.
size_t frame_understood(const Frame *frame);
bool frame_drop(Frame *frame, size_t count); // true: the message is over, the next one comes

#endif
