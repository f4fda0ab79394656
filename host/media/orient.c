// SPDX-License-Identifier: Apache-2.0
// Every orientation is the same work: runs of pixels that are neighbours in the upright picture are
// gathered from the stored rows, where they lie one step apart: a pixel or a row, forwards or
// backwards. When rows become columns, a run is as long as the strip is high, so strips of some
// height keep the writes in whole cache lines.
#include "host/media/orient.h"

#include <string.h>

enum { PIXEL_BYTES = 3 };

// Moves of 4 bytes are quicker than of 3; what they spill is overwritten by the next pixel.
static void gather_run(uint8_t *to, const uint8_t *from, ptrdiff_t step, uint32_t count) {
    for (uint32_t i = 0; i + 1 < count; i++) {
        memcpy(to, from, PIXEL_BYTES + 1);
        to += PIXEL_BYTES;
        from += step;
    }
    memcpy(to, from, PIXEL_BYTES);
}

// Stored row y becomes row y or, upside down, the row as far from the bottom.
static void place_rows(const ImageInfo *info, const uint8_t *rows, size_t stride, uint32_t first,
                       uint32_t count, uint8_t *out) {
    bool mirrored = info->orientation == 2 || info->orientation == 3;
    bool upside_down = info->orientation == 3 || info->orientation == 4;
    size_t out_stride = (size_t)info->width * PIXEL_BYTES;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t y = upside_down ? info->height - 1 - (first + i) : first + i;
        uint8_t *to = out + y * out_stride;
        const uint8_t *row = rows + i * stride;
        if (mirrored) {
            gather_run(to, row + out_stride - PIXEL_BYTES, -PIXEL_BYTES, info->width);
        } else {
            memcpy(to, row, out_stride);
        }
    }
}

// Stored column x becomes row x or the row as far from the bottom; the strip becomes a run in it.
static void place_columns(const ImageInfo *info, const uint8_t *rows, size_t stride, uint32_t first,
                          uint32_t count, uint8_t *out) {
    bool leftwards = info->orientation == 6 || info->orientation == 7;
    bool upside_down = info->orientation == 7 || info->orientation == 8;
    size_t out_stride = (size_t)info->width * PIXEL_BYTES;
    uint32_t column = leftwards ? info->width - (first + count) : first;
    const uint8_t *start = leftwards ? rows + (count - 1) * stride : rows;
    ptrdiff_t step = leftwards ? -(ptrdiff_t)stride : (ptrdiff_t)stride;
    for (uint32_t x = 0; x < info->stored_width; x++) {
        uint32_t y = upside_down ? info->height - 1 - x : x;
        gather_run(out + y * out_stride + (size_t)column * PIXEL_BYTES,
                   start + (size_t)x * PIXEL_BYTES, step, count);
    }
}

void orient_rows(const ImageInfo *info, const uint8_t *rows, size_t stride, uint32_t first,
                 uint32_t count, uint8_t *out) {
    if (info->orientation >= 5) {
        place_columns(info, rows, stride, first, count, out);
    } else {
        place_rows(info, rows, stride, first, count, out);
    }
}
