// SPDX-License-Identifier: Apache-2.0
// What a picture file says about itself, read from its container without any codec: format, stored
// size, orientation. No limits are applied; media_probe does that.
#ifndef HOST_MEDIA_PROBE_H
#define HOST_MEDIA_PROBE_H

#include "host/media/media.h"

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
