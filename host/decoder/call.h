// SPDX-License-Identifier: Apache-2.0
// What the program asks its decoder, a process of its own, and what that answers. One call and one
// answer a picture, each a message of a socket; file and pixels lie in memory that both see:
//
//   [height][width][3] RGB pixels, DECODER_SLACK bytes, the file's bytes, the rest is free
//
// The memory travels as a descriptor with the first call that uses it. Its size never changes, so
// neither side can take it away under the other. Before the first call the decoder says that it is
// locked in, by a message of one byte. The decoder sends numbers and pixels only, never a
// text: what a client is told is always a sentence of ours.
#ifndef HOST_DECODER_CALL_H
#define HOST_DECODER_CALL_H

#include "base/num.h"

enum {
    DECODER_FORM = 1,   // of the two structs; a program and a decoder that differ say so
    DECODER_SLACK = 64, // readable bytes behind the pixels (MEDIA_BUFFER_SLACK)
    DECODER_SOCKET = 0, // its one descriptor
};

typedef enum DecoderCodec { DECODER_WEBP = 1 } DecoderCodec;

typedef struct DecoderCall {
    uint32_t form;
    uint32_t codec;         // DecoderCodec
    uint32_t width, height; // of the canvas
    uint32_t x, y;          // of the frame's corner on it; what the frame leaves is black
    uint64_t input_length;
    uint64_t memory_bytes; // of the shared memory
} DecoderCall;

typedef enum DecoderFault {
    DECODER_DONE,
    DECODER_DAMAGED,
    DECODER_CUT, // ends too early
    DECODER_UNSUPPORTED,
    DECODER_NO_MEMORY,
    DECODER_OUTSIDE, // the frame does not lie on the canvas
    DECODER_FAULTS,
} DecoderFault;

typedef struct DecoderAnswer {
    uint32_t fault;         // DecoderFault
    uint32_t width, height; // of the frame, once they are known
} DecoderAnswer;

// The status with which it ends when there is nothing wrong with a picture.
enum {
    DECODER_ENDS_UNCONFINED = 3, // the kernel does not let it lock itself in
    DECODER_ENDS_OTHER_FORM = 4, // the call is of another form
};

// Where the file's bytes begin and how much memory is needed. False when that is no number.
static inline bool decoder_layout(const DecoderCall *call, uint64_t *input_at, uint64_t *bytes) {
    uint64_t pixels, rounded;
    if (!num_mul((uint64_t)call->width * call->height, 3, &pixels) ||
        !num_add(pixels, 2 * DECODER_SLACK, &rounded)) {
        return false;
    }
    *input_at = rounded / DECODER_SLACK * DECODER_SLACK;
    return num_add(*input_at, call->input_length, bytes);
}

#endif
