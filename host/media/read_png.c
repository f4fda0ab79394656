// SPDX-License-Identifier: Apache-2.0
// PNG by libpng: every colour type and depth, interlaced or not. The result equals what Pillow and
// transformers' processor make of the file (open, convert("RGB"), a single transparent colour on
// white):
//   an alpha channel, or alphas of palette entries, are dropped, not blended;
//   a tRNS that is one colour makes the pixels of that colour white (png_key);
//   1, 2 and 4 bit gray is stretched to 0..255; palettes are looked up;
//   16-bit colour and 16-bit gray with alpha keep the high byte;
//   16-bit gray alone is clamped to 255, not scaled. That is what the reference does, so the model
//   sees what it would see there.
// Colour profiles and gamma are not applied, there or here.
//
// libpng is given not the file but what png_chunks.h found in it: a header, a palette, the pixels'
// chunks, an end. So it is as forgiving as Pillow, which looks at no sum of those chunks and at
// nothing behind the last row. Its sentences go nowhere.
#include "host/media/read.h"

#include <setjmp.h>
#include <string.h>

#include <png.h>

#include "base/check.h"
#include "base/num.h"
#include "host/media/fields.h"
#include "host/media/media_buffer.h"
#include "host/media/png_chunks.h"

enum { SIGNATURE = 8, HEADER = 13, END = PNG_CHUNK_EXTRA, PARTS = 6 };

typedef struct PngReader {
    png_structp png;
    png_infop info;
    PngLayout layout;
    PngKey key;
    uint8_t head[SIGNATURE + HEADER + PNG_PALETTE_BYTES_MAX + 2 * PNG_CHUNK_EXTRA];
    uint8_t cut_head[PNG_CHUNK_HEAD];
    Bytes parts[PARTS]; // what libpng reads, one behind the other
    size_t part, at;
    uint64_t rows_left; // of all passes
    const ImageInfo *picture;
    uint8_t *work; // rows [first, first + count) of the picture
    size_t stride;
    uint32_t first, count;
    RowSink *sink;
    Error *error;
    Status status;
} PngReader;

// When all rows are there, what is wrong behind them is no damage.
_Noreturn static void on_error(png_structp png, png_const_charp message) {
    PngReader *reader = png_get_error_ptr(png);
    if (strstr(message, "emory") != NULL) {
        reader->status = error_set(
            reader->error, E_MEMORY,
            "no memory is left to decode the PNG; try again later or send a smaller picture");
    } else if (reader->rows_left > 0) {
        reader->status = error_set(reader->error, E_IMAGE_DAMAGED,
                                   "the PNG is damaged; save it again or fetch it anew");
    }
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message) {
    (void)png;
    (void)message;
}

static void on_read(png_structp png, png_bytep out, size_t length) {
    PngReader *reader = png_get_io_ptr(png);
    while (length > 0) {
        if (reader->part == PARTS) {
            png_error(png, "the end");
        }
        Bytes part = reader->parts[reader->part];
        size_t count = num_min(length, part.length - reader->at);
        if (count > 0) {
            memcpy(out, part.data + reader->at, count);
        }
        out += count;
        length -= count;
        reader->at += count;
        if (reader->at == part.length) {
            reader->part++;
            reader->at = 0;
        }
    }
}

// Called with every row of every pass, before it is put where it belongs.
static void on_row(png_structp png, png_row_infop row, png_bytep data) {
    (void)row;
    (void)data;
    PngReader *reader = png_get_io_ptr(png);
    reader->rows_left--;
}

// A chunk without its sum, which nobody checks.
static uint8_t *put_chunk(uint8_t *at, const char *name, const uint8_t *data, size_t length) {
    field_put_big_u32(at, (uint32_t)length);
    memcpy(at + 4, name, 4);
    if (length > 0) {
        memcpy(at + PNG_CHUNK_HEAD, data, length);
    }
    return at + PNG_CHUNK_EXTRA + length;
}

// Signature, header, palette. A palette may be missing, and then all is black.
static size_t put_head(PngReader *reader) {
    const PngLayout *layout = &reader->layout;
    uint8_t header[HEADER] = {0}, black[3] = {0};
    field_put_big_u32(header, layout->width);
    field_put_big_u32(header + 4, layout->height);
    header[8] = layout->depth;
    header[9] = layout->colour;
    header[12] = layout->interlaced;
    memcpy(reader->head, "\x89PNG\r\n\x1a\n", SIGNATURE);
    uint8_t *end = put_chunk(reader->head + SIGNATURE, "IHDR", header, HEADER);
    if (layout->colour == PNG_PALETTE) {
        size_t length = num_min(layout->palette.length / 3, (size_t)1 << layout->depth) * 3;
        end = length > 0 ? put_chunk(end, "PLTE", layout->palette.data, length)
                         : put_chunk(end, "PLTE", black, sizeof black);
    }
    return (size_t)(end - reader->head);
}

static void set_parts(PngReader *reader) {
    static const uint8_t end[END] = {0, 0, 0, 0, 'I', 'E', 'N', 'D'};
    static const uint8_t no_sum[4];
    const PngLayout *layout = &reader->layout;
    reader->parts[0] = (Bytes){reader->head, put_head(reader)};
    reader->parts[1] = layout->pixels;
    if (layout->cut_pixels.data != NULL) {
        field_put_big_u32(reader->cut_head, (uint32_t)layout->cut_pixels.length);
        memcpy(reader->cut_head + 4, "IDAT", 4);
        reader->parts[2] = (Bytes){reader->cut_head, sizeof reader->cut_head};
        reader->parts[3] = layout->cut_pixels;
        reader->parts[4] = (Bytes){no_sum, sizeof no_sum};
    }
    reader->parts[5] = (Bytes){end, sizeof end};
}

