// SPDX-License-Identifier: Apache-2.0
// Turning a stored picture upright by its EXIF orientation (Exif 2.32, 4.6.4, tag 0x0112):
//   1 as stored           5 mirrored about the main diagonal (rows become columns)
//   2 mirrored left-right 6 to be turned 90 degrees clockwise
//   3 turned 180 degrees  7 mirrored about the other diagonal
//   4 mirrored top-bottom 8 to be turned 90 degrees anticlockwise
#ifndef HOST_MEDIA_ORIENT_H
#define HOST_MEDIA_ORIENT_H

#include "host/media/media.h"

// Writes the stored rows [first, first + count) to their places in the upright picture
// `out` [height][width][3]. `rows` are `stride` bytes apart.
void orient_rows(const ImageInfo *info, const uint8_t *rows, size_t stride, uint32_t first,
                 uint32_t count, uint8_t *out);

#endif
