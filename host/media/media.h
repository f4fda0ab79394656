// SPDX-License-Identifier: Apache-2.0
// Picture files in, model patches out: JPEG, PNG and WebP are recognised by their first bytes,
// checked against limits before anything is decoded, decoded to upright 8-bit RGB, resized to fill
// a budget of image tokens and cut into patches of 48 x 48 pixels.
//
// The yardstick is transformers 5: `load_image` (Pillow, EXIF orientation applied, convert("RGB"))
// followed by Gemma4UnifiedImageProcessor. docs/media.md says what is equal to it and what is not.
//
// Nothing here has global state: one MediaScratch and one Patches per thread, and every function
// may be called from any thread.
#ifndef HOST_MEDIA_MEDIA_H
#define HOST_MEDIA_MEDIA_H

#include "base/bytes.h"
#include "base/status.h"
#include "host/media/probe.h"

#include <stdatomic.h>

enum {
    PATCH_SIDE = 48,                           // pixels
    PATCH_BYTES = PATCH_SIDE * PATCH_SIDE * 3, // 6912
    IMAGE_TOKEN_BUDGET_DEFAULT = 280,          // budgets are 70, 140, 280, 560 and 1120
};

typedef struct MediaLimits {
    uint64_t file_bytes_max;
    uint64_t pixels_max; // width times height as the file declares them
    uint32_t side_max;   // pixels
    // Ends a picture that nobody wants any more with E_CANCELLED: any thread may set it at any
    // time, decoders look at it every few rows. NULL: nobody will.
    const atomic_bool *unwanted;
} MediaLimits;

// 64 MiB of file, 100 million pixels, 65535 pixels a side. The worst case of memory for one picture
// at these limits is a progressive JPEG: 6 bytes per pixel inside libjpeg and, if turned, 3 of
// ours.
MediaLimits media_limits_default(void);

struct MediaChild;

// Memory that grows and is used again; 64-byte aligned.
typedef struct MediaBuffer {
    uint8_t *data;
    size_t capacity;
} MediaBuffer;

typedef struct Image {
    uint32_t width, height;
    MediaBuffer pixels; // [height][width][3] RGB; some readable bytes follow the last row
} Image;

typedef struct ImageGeometry {
    uint32_t target_width, target_height; // pixels, multiples of 48
    uint32_t token_count;                 // patches, at most the budget
} ImageGeometry;

// What a picture becomes: `count` = columns x rows patches, row by row.
typedef struct Patches {
    uint32_t columns, rows, count;
    uint8_t *pixels;     // [count][48][48][3] RGB
    uint16_t *positions; // [count][2]: column, row
    uint32_t capacity;   // patches that fit without a new allocation
} Patches;

// Working memory of media_load, used again from picture to picture. Starts as zeros, belongs to one
// thread, freed with media_scratch_free. From the first WebP on it holds a process (child.h), which
// ends with the thread.
typedef struct MediaScratch {
    MediaBuffer rows;    // strips of decoded rows, or the picture where a codec needs it whole
    MediaBuffer upright; // rows after the orientation was applied
    MediaBuffer middle;  // rows after the horizontal pass
    MediaBuffer weights; // of both axes, while they are computed
    MediaBuffer axis_x;  // tables of the horizontal pass
    MediaBuffer axis_y;  // tables of the vertical pass
    MediaBuffer row;     // one finished row
    struct MediaChild *child;
} MediaScratch;

// The size a picture is resized to and its number of image tokens (model reference 3.1, patch side
// 48). Pure arithmetic; needs no file. E_ARGUMENT for a budget that is not one of the five;
// E_IMAGE_SHAPE for a side of 0. No other shape fails: however long and thin a picture is, it gets
// one row or column of at most `budget` patches.
Status media_geometry(uint32_t width, uint32_t height, uint32_t budget, ImageGeometry *out,
                      Error *error);

// Reads headers only: format, size, orientation. Limits are checked here, so what passes may be
// decoded. E_IMAGE_FORMAT (not one of the three; the text says what it looks like), E_UNSUPPORTED
// (a form of the format that no decoder here reads), E_IMAGE_DAMAGED, E_IMAGE_TOO_LARGE. At most
// MEDIA_HEADER_BYTES_MAX are looked at, and never more than the file has: info->looked_at, also
// after an error.
Status media_probe(Bytes file, const MediaLimits *limits, ImageInfo *info, Error *error);

// Decodes the whole picture, upright. `out` starts as zeros or from an earlier call, whose memory
// is used again; image_free ends it. media_probe's errors, E_CANCELLED, E_MEMORY, and E_IO where a
// WebP's decoder cannot be started. A file that ends before its
// last row is E_IMAGE_DAMAGED, never a partly gray picture.
Status media_decode(Bytes file, const MediaLimits *limits, MediaScratch *scratch, Image *out,
                    Error *error);

// Probe, decode, resize and cut into patches, unless it becomes unwanted meanwhile. `out` starts as
// zeros or from an earlier call, whose memory is used again; patches_free ends it. After an error
// `out` holds no picture (count 0). All errors of the functions above.
Status media_load(Bytes file, const MediaLimits *limits, uint32_t budget, MediaScratch *scratch,
                  Patches *out, Error *error);

// The same for a picture that is already decoded. E_ARGUMENT, E_IMAGE_SHAPE, E_MEMORY.
// For tests.
Status media_patches(const Image *image, uint32_t budget, MediaScratch *scratch, Patches *out,
                     Error *error);

void image_free(Image *image);
void patches_free(Patches *patches);
void media_scratch_free(MediaScratch *scratch);

#endif