static bool is_gray16(const PngReader *reader) {
    return reader->layout.colour == PNG_GRAY && reader->layout.depth == 16;
}

// Asks libpng for 8-bit RGB, but for 16-bit gray, which comes as it is.
static void set_transforms(PngReader *reader) {
    png_structp png = reader->png;
    uint32_t colour = reader->layout.colour, depth = reader->layout.depth;
    png_set_read_user_transform_fn(png, on_row);
    if (is_gray16(reader)) {
        return;
    }
    if (colour == PNG_PALETTE) {
        png_set_palette_to_rgb(png);
    }
    if (colour == PNG_GRAY && depth < 8) {
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

static uint64_t rows_of_passes(const PngLayout *layout) {
    if (!layout->interlaced) {
        return layout->height;
    }
    uint64_t rows = 0;
    for (int pass = 0; pass < PNG_INTERLACE_ADAM7_PASSES; pass++) {
        rows += PNG_PASS_COLS(layout->width, pass) > 0 ? PNG_PASS_ROWS(layout->height, pass) : 0;
    }
    return rows;
}

// In place, back to front: 2 bytes big-endian become 3.
static void gray16_to_rgb(uint8_t *row, uint32_t width) {
    for (size_t x = width; x-- > 0;) {
        uint8_t value = row[x * 2] > 0 ? 255 : row[x * 2 + 1];
        memset(row + x * 3, value, 3);
    }
}

static void key_to_white(const PngKey *key, uint8_t *row, uint32_t width) {
    for (size_t x = 0; x < width; x++) {
        if (memcmp(row + x * 3, key->colour, 3) == 0) {
            memset(row + x * 3, 255, 3);
        }
    }
}

static void read_rows(PngReader *reader, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (read_unwanted(reader->sink)) {
            reader->status = read_cancelled(reader->error);
            png_longjmp(reader->png, 1);
        }
        png_read_row(reader->png, reader->work + i * reader->stride, NULL);
    }
}

static void push_rows(PngReader *reader) {
    uint32_t width = reader->picture->stored_width;
    for (uint32_t i = 0; i < reader->count; i++) {
        uint8_t *row = reader->work + i * reader->stride;
        if (is_gray16(reader)) {
            gray16_to_rgb(row, width);
        }
        if (reader->key.used) {
            key_to_white(&reader->key, row, width);
        }
    }
    reader->sink->push(reader->sink, reader->work, reader->stride, reader->first, reader->count);
}

// An interlaced picture is complete only after the last pass.
static void read_strips(PngReader *reader, uint32_t pass_count, uint32_t strip) {
    uint32_t height = reader->picture->stored_height;
    for (uint32_t pass = 1; pass < pass_count; pass++) {
        read_rows(reader, height);
    }
    for (reader->first = 0; reader->first < height; reader->first += strip) {
        reader->count = (uint32_t)num_min(strip, height - reader->first);
        read_rows(reader, reader->count);
        push_rows(reader);
    }
}

// Everything that may end in on_error. The reader belongs to the caller and no local is read after
// the jump, so nothing is lost by it.
static void decode(PngReader *reader, MediaBuffer *work) {
    png_structp png = reader->png;
    if (setjmp(png_jmpbuf(png)) != 0) {
        if (reader->status == OK) {
            push_rows(reader); // the last strip, behind which something was wrong
        }
        return;
    }
    const ImageInfo *picture = reader->picture;
    png_set_read_fn(png, reader, on_read);
    png_set_user_limits(png, picture->stored_width, picture->stored_height);
    png_set_crc_action(png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
    png_set_benign_errors(png, 1);
    png_read_info(png, reader->info);
    set_transforms(reader);
    uint32_t pass_count = (uint32_t)png_set_interlace_handling(png);
    png_read_update_info(png, reader->info);
    reader->stride = (size_t)picture->stored_width * 3;
    REQUIRE(png_get_rowbytes(png, reader->info) ==
            (size_t)picture->stored_width * (is_gray16(reader) ? 2 : 3));

    uint32_t strip = pass_count > 1 ? picture->stored_height : READ_STRIP_ROWS;
    if (media_buffer_reserve(work, (uint64_t)reader->stride * strip, reader->error) != OK) {
        reader->status = E_MEMORY;
        return;
    }
    reader->work = work->data;
    read_strips(reader, pass_count, strip);
}

Status read_png(Bytes file, const ImageInfo *info, MediaBuffer *work, RowSink *sink, Error *error) {
    PngReader reader = {.picture = info, .sink = sink, .error = error};
    TRY(png_layout(file, &(ImageInfo){0}, &reader.layout, error));
    reader.key = png_key(&reader.layout);
    reader.rows_left = rows_of_passes(&reader.layout);
    set_parts(&reader);
    reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_error, on_warning);
    reader.info = reader.png != NULL ? png_create_info_struct(reader.png) : NULL;
    if (reader.info == NULL) {
        png_destroy_read_struct(&reader.png, NULL, NULL);
        return error_set(error, E_MEMORY,
                         "no memory is left to decode the PNG; try again later or send a smaller "
                         "picture");
    }
    decode(&reader, work);
    png_destroy_read_struct(&reader.png, &reader.info, NULL);
    return reader.status;
}
