// SPDX-License-Identifier: Apache-2.0
// A walk in three parts: chunks before the pixels, the pixels' own chunks, chunks behind them. A
// chunk is its length, name, data and sum (PNG specification, section 5).
#include "host/media/png_chunks.h"

#include "host/media/fields.h"
#include "host/media/look.h"

static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};

typedef struct Chunk {
    const uint8_t *name;
    Bytes data;       // what of it the file holds
    bool whole, ends; // all of the data is there; and the sum too
} Chunk;

typedef struct Walk {
    Bytes file;
    size_t at;
    ImageInfo *info;
    PngLayout *out;
    bool has_header, animated;
} Walk;

bool png_signed(Bytes file) {
    return field_starts_with(file, signature, sizeof signature);
}

static Status damaged(Error *error, const char *what) {
    return error_set(error, E_IMAGE_DAMAGED, "the PNG file %s; save it again or fetch it anew",
                     what);
}

static bool chunk_is(const Chunk *chunk, const char *name) {
    return memcmp(chunk->name, name, 4) == 0;
}

static bool name_valid(const uint8_t *name) {
    for (int i = 0; i < 4; i++) {
        uint8_t c = name[i], letter = c | 0x20;
        if (!(letter >= 'a' && letter <= 'z') && !(c >= '0' && c <= '9') && c != '_') {
            return false;
        }
    }
    return true;
}

// The chunk at walk->at; false where none begins.
static bool chunk_here(const Walk *walk, Chunk *chunk) {
    if (!num_in_range(walk->at, PNG_CHUNK_HEAD, walk->file.length)) {
        return false;
    }
    const uint8_t *head = walk->file.data + walk->at;
    size_t begin = walk->at + PNG_CHUNK_HEAD, left = walk->file.length - begin;
    size_t length = field_big_u32(head);
    *chunk = (Chunk){.name = head + 4,
                     .data = field_slice(walk->file, begin, num_min(length, left)),
                     .whole = length <= left,
                     .ends = length + 4 <= left};
    return name_valid(chunk->name);
}

static void step_over(Walk *walk, const Chunk *chunk) {
    walk->at = num_min(walk->file.length, walk->at + chunk->data.length + PNG_CHUNK_EXTRA);
}

// CRC-32 of the specification's annex, four bits at a time.
static uint32_t sum_of(const uint8_t *bytes, size_t count) {
    static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
                                       0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                       0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    uint32_t sum = UINT32_MAX;
    for (size_t i = 0; i < count; i++) {
        sum ^= bytes[i];
        sum = sum >> 4 ^ table[sum & 15];
        sum = sum >> 4 ^ table[sum & 15];
    }
    return ~sum;
}

// Layout of iTXt: keyword, 0, compressed?, method, language, 0, translated keyword, 0, text. Of
// tEXt: keyword, 0, text. Nothing unless it is XMP, uncompressed.
static Bytes chunk_xmp(const Chunk *chunk) {
    static const char keyword[] = "XML:com.adobe.xmp";
    bool international = chunk_is(chunk, "iTXt");
    Bytes data = chunk->data;
    size_t skip = sizeof keyword + (international ? 2 : 0);
    if ((!international && !chunk_is(chunk, "tEXt")) || data.length < skip ||
        !field_starts_with(data, keyword, sizeof keyword) ||
        (international && data.data[sizeof keyword] != 0)) {
        return (Bytes){0};
    }
    return field_slice(data, skip, data.length - skip);
}

static bool chunk_wanted(const Chunk *chunk) {
    return chunk_is(chunk, "IHDR") || chunk_is(chunk, "PLTE") || chunk_is(chunk, "tRNS") ||
           chunk_is(chunk, "eXIf") || chunk_xmp(chunk).data != NULL;
}

static bool depth_valid(uint32_t colour, uint32_t depth) {
    switch (colour) {
    case PNG_GRAY:
        return depth == 1 || depth == 2 || depth == 4 || depth == 8 || depth == 16;
    case PNG_PALETTE:
        return depth == 1 || depth == 2 || depth == 4 || depth == 8;
    case PNG_RGB:
    case PNG_GRAY_ALPHA:
    case PNG_RGBA:
        return depth == 8 || depth == 16;
    default:
        return false;
    }
}

static Status take_header(Walk *walk, Bytes data, Error *error) {
    if (data.length < 13 || data.data[11] != 0) {
        return damaged(error, "has a header that no reader knows");
    }
    PngLayout *out = walk->out;
    out->width = field_big_u32(data.data);
    out->height = field_big_u32(data.data + 4);
    out->interlaced = out->interlaced || data.data[12] != 0;
    if (depth_valid(data.data[9], data.data[8])) {
        out->depth = data.data[8];
        out->colour = data.data[9];
        walk->has_header = true;
    }
    return OK;
}

static Status take_transparency(Walk *walk, Bytes data, Error *error) {
    PngLayout *out = walk->out;
    size_t least = out->colour == PNG_GRAY ? 2 : out->colour == PNG_RGB ? 6 : 0;
    if (!walk->has_header) {
        return OK;
    }
    if (data.length < least) {
        return damaged(error, "has a transparent colour that is cut");
    }
    out->transparency = data;
    return OK;
}

// What counts wherever it stands.
static Status take_chunk(Walk *walk, const Chunk *chunk, Error *error) {
    TRY(look_count(walk->info, chunk->data.length, error));
    if (chunk_is(chunk, "tRNS")) {
        return take_transparency(walk, chunk->data, error);
    }
    if (chunk_is(chunk, "eXIf")) {
        walk->out->exif = chunk->data;
    } else if (chunk_xmp(chunk).data != NULL) {
        walk->out->xmp = chunk_xmp(chunk);
    }
    return OK;
}

