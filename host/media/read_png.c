// SPDX-License-Identifier: Apache-2.0
// PNG by libpng: every colour type and depth, interlaced or not. The result equals Pillow's
// open + convert("RGB"):
//   transparency (alpha channel or tRNS) is dropped, not blended;
//   1, 2 and 4 bit gray is stretched to 0..255; palettes are looked up;
//   16-bit colour and 16-bit gray with alpha keep the high byte;
//   16-bit gray alone is clamped to 255, not scaled. That is what the reference does, so the model
//   sees what it would see there.
// Colour profiles and gamma are not applied, there or here.
#include "host/media/read.h"

#include <setjmp.h>
#include <string.h>

#include <png.h>

#include "base/check.h"
#include "base/num.h"
#include "host/media/media_buffer.h"

typedef struct PngReader {
    png_structp png;
    png_infop info;
    Bytes file;
    size_t at;
    const RowSink *sink;
    Error *error;
    Status status;
    bool gray16;
} PngReader;

_Noreturn static void on_error(png_structp png, png_const_charp message) {
    PngReader *reader = png_get_error_ptr(png);
    reader->status =
        error_set(reader->error, E_IMAGE_DAMAGED, "The PNG cannot be decoded: %s.", message);
    png_longjmp(png, 1);
}

// Warnings concern chunks that hold no pixel; damage of pixels is an error in libpng.
static void on_warning(png_structp png, png_const_charp message) {
    (void)png;
    (void)message;
}

static void on_read(png_structp png, png_bytep out, size_t length) {
    PngReader *reader = png_get_io_ptr(png);
    if (!num_in_range(reader->at, length, reader->file.length)) {
        png_error(png, "the file ends before the picture does");
    }
    memcpy(out, reader->file.data + reader->at, length);
    reader->at += length;
}

// Asks libpng for 8-bit RGB, but for 16-bit gray, which comes as it is.
static void set_transforms(PngReader *reader) {
    png_structp png = reader->png;
    uint32_t colour = png_get_color_type(png, reader->info);
    uint32_t depth = png_get_bit_depth(png, reader->info);
    reader->gray16 = colour == PNG_COLOR_TYPE_GRAY && depth == 16;
    if (reader->gray16) {
        return;
    }
    if (colour == PNG_COLOR_TYPE_PALETTE) {
        png_set_palette_to_rgb(png);
    }
    if (colour == PNG_COLOR_TYPE_GRAY && depth < 8) {
        png_set_expand_gray_1_2_4_to_8(png);
    }
    if (depth == 16) {
        png_set_strip_16(png);
    }
    png_set_strip_alpha(png);
    if ((colour & PNG_COLOR_MASK_COLOR) == 0) {
        png_set_gray_to_rgb(png);
    }
}

// In place, back to front: 2 bytes big-endian become 3.
static void gray16_to_rgb(uint8_t *row, uint32_t width) {
    for (size_t x = width; x-- > 0;) {
        uint8_t value = row[x * 2] > 0 ? 255 : row[x * 2 + 1];
        memset(row + x * 3, value, 3);
    }
}

static void read_rows(PngReader *reader, uint8_t *rows, size_t stride, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (read_unwanted(reader->sink)) {
            reader->status = read_cancelled(reader->error);
            png_longjmp(reader->png, 1);
        }
        png_read_row(reader->png, rows + i * stride, NULL);
    }
}

static void push_rows(PngReader *reader, const ImageInfo *info, uint8_t *rows, size_t stride,
                      uint32_t first, uint32_t count, RowSink *sink) {
    for (uint32_t i = 0; reader->gray16 && i < count; i++) {
        gray16_to_rgb(rows + i * stride, info->stored_width);
    }
    sink->push(sink, rows, stride, first, count);
}

// Everything that may end in on_error. The reader belongs to the caller and no local is read after
// the jump, so nothing is lost by it.
static void decode(PngReader *reader, const ImageInfo *info, MediaBuffer *work, RowSink *sink) {
    png_structp png = reader->png;
    if (setjmp(png_jmpbuf(png)) != 0) {
        return;
    }
    size_t stride = (size_t)info->stored_width * 3;
    png_set_read_fn(png, reader, on_read);
    png_set_user_limits(png, info->stored_width, info->stored_height);
    // Text, profiles and the like are skipped unread; palette and tRNS are not among them.
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_read_info(png, reader->info);
    set_transforms(reader);
    uint32_t pass_count = (uint32_t)png_set_interlace_handling(png);
    png_read_update_info(png, reader->info);
    REQUIRE(png_get_rowbytes(png, reader->info) == (reader->gray16 ? stride / 3 * 2 : stride));

    // An interlaced picture is complete only after the last pass.
    uint32_t strip = pass_count > 1 ? info->stored_height : READ_STRIP_ROWS;
    if (media_buffer_reserve(work, (uint64_t)stride * strip, reader->error) != OK) {
        reader->status = E_MEMORY;
        return;
    }
    for (uint32_t pass = 1; pass < pass_count; pass++) {
        read_rows(reader, work->data, stride, info->stored_height);
    }
    for (uint32_t first = 0; first < info->stored_height; first += strip) {
        uint32_t count = (uint32_t)num_min(strip, info->stored_height - first);
        read_rows(reader, work->data, stride, count);
        push_rows(reader, info, work->data, stride, first, count, sink);
    }
    png_read_end(png, NULL);
}

Status read_png(Bytes file, const ImageInfo *info, MediaBuffer *work, RowSink *sink, Error *error) {
    PngReader reader = {.file = file, .sink = sink, .error = error};
    reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_error, on_warning);
    reader.info = reader.png != NULL ? png_create_info_struct(reader.png) : NULL;
    if (reader.info == NULL) {
        png_destroy_read_struct(&reader.png, NULL, NULL);
        return error_set(error, E_MEMORY, "libpng found no memory for its state.");
    }
    decode(&reader, info, work, sink);
    png_destroy_read_struct(&reader.png, &reader.info, NULL);
    return reader.status;
}
