// SPDX-License-Identifier: Apache-2.0
// Bicubic resize (a = -0.5) with antialiasing of 8-bit RGB, straight into patch order.
//
// Two passes, horizontal then vertical, each in fixed point with 16-bit weights and a result that
// is rounded and clamped to 8 bits. This is the arithmetic of torch's interpolate(mode="bicubic",
// antialias=True) on uint8 CPU tensors (aten/src/ATen/native/cpu/UpSampleKernel.cpp), which
// torchvision's resize calls, and our results equal it bit for bit. Pillow's Resample.c is the same
// filter with 22-bit weights: at most one level away.
//
// For each output index i of an axis with scale = source / target, support = 2 max(scale, 1):
//   centre = scale (i + 1/2);  taps j from  int(centre - support + 1/2)  to below
//   int(centre + support + 1/2), both clipped to the axis;
//   weight = cubic((j - centre + 1/2) / max(scale, 1)) / sum, times 2^precision, rounded,
// with one precision per axis: the largest that keeps the greatest weight below 2^15, at most 22.
// Worst sum: 255 x 2^22 x 1.3 < 2^31, so 32 bits hold every partial sum and the order of addition
// does not matter: all code paths give the same bytes.
//
// Rows are pushed as a decoder makes them, while they are in the cache:
//   resize_begin -> resize_push ... -> resize_finish
#ifndef HOST_MEDIA_RESIZE_H
#define HOST_MEDIA_RESIZE_H

#include "host/media/media.h"

// The tables of one axis. Taps are padded with zero weights to a multiple of RESIZE_TAPS_MULTIPLE.
enum { RESIZE_TAPS_MULTIPLE = 4 };

typedef struct ResizeAxis {
    uint32_t source, target;
    uint32_t taps;          // row length of `weights`
    uint32_t precision;     // binary digits after the point in `weights`
    const uint32_t *first;  // [target] first source index
    const uint32_t *count;  // [target] taps that are not padding
    const int16_t *weights; // [target][taps]
} ResizeAxis;

typedef enum ResizePath { RESIZE_SCALAR, RESIZE_AVX2, RESIZE_AVX512, RESIZE_PATH_COUNT } ResizePath;

typedef struct ResizeKernels {
    // Reads `row_count` rows of RGB, `source_stride` bytes apart, and writes as many of
    // axis->target pixels, `out_stride` bytes apart. Reads up to MEDIA_BUFFER_SLACK bytes after a
    // row; writes up to 1 byte after the last pixel.
    void (*horizontal)(const ResizeAxis *axis, const uint8_t *rows, size_t source_stride,
                       uint32_t row_count, uint8_t *out, size_t out_stride);
    // Writes the bytes of output row `index` from `rows`, which lie `stride` apart. `bytes` is a
    // multiple of 64 and no greater than `stride`.
    void (*vertical)(const ResizeAxis *axis, uint32_t index, const uint8_t *rows, size_t stride,
                     size_t bytes, uint8_t *out);
} ResizeKernels;

extern const ResizeKernels resize_kernels_avx2;
extern const ResizeKernels resize_kernels_avx512;
// Shared by the two tables.
void resize_horizontal_avx2(const ResizeAxis *axis, const uint8_t *rows, size_t source_stride,
                            uint32_t row_count, uint8_t *out, size_t out_stride);

// NULL when this processor cannot run the path.
const ResizeKernels *resize_kernels(ResizePath path);
ResizePath resize_path_best(void);

typedef struct Resize {
    ResizeAxis x, y;
    const ResizeKernels *kernels;
    MediaScratch *scratch;
    size_t middle_stride; // bytes
} Resize;

// Pixels, at least 1; the sides of the target are multiples of 48.
typedef struct ResizeSizes {
    uint32_t source_width, source_height;
    uint32_t target_width, target_height;
} ResizeSizes;

// Prepares tables and memory in `scratch`. E_MEMORY.
Status resize_begin(Resize *resize, const ResizeSizes *sizes, ResizePath path,
                    MediaScratch *scratch, Error *error);

// Takes source rows [first, first + count), `stride` bytes apart, in any order, each once.
void resize_push(Resize *resize, const uint8_t *rows, size_t stride, uint32_t first,
                 uint32_t count);

// Writes the picture as patches: [target_height / 48][target_width / 48][48][48][3].
void resize_finish(Resize *resize, uint8_t *patches);

#endif
