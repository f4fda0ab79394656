// SPDX-License-Identifier: Apache-2.0
#include "host/media/thumbnail.h"

#include "base/num.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

enum { THUMBNAIL_QUALITY = 80 };

typedef struct ThumbnailFault {
    struct jpeg_error_mgr manager;
    jmp_buf back;
} ThumbnailFault;

static void thumbnail_fault(j_common_ptr codec) {
    longjmp(((ThumbnailFault *)codec->err)->back, 1);
}

static void thumbnail_quiet(j_common_ptr codec) {
    (void)codec;
}

// One row of the small picture: averages over boxes of step x step pixels.
static void thumbnail_row(const Image *image, uint32_t step, uint32_t y, uint32_t width,
                          uint8_t *out) {
    size_t stride = (size_t)image->width * 3;
    for (uint32_t x = 0; x < width; x++) {
        uint32_t sum[3] = {0};
        for (uint32_t dy = 0; dy < step; dy++) {
            const uint8_t *pixel =
                image->pixels.data + ((size_t)y * step + dy) * stride + (size_t)x * step * 3;
            for (uint32_t dx = 0; dx < step * 3; dx++) {
                sum[dx % 3] += pixel[dx];
            }
        }
        for (int c = 0; c < 3; c++) {
            out[x * 3 + (uint32_t)c] = (uint8_t)((sum[c] + step * step / 2) / (step * step));
        }
    }
}

static bool thumbnail_encode(const Image *image, uint32_t step, uint8_t *row, unsigned char **bytes,
                             unsigned long *length) {
    struct jpeg_compress_struct codec;
    ThumbnailFault fault;
    codec.err = jpeg_std_error(&fault.manager);
    fault.manager.error_exit = thumbnail_fault;
    fault.manager.output_message = thumbnail_quiet;
    if (setjmp(fault.back) != 0) {
        jpeg_destroy_compress(&codec);
        return false;
    }
    jpeg_create_compress(&codec);
    jpeg_mem_dest(&codec, bytes, length);
    codec.image_width = image->width / step;
    codec.image_height = image->height / step;
    codec.input_components = 3;
    codec.in_color_space = JCS_RGB;
    jpeg_set_defaults(&codec);
    jpeg_set_quality(&codec, THUMBNAIL_QUALITY, TRUE);
    jpeg_start_compress(&codec, TRUE);
    while (codec.next_scanline < codec.image_height) {
        thumbnail_row(image, step, codec.next_scanline, codec.image_width, row);
        JSAMPROW rows[1] = {row};
        jpeg_write_scanlines(&codec, rows, 1);
    }
    jpeg_finish_compress(&codec);
    jpeg_destroy_compress(&codec);
    return true;
}

Status thumbnail_make(Bytes file, const MediaLimits *limits, MediaScratch *scratch, Buffer *out,
                      Error *error) {
    Image image = {0};
    Status status = media_decode(file, limits, scratch, &image, error);
    if (status != OK) {
        image_free(&image);
        return status;
    }
    uint32_t longest = (uint32_t)num_max(image.width, image.height);
    uint32_t shortest = (uint32_t)num_min(image.width, image.height);
    // Very thin pictures keep at least one pixel across.
    uint32_t step =
        (uint32_t)num_max(num_min(num_ceil_div(longest, THUMBNAIL_SIDE_MAX), shortest), 1);
    unsigned char *bytes = NULL;
    unsigned long length = 0;
    uint8_t *row = malloc((size_t)(image.width / step) * 3);
    if (row == NULL || !thumbnail_encode(&image, step, row, &bytes, &length)) {
        status = error_set(error, E_MEMORY, "a small JPEG could not be made");
    } else {
        buffer_append(out, bytes, length);
        status = out->failed ? error_set(error, E_MEMORY, "no memory for a small JPEG") : OK;
    }
    free(bytes);
    free(row);
    image_free(&image);
    return status;
}
