// SPDX-License-Identifier: Apache-2.0
// What a picture file says about itself, read from its container without any codec: format, stored
// size, orientation. No limits are applied; media_probe does that.
#ifndef HOST_MEDIA_PROBE_H
#define HOST_MEDIA_PROBE_H

#include "base/bytes.h"
#include "base/status.h"

enum { MEDIA_HEADER_BYTES_MAX = 4 << 20 }; // that are looked at to know a picture's size

typedef enum ImageFormat { IMAGE_JPEG, IMAGE_PNG, IMAGE_WEBP } ImageFormat;

const char *probe_format_name(ImageFormat format); // "JPEG", "PNG", "WebP"

typedef struct ImageInfo {
    ImageFormat format;
    uint32_t width, height;               // upright, that is with the orientation applied
    uint32_t stored_width, stored_height; // as the rows lie in the file
    uint32_t orientation;                 // EXIF value, 1 to 8; 1 when the file says nothing
    uint64_t looked_at;                   // bytes of the file that were read to learn this
} ImageInfo;

// E_IMAGE_FORMAT, E_UNSUPPORTED, E_IMAGE_DAMAGED; sizes are at least 1.
Status probe_file(Bytes file, ImageInfo *info, Error *error);

// For an animated WebP: where the first frame lies on the canvas and its bitstream chunks.
// For a still one: the whole canvas and the whole file.
typedef struct WebpFrame {
    uint32_t x, y;
    Bytes data; // what the decoder is given
} WebpFrame;

// E_IMAGE_DAMAGED.
Status probe_webp_frame(Bytes file, WebpFrame *frame, Error *error);

#endif
