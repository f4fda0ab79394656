// SPDX-License-Identifier: Apache-2.0
// The path of a picture: probe, limits, decoder, sink. There are two sinks: one that resizes the
// rows as they come, and one that puts them upright into an Image. A picture that is stored upright
// never exists whole in our memory unless its codec needs it so.
#include "host/media/media.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/num.h"
#include "host/media/child.h"
#include "host/media/media_buffer.h"
#include "host/media/orient.h"
#include "host/media/probe.h"
#include "host/media/read.h"
#include "host/media/resize.h"

MediaLimits media_limits_default(void) {
    return (MediaLimits){
        .file_bytes_max = 64ull << 20, .pixels_max = 100 * 1000 * 1000, .side_max = 65535};
}

Status media_geometry(uint32_t width, uint32_t height, uint32_t budget, ImageGeometry *out,
                      Error *error) {
    if (budget != 70 && budget != 140 && budget != 280 && budget != 560 && budget != 1120) {
        return error_set(error, E_ARGUMENT,
                         "the image token budget is %u; it must be 70, 140, 280, 560 or 1120",
                         budget);
    }
    if (width == 0 || height == 0) {
        return error_set(error, E_IMAGE_SHAPE,
                         "a picture of %u x %u pixels has no content; send another", width, height);
    }
    // Not both sides round to 0: the ideal area is budget x 48 x 48, so one side is above 48.
    double factor = sqrt((double)budget * PATCH_SIDE * PATCH_SIDE / ((double)width * height));
    uint64_t columns = (uint64_t)(factor * width / PATCH_SIDE);
    uint64_t rows = (uint64_t)(factor * height / PATCH_SIDE);
    if (rows == 0) {
        rows = 1;
        columns = num_min(width / height, budget);
    } else if (columns == 0) {
        columns = 1;
        rows = num_min(height / width, budget);
    }
    REQUIRE_MESSAGE(columns > 0 && rows > 0 && columns * rows <= budget, "%u x %u, budget %u",
                    width, height, budget);
    *out = (ImageGeometry){.target_width = (uint32_t)columns * PATCH_SIDE,
                           .target_height = (uint32_t)rows * PATCH_SIDE,
                           .token_count = (uint32_t)(columns * rows)};
    return OK;
}

Status media_probe(Bytes file, const MediaLimits *limits, ImageInfo *info, Error *error) {
    if (file.length > limits->file_bytes_max) {
        return error_set(error, E_IMAGE_TOO_LARGE,
                         "the picture file has %zu bytes; at most %" PRIu64 " are taken",
                         file.length, limits->file_bytes_max);
    }
    TRY(probe_file(file, info, error));
    uint64_t pixels = (uint64_t)info->width * info->height;
    if (info->width > limits->side_max || info->height > limits->side_max) {
        return error_set(
            error, E_IMAGE_TOO_LARGE, "the %s is %u x %u pixels; a side may have at most %u",
            probe_format_name(info->format), info->width, info->height, limits->side_max);
    }
    if (pixels > limits->pixels_max) {
        return error_set(error, E_IMAGE_TOO_LARGE,
                         "the %s is %u x %u = %" PRIu64 " pixels; at most %" PRIu64 " are taken",
                         probe_format_name(info->format), info->width, info->height, pixels,
                         limits->pixels_max);
    }
    return OK;
}

static Status read_rows(Bytes file, const ImageInfo *info, MediaScratch *scratch, RowSink *sink,
                        Error *error) {
    if (read_unwanted(sink)) {
        return read_cancelled(error);
    }
    switch (info->format) {
    case IMAGE_JPEG:
        return read_jpeg(file, info, &scratch->rows, sink, error);
    case IMAGE_PNG:
        return read_png(file, info, &scratch->rows, sink, error);
    case IMAGE_WEBP:
        return read_webp(file, info, &scratch->child, sink, error);
    }
    REQUIRE(false);
}

typedef struct UprightSink {
    RowSink sink;
    const ImageInfo *info;
    uint8_t *pixels;
} UprightSink;

static void push_upright(RowSink *sink, const uint8_t *rows, size_t stride, uint32_t first,
                         uint32_t count) {
    UprightSink *upright = (UprightSink *)sink;
    orient_rows(upright->info, rows, stride, first, count, upright->pixels);
}

// Fills `pixels` with the upright picture.
static Status read_upright(Bytes file, const ImageInfo *info, const MediaLimits *limits,
                           MediaScratch *scratch, MediaBuffer *pixels, Error *error) {
    TRY(media_buffer_reserve(pixels, (uint64_t)info->width * info->height * 3, error));
    UprightSink sink = {
        .sink = {push_upright, limits->unwanted}, .info = info, .pixels = pixels->data};
    return read_rows(file, info, scratch, &sink.sink, error);
}

