// SPDX-License-Identifier: Apache-2.0
// The chunks of a PNG file, as Pillow's reader takes them (PngImagePlugin.py): which header,
// palette and transparency hold for the pixels, and where those lie. It is forgiving where that is:
// chunks may come more than once and then the last of a kind counts, unknown ones are passed over,
// what stands before the header is as if unknown, and what follows the last row may be missing.
// Sums (CRC) are checked before the pixels, for the chunks that are read.
#ifndef HOST_MEDIA_PNG_CHUNKS_H
#define HOST_MEDIA_PNG_CHUNKS_H

#include "host/media/media.h"

enum { PNG_GRAY = 0, PNG_RGB = 2, PNG_PALETTE = 3, PNG_GRAY_ALPHA = 4, PNG_RGBA = 6 };
enum { PNG_CHUNK_HEAD = 8, PNG_CHUNK_EXTRA = 12 }; // length and name; and the sum behind the data
enum { PNG_PALETTE_BYTES_MAX = 768 };

typedef struct PngLayout {
    uint32_t width, height;
    uint8_t depth, colour; // bits of a sample, and one of the five above
    bool interlaced;
    Bytes palette, transparency; // of PLTE and tRNS; empty without
    Bytes exif, xmp;             // of eXIf, and the text with the name XML:com.adobe.xmp
    // Consecutive IDAT chunks that are whole, and the data of one more that the file's end cuts.
    Bytes pixels, cut_pixels;
} PngLayout;

// E_IMAGE_DAMAGED, E_IMAGE_TOO_LARGE. What is looked at is added to info->looked_at.
Status png_layout(Bytes file, ImageInfo *info, PngLayout *out, Error *error);

bool png_signed(Bytes file); // begins as a PNG does

// A colour of the decoded picture (8-bit RGB) that means "nothing is here", where tRNS names a
// single one; transformers' processor puts white there. Any other transparency is dropped.
typedef struct PngKey {
    bool used;
    uint8_t colour[3];
} PngKey;

PngKey png_key(const PngLayout *layout);

#endif
