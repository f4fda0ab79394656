// SPDX-License-Identifier: Apache-2.0
// A decoder in a process of its own, for codecs that cannot be interrupted or that have a bad
// record: `tessera-decoder` (host/decoder), locked in by the kernel. It is started at the first
// picture that needs it, stays for the next ones, and is killed when a picture is not wanted any
// more, takes too long, or makes it fail; the next picture gets a new one. Nothing but that picture
// notices.
//
// A MediaChild belongs to one thread, and it ends with that thread: the kernel sees to it, however
// the thread ends.
#ifndef HOST_MEDIA_CHILD_H
#define HOST_MEDIA_CHILD_H

#include "host/decoder/call.h"
#include "host/media/media.h"

typedef struct MediaChild MediaChild;

// What one picture may take. Processor time is what counts on a busy machine; the time by the clock
// is for a decoder that waits for nothing.
typedef struct ChildLimits {
    uint64_t memory_bytes; // of the decoder's own; what is shared is not in it
    uint64_t cpu_ns, wall_ns;
} ChildLimits;

ChildLimits child_limits(uint64_t pixels);

typedef struct ChildTask {
    const char *program; // absolute path; NULL: where child_start.h looks
    DecoderCall call;    // codec, canvas and corner; child_decode fills in the rest
    Bytes input;
    ChildLimits limits;
    const atomic_bool *unwanted; // of MediaLimits
} ChildTask;

// Decodes into memory of the child, *pixels, [height][width][3], with MEDIA_BUFFER_SLACK readable
// bytes behind; it is good until the next call. OK also when the answer says what is wrong with the
// picture. E_IO and E_MEMORY (no decoder could be started, or memory is short), E_IMAGE_DAMAGED (it
// failed on this picture), E_IMAGE_TOO_LARGE (a limit), E_CANCELLED. *child is NULL at first.
Status child_decode(MediaChild **child, ChildTask *task, DecoderAnswer *answer,
                    const uint8_t **pixels, Error *error);

// The number of the process that waits for a picture, 0 when there is none. For tests.
int child_process(const MediaChild *child);

void child_free(MediaChild *child); // NULL is fine; the process is gone afterwards

#endif
