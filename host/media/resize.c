// SPDX-License-Identifier: Apache-2.0
// The tables, the plain reference of both passes, and the order of work. resize.h has the formulas.
#include "host/media/resize.h"

#include <math.h>
#include <string.h>

#include "base/check.h"
#include "base/num.h"
#include "host/media/media_buffer.h"

enum { PRECISION_MAX = 22 };

// Keys' cubic convolution kernel with a = -0.5 ("Cubic convolution interpolation for digital image
// processing", IEEE ASSP 29, 1981), in torch's order of operations so that the doubles agree.
static double cubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0) {
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    }
    if (x < 2.0) {
        return (((x - 5) * x + 8) * x - 4) * a;
    }
    return 0.0;
}

// Fills the double weights of one output index and returns the greatest of them.
static double weigh(const ResizeAxis *axis, uint32_t index, uint32_t *first, uint32_t *count,
                    double *weights) {
    double scale = (double)axis->source / axis->target;
    double stretch = scale >= 1.0 ? scale : 1.0;
    double inverse = scale >= 1.0 ? 1.0 / scale : 1.0;
    double support = 2.0 * stretch;
    double centre = scale * (index + 0.5);
    int64_t begin = (int64_t)(centre - support + 0.5);
    int64_t end = (int64_t)(centre + support + 0.5);
    begin = begin < 0 ? 0 : begin;
    end = end > axis->source ? axis->source : end;
    *first = (uint32_t)begin;
    *count = (uint32_t)(end - begin);
    double sum = 0.0;
    for (uint32_t j = 0; j < *count; j++) {
        weights[j] = cubic(((double)(j + begin) - centre + 0.5) * inverse);
        sum += weights[j];
    }
    double greatest = 0.0;
    for (uint32_t j = 0; j < *count; j++) {
        weights[j] /= sum;
        greatest = weights[j] > greatest ? weights[j] : greatest;
    }
    return greatest;
}

static Status build_axis(ResizeAxis *axis, uint32_t source, uint32_t target, MediaBuffer *table,
                         MediaBuffer *work, Error *error) {
    double scale = (double)source / target;
    double support = scale >= 1.0 ? 2.0 * scale : 2.0;
    axis->source = source;
    axis->target = target;
    axis->taps = (uint32_t)num_round_up((size_t)ceil(support) * 2 + 1, RESIZE_TAPS_MULTIPLE);
    size_t weight_count = (size_t)target * axis->taps;
    size_t index_bytes = num_round_up(target * sizeof(uint32_t), 64);
    TRY(media_buffer_reserve(work, weight_count * sizeof(double), error));
    TRY(media_buffer_reserve(table, 2 * index_bytes + weight_count * sizeof(int16_t), error));
    uint32_t *first = (uint32_t *)table->data;
    uint32_t *count = (uint32_t *)(table->data + index_bytes);
    int16_t *weights = (int16_t *)(table->data + 2 * index_bytes);
    double *exact = (double *)work->data;

    double greatest = 0.0;
    for (uint32_t i = 0; i < target; i++) {
        double candidate = weigh(axis, i, &first[i], &count[i], exact + (size_t)i * axis->taps);
        greatest = candidate > greatest ? candidate : greatest;
    }
    axis->precision = 0;
    while (axis->precision < PRECISION_MAX &&
           (int)(0.5 + greatest * (1 << (axis->precision + 1))) < 1 << 15) {
        axis->precision++;
    }
    double one = 1 << axis->precision;
    memset(weights, 0, weight_count * sizeof(int16_t));
    for (uint32_t i = 0; i < target; i++) {
        for (uint32_t j = 0; j < count[i]; j++) {
            double weight = exact[(size_t)i * axis->taps + j] * one;
            weights[(size_t)i * axis->taps + j] =
                (int16_t)(weight < 0 ? weight - 0.5 : weight + 0.5);
        }
    }
    axis->first = first;
    axis->count = count;
    axis->weights = weights;
    return OK;
}

