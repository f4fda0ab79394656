// SPDX-License-Identifier: Apache-2.0
// The three decoders behind one form: they push rows of 8-bit RGB, in the stored orientation, to a
// sink. The caller has applied the limits to `info`, which came from probe_file of the same bytes.
// A damaged file may have pushed some rows before the error comes back.
#ifndef HOST_MEDIA_READ_H
#define HOST_MEDIA_READ_H

#include "host/media/media.h"

typedef struct RowSink RowSink;
struct RowSink {
    // Rows [first, first + count) of the stored picture: [count][stored_width][3], `stride` bytes
    // apart, MEDIA_BUFFER_SLACK readable bytes after the last. Each row comes once, in order.
    void (*push)(RowSink *sink, const uint8_t *rows, size_t stride, uint32_t first, uint32_t count);
    const atomic_bool *unwanted; // of MediaLimits
};

// A decoder asks before every few rows and then leaves with read_cancelled.
static inline bool read_unwanted(const RowSink *sink) {
    return sink->unwanted != NULL && atomic_load_explicit(sink->unwanted, memory_order_relaxed);
}

static inline Status read_cancelled(Error *error) {
    return error_set(error, E_CANCELLED, "nobody wants the picture any more");
}

// Rows decoded at a time where a codec can stream: enough for the kernels to work on several rows
// at once, few enough to stay in the second-level cache.
enum { READ_STRIP_ROWS = 32 };

// E_IMAGE_DAMAGED, E_IMAGE_TOO_LARGE, E_UNSUPPORTED, E_MEMORY, E_CANCELLED. `work` is grown as
// needed.
Status read_jpeg(Bytes file, const ImageInfo *info, MediaBuffer *work, RowSink *sink, Error *error);
Status read_png(Bytes file, const ImageInfo *info, MediaBuffer *work, RowSink *sink, Error *error);

// In a process of its own: also E_IO.
Status read_webp(Bytes file, const ImageInfo *info, struct MediaChild **child, RowSink *sink,
                 Error *error);

#endif
