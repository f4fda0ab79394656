// SPDX-License-Identifier: Apache-2.0
// A stored pixel (x, y) goes to out[origin + x step_x + y step_y]; the eight orientations are eight
// choices of those three numbers. For the four that turn, the work goes in strips of rows (the
// decoder's), so that each written cache line is filled while it is still in the cache.
#include "host/media/orient.h"

#include <string.h>

void orient_rows(const ImageInfo *info, const uint8_t *rows, size_t stride, uint32_t first,
                 uint32_t count, uint8_t *out) {
    ptrdiff_t right = 3, down = (ptrdiff_t)info->width * 3;
    ptrdiff_t last_column = (ptrdiff_t)(info->width - 1) * right;
    ptrdiff_t last_row = (ptrdiff_t)(info->height - 1) * down;
    ptrdiff_t origin = 0, step_x = right, step_y = down;
    switch (info->orientation) {
    case 2:
        origin = last_column, step_x = -right, step_y = down;
        break;
    case 3:
        origin = last_row + last_column, step_x = -right, step_y = -down;
        break;
    case 4:
        origin = last_row, step_x = right, step_y = -down;
        break;
    case 5:
        origin = 0, step_x = down, step_y = right;
        break;
    case 6:
        origin = last_column, step_x = down, step_y = -right;
        break;
    case 7:
        origin = last_row + last_column, step_x = -down, step_y = -right;
        break;
    case 8:
        origin = last_row, step_x = -down, step_y = right;
        break;
    default:
        break;
    }
    if (step_x == right) {
        for (uint32_t i = 0; i < count; i++) {
            memcpy(out + origin + (ptrdiff_t)(first + i) * step_y, rows + i * stride,
                   (size_t)info->stored_width * 3);
        }
        return;
    }
    for (uint32_t x = 0; x < info->stored_width; x++) {
        uint8_t *to = out + origin + (ptrdiff_t)x * step_x + (ptrdiff_t)first * step_y;
        for (uint32_t i = 0; i < count; i++) {
            memcpy(to + (ptrdiff_t)i * step_y, rows + i * stride + (size_t)x * 3, 3);
        }
    }
}