static uint8_t round_to_byte(int32_t sum, uint32_t precision) {
    int32_t value = sum >> precision;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static void horizontal_scalar(const ResizeAxis *axis, const uint8_t *rows, size_t source_stride,
                              uint32_t row_count, uint8_t *out, size_t out_stride) {
    int32_t half = 1 << (axis->precision - 1);
    for (uint32_t row = 0; row < row_count; row++) {
        for (uint32_t i = 0; i < axis->target; i++) {
            const int16_t *weights = axis->weights + (size_t)i * axis->taps;
            const uint8_t *source = rows + row * source_stride + (size_t)axis->first[i] * 3;
            int32_t red = half, green = half, blue = half;
            for (uint32_t j = 0; j < axis->count[i]; j++) {
                red += weights[j] * source[j * 3];
                green += weights[j] * source[j * 3 + 1];
                blue += weights[j] * source[j * 3 + 2];
            }
            uint8_t *pixel = out + row * out_stride + (size_t)i * 3;
            pixel[0] = round_to_byte(red, axis->precision);
            pixel[1] = round_to_byte(green, axis->precision);
            pixel[2] = round_to_byte(blue, axis->precision);
        }
    }
}

static void vertical_scalar(const ResizeAxis *axis, uint32_t index, const uint8_t *rows,
                            size_t stride, size_t bytes, uint8_t *out) {
    const int16_t *weights = axis->weights + (size_t)index * axis->taps;
    const uint8_t *source = rows + axis->first[index] * stride;
    for (size_t i = 0; i < bytes; i++) {
        int32_t sum = 1 << (axis->precision - 1);
        for (uint32_t j = 0; j < axis->count[index]; j++) {
            sum += weights[j] * source[j * stride + i];
        }
        out[i] = round_to_byte(sum, axis->precision);
    }
}

static const ResizeKernels resize_kernels_scalar = {horizontal_scalar, vertical_scalar};

// The files of the fast paths are compiled as a whole for their instruction sets
// (cmake/rooms.cmake), so the processor must have all of those, not only what the kernels name.
const ResizeKernels *resize_kernels(ResizePath path) {
    switch (path) {
    case RESIZE_SCALAR:
        return &resize_kernels_scalar;
#ifdef __x86_64__
    case RESIZE_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
                   ? &resize_kernels_avx2
                   : NULL;
    case RESIZE_AVX512:
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                       __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                       __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16")
                   ? &resize_kernels_avx512
                   : NULL;
#endif
    default:
        return NULL;
    }
}

ResizePath resize_path_best(void) {
    ResizePath path = RESIZE_PATH_COUNT - 1;
    while (resize_kernels(path) == NULL) {
        path--;
    }
    return path;
}

Status resize_begin(Resize *resize, const ResizeSizes *sizes, ResizePath path,
                    MediaScratch *scratch, Error *error) {
    REQUIRE(sizes->source_width > 0 && sizes->source_height > 0);
    REQUIRE(sizes->target_width % PATCH_SIDE == 0 && sizes->target_height % PATCH_SIDE == 0);
    resize->kernels = resize_kernels(path);
    REQUIRE_MESSAGE(resize->kernels != NULL, "path %d", path);
    resize->scratch = scratch;
    // One byte more than the row, because the horizontal pass stores 4 bytes per pixel.
    resize->middle_stride = num_round_up((size_t)sizes->target_width * 3 + 1, 64);
    TRY(build_axis(&resize->x, sizes->source_width, sizes->target_width, &scratch->axis_x,
                   &scratch->weights, error));
    TRY(build_axis(&resize->y, sizes->source_height, sizes->target_height, &scratch->axis_y,
                   &scratch->weights, error));
    TRY(media_buffer_reserve(&scratch->row, resize->middle_stride, error));
    return media_buffer_reserve(&scratch->middle, resize->middle_stride * sizes->source_height,
                                error);
}

void resize_push(Resize *resize, const uint8_t *rows, size_t stride, uint32_t first,
                 uint32_t count) {
    REQUIRE(num_in_range(first, count, resize->y.source));
    resize->kernels->horizontal(&resize->x, rows, stride, count,
                                resize->scratch->middle.data + first * resize->middle_stride,
                                resize->middle_stride);
}

void resize_finish(Resize *resize, uint8_t *patches) {
    enum { SEGMENT = PATCH_SIDE * 3 }; // bytes of a row inside one patch
    uint32_t columns = resize->x.target / PATCH_SIDE;
    uint8_t *row = resize->scratch->row.data;
    for (uint32_t y = 0; y < resize->y.target; y++) {
        resize->kernels->vertical(&resize->y, y, resize->scratch->middle.data,
                                  resize->middle_stride, resize->middle_stride, row);
        uint8_t *segment = patches + (size_t)(y / PATCH_SIDE) * columns * PATCH_BYTES +
                           (size_t)(y % PATCH_SIDE) * SEGMENT;
        for (uint32_t column = 0; column < columns; column++) {
            memcpy(segment + (size_t)column * PATCH_BYTES, row + (size_t)column * SEGMENT, SEGMENT);
        }
    }
}