Status media_decode(Bytes file, const MediaLimits *limits, MediaScratch *scratch, Image *out,
                    Error *error) {
    out->width = out->height = 0;
    ImageInfo info;
    TRY(media_probe(file, limits, &info, error));
    Status status = read_upright(file, &info, limits, scratch, &out->pixels, error);
    out->width = status == OK ? info.width : 0;
    out->height = status == OK ? info.height : 0;
    return status;
}

typedef struct ResizeSink {
    RowSink sink;
    Resize resize;
} ResizeSink;

static void push_resize(RowSink *sink, const uint8_t *rows, size_t stride, uint32_t first,
                        uint32_t count) {
    resize_push(&((ResizeSink *)sink)->resize, rows, stride, first, count);
}

static Status patches_reserve(Patches *out, uint32_t count, Error *error) {
    if (count <= out->capacity) {
        return OK;
    }
    patches_free(out);
    out->pixels = malloc((size_t)count * PATCH_BYTES);
    out->positions = malloc((size_t)count * 2 * sizeof(uint16_t));
    if (out->pixels == NULL || out->positions == NULL) {
        patches_free(out);
        return error_set(error, E_MEMORY,
                         "no memory for %u image patches; lower the number of threads", count);
    }
    out->capacity = count;
    return OK;
}

// Makes room in `out` and prepares the resize from a picture of this size.
// Prepares the way of a picture of the given source size to its patches; `sizes` gets the target.
static Status begin_patches(ResizeSizes *sizes, uint32_t budget, Resize *resize,
                            MediaScratch *scratch, Patches *out, Error *error) {
    ImageGeometry geometry;
    TRY(media_geometry(sizes->source_width, sizes->source_height, budget, &geometry, error));
    TRY(patches_reserve(out, geometry.token_count, error));
    sizes->target_width = geometry.target_width;
    sizes->target_height = geometry.target_height;
    return resize_begin(resize, sizes, resize_path_best(), scratch, error);
}

static void finish_patches(Resize *resize, Patches *out) {
    out->columns = resize->x.target / PATCH_SIDE;
    out->rows = resize->y.target / PATCH_SIDE;
    out->count = out->columns * out->rows;
    resize_finish(resize, out->pixels);
    for (uint32_t i = 0; i < out->count; i++) {
        out->positions[i * 2] = (uint16_t)(i % out->columns);
        out->positions[i * 2 + 1] = (uint16_t)(i / out->columns);
    }
}

Status media_load(Bytes file, const MediaLimits *limits, uint32_t budget, MediaScratch *scratch,
                  Patches *out, Error *error) {
    out->columns = out->rows = out->count = 0;
    ImageInfo info;
    TRY(media_probe(file, limits, &info, error));
    ResizeSink sink = {.sink = {push_resize, limits->unwanted}};
    TRY(begin_patches(&(ResizeSizes){info.width, info.height, 0, 0}, budget, &sink.resize, scratch,
                      out, error));
    if (info.orientation == 1) {
        TRY(read_rows(file, &info, scratch, &sink.sink, error));
    } else {
        TRY(read_upright(file, &info, limits, scratch, &scratch->upright, error));
        resize_push(&sink.resize, scratch->upright.data, (size_t)info.width * 3, 0, info.height);
    }
    finish_patches(&sink.resize, out);
    return OK;
}

Status media_patches(const Image *image, uint32_t budget, MediaScratch *scratch, Patches *out,
                     Error *error) {
    out->columns = out->rows = out->count = 0;
    Resize resize;
    TRY(begin_patches(&(ResizeSizes){image->width, image->height, 0, 0}, budget, &resize, scratch,
                      out, error));
    resize_push(&resize, image->pixels.data, (size_t)image->width * 3, 0, image->height);
    finish_patches(&resize, out);
    return OK;
}

void image_free(Image *image) {
    media_buffer_free(&image->pixels);
    *image = (Image){0};
}

void patches_free(Patches *patches) {
    free(patches->pixels);
    free(patches->positions);
    *patches = (Patches){0};
}

void media_scratch_free(MediaScratch *scratch) {
    media_buffer_free(&scratch->rows);
    media_buffer_free(&scratch->upright);
    media_buffer_free(&scratch->middle);
    media_buffer_free(&scratch->weights);
    media_buffer_free(&scratch->axis_x);
    media_buffer_free(&scratch->axis_y);
    media_buffer_free(&scratch->row);
    child_free(scratch->child);
    scratch->child = NULL;
}