static Status take_early_chunk(Walk *walk, const Chunk *chunk, Error *error) {
    if (!chunk->ends) {
        return damaged(error, "ends before its pixels");
    }
    if (chunk_is(chunk, "acTL")) {
        walk->animated = true;
    }
    if (!chunk_wanted(chunk)) {
        return OK;
    }
    if (sum_of(chunk->name, chunk->data.length + 4) !=
        field_big_u32(chunk->data.data + chunk->data.length)) {
        return damaged(error, "has a header chunk whose sum is wrong");
    }
    if (chunk_is(chunk, "IHDR")) {
        return take_header(walk, chunk->data, error);
    }
    if (chunk_is(chunk, "PLTE") && walk->has_header && walk->out->colour == PNG_PALETTE) {
        if (chunk->data.length / 3 > PNG_PALETTE_BYTES_MAX / 3) {
            return damaged(error, "has a palette of more than 256 colours");
        }
        walk->out->palette = chunk->data;
    }
    return take_chunk(walk, chunk, error);
}

static Status walk_to_pixels(Walk *walk, Error *error) {
    Chunk chunk;
    while (chunk_here(walk, &chunk)) {
        TRY(look_count(walk->info, PNG_CHUNK_EXTRA, error));
        if (chunk_is(&chunk, "IDAT") && walk->has_header) {
            return OK;
        }
        if (chunk_is(&chunk, "IEND")) {
            break;
        }
        TRY(take_early_chunk(walk, &chunk, error));
        step_over(walk, &chunk);
    }
    return damaged(error, "ends before its pixels");
}

static Status walk_over_pixels(Walk *walk, Error *error) {
    size_t first = walk->at;
    walk->out->pixels = field_slice(walk->file, first, 0);
    Chunk chunk;
    while (chunk_here(walk, &chunk) && chunk_is(&chunk, "IDAT")) {
        TRY(look_count(walk->info, PNG_CHUNK_EXTRA, error));
        step_over(walk, &chunk);
        if (!chunk.ends) {
            walk->out->cut_pixels = chunk.data;
            break;
        }
        walk->out->pixels.length = walk->at - first;
    }
    return OK;
}

// Of an animation only what its first picture needs is read.
static Status walk_behind_pixels(Walk *walk, Error *error) {
    Chunk chunk;
    while (chunk_here(walk, &chunk) && !chunk_is(&chunk, "IEND") &&
           !(walk->animated && chunk_is(&chunk, "fcTL"))) {
        TRY(look_count(walk->info, PNG_CHUNK_EXTRA, error));
        if (!chunk.whole) {
            return damaged(error, "ends inside a chunk behind its pixels");
        }
        if (chunk_wanted(&chunk)) {
            TRY(take_chunk(walk, &chunk, error));
        }
        step_over(walk, &chunk);
    }
    return OK;
}

Status png_layout(Bytes file, ImageInfo *info, PngLayout *out, Error *error) {
    REQUIRE(png_signed(file));
    *out = (PngLayout){0};
    Walk walk = {.file = file, .at = sizeof signature, .info = info, .out = out};
    TRY(walk_to_pixels(&walk, error));
    TRY(walk_over_pixels(&walk, error));
    return walk_behind_pixels(&walk, error);
}

// The only entry that is 0 among entries of 255, or -1. Pillow finds it with a regular expression
// whose `$` lets a last newline pass.
static int only_clear_entry(Bytes transparency) {
    size_t length = transparency.length;
    int clear = -1;
    for (size_t i = 0; i < length; i++) {
        uint8_t alpha = transparency.data[i];
        if (alpha == 0 && clear < 0) {
            clear = (int)i;
        } else if (alpha != 255 && !(alpha == '\n' && i + 1 == length && clear >= 0)) {
            return -1;
        }
    }
    return clear;
}

static PngKey palette_key(const PngLayout *layout) {
    int entry = only_clear_entry(layout->transparency);
    PngKey key = {.used = entry >= 0};
    if (key.used && num_in_range((size_t)entry * 3, 3, layout->palette.length)) {
        memcpy(key.colour, layout->palette.data + (size_t)entry * 3, 3);
    }
    return key;
}

// Pillow compares the key with the decoded bytes, whatever the depth was. So of gray below 16 bits
// it is cut to 255 and not stretched; of 16-bit gray only black can match; of RGB the low byte
// counts, though 16-bit samples keep their high one. One bit has the values 0 and 255.
PngKey png_key(const PngLayout *layout) {
    const uint8_t *at = layout->transparency.data;
    if (layout->transparency.length == 0) {
        return (PngKey){0};
    }
    uint32_t gray = layout->colour == PNG_GRAY ? field_big_u16(at) : 0;
    uint8_t level = (uint8_t)num_min(gray, 255);
    switch (layout->colour) {
    case PNG_GRAY:
        if (layout->depth == 16 || layout->depth == 1) {
            return (PngKey){.used = layout->depth == 16 ? (gray & 255) == 0 : gray == 0};
        }
        return (PngKey){true, {level, level, level}};
    case PNG_RGB:
        return (PngKey){true, {at[1], at[3], at[5]}};
    case PNG_PALETTE:
        return palette_key(layout);
    default:
        return (PngKey){0};
    }
}
