// SPDX-License-Identifier: Apache-2.0
// The search: for each candidate scale d, q = clamp(round(w / d)). With q fixed the best scale is
// sum(w q) / sum(q q) and the squared error is sum(w w) - sum(w q)^2 / sum(q q), so the candidate
// with the largest gain sum(w q)^2 / sum(q q) wins. Its best scale is rounded to f16 and the values
// are rounded once more against that, which is what is stored.
#include "weights/quant.h"

#include "base/f16.h"

#include <math.h>
#include <string.h>

enum { LANES = MATRIX_PANEL };

// Grids and candidates: |w|max / |d| for each candidate, the sign of d by the table's sign
// (negative: the largest value falls on the negative side of the grid).
typedef struct QuantGrid {
    float low, high;
    size_t candidate_count;
    float candidates[12];
} QuantGrid;

static const QuantGrid QUANT_INT4 = {
    -8.0f,
    7.0f,
    12,
    {-9.0f, -8.5f, -8.0f, -7.5f, -7.0f, -6.2f, 8.2f, 7.7f, 7.2f, 6.8f, 6.2f, 5.5f},
};

// 8 bits lose so little that clipping never pays for Gaussian weights; the finest grids are enough.
static const QuantGrid QUANT_INT8 = {
    -127.0f,
    127.0f,
    6,
    {127.4f, 127.0f, 126.0f, 124.0f, 121.0f, 117.0f},
};

// Adding and taking off 1.5 * 2^23 rounds a float of magnitude below 2^22 to an integer, ties to
// even, in the default rounding mode, and unlike rintf it is two instructions on any x86-64.
static const float ROUNDER = 12582912.0f;

static const float F16_LARGEST = 65504.0f;
static const float F16_SMALLEST = 0x1.0p-24f; // subnormal

static inline float quant_round(float value, float low, float high) {
    value = value < low ? low : value;
    value = value > high ? high : value;
    return (value + ROUNDER) - ROUNDER;
}

// sum(w q) and sum(q q) per lane for the scales 1 / inverse.
static void quant_sums(const float *tile, size_t group, const float *inverse, const QuantGrid *grid,
                       float *sum_wq, float *sum_qq) {
    float wq[LANES] = {0};
    float qq[LANES] = {0};
    float low = grid->low, high = grid->high;
    for (size_t k = 0; k < group; k++) {
        for (size_t c = 0; c < LANES; c++) {
            float w = tile[k * LANES + c];
            float q = quant_round(w * inverse[c], low, high);
            wq[c] += w * q;
            qq[c] += q * q;
        }
    }
    memcpy(sum_wq, wq, sizeof wq);
    memcpy(sum_qq, qq, sizeof qq);
}

// The scale as f16: saturated above, and never rounded to zero when the group is not zero, so that
// no group vanishes by underflow.
static uint16_t quant_scale_f16(float scale) {
    float magnitude = fabsf(scale);
    if (magnitude > F16_LARGEST) {
        magnitude = F16_LARGEST;
    } else if (magnitude > 0 && magnitude < F16_SMALLEST) {
        magnitude = F16_SMALLEST;
    }
    return f16_from_f32(copysignf(magnitude, scale));
}

// Chooses scales[16] and the inverse of what was stored (0 for a group of zeros). The tile is
// normalized by its largest value first, so that neither squares nor inverses leave f32's range.
static bool quant_search(float *tile, size_t group, const QuantGrid *grid, uint16_t *scales,
                         float *inverse) {
    float low[LANES] = {0}, high[LANES] = {0}, poison[LANES] = {0};
    for (size_t k = 0; k < group; k++) {
        for (size_t c = 0; c < LANES; c++) {
            float w = tile[k * LANES + c];
            low[c] = w < low[c] ? w : low[c];
            high[c] = w > high[c] ? w : high[c];
            poison[c] += w * 0.0f; // 0, or NaN once a value is infinite or NaN
        }
    }
    float largest[LANES], unit[LANES], sign[LANES];
    for (size_t c = 0; c < LANES; c++) {
        if (poison[c] != 0.0f) {
            return false;
        }
        float depth = 0.0f - low[c]; // not -low, which would be a negative zero
        largest[c] = high[c] > depth ? high[c] : depth;
        sign[c] = high[c] > depth ? 1.0f : -1.0f;
        unit[c] = largest[c] > 0 ? 1.0f / largest[c] : 0.0f;
        if (isinf(unit[c])) { // largest is subnormal: below any f16 scale, the group is zero
            largest[c] = unit[c] = 0.0f;
        }
    }
    for (size_t k = 0; k < group; k++) {
        for (size_t c = 0; c < LANES; c++) {
            tile[k * LANES + c] *= unit[c];
        }
    }
    float best_gain[LANES], best_scale[LANES];
    for (size_t c = 0; c < LANES; c++) {
        best_gain[c] = -1.0f;
        best_scale[c] = 0.0f;
    }
    for (size_t i = 0; i < grid->candidate_count; i++) {
        float trial[LANES], wq[LANES], qq[LANES];
        for (size_t c = 0; c < LANES; c++) {
            trial[c] = grid->candidates[i] * sign[c];
        }
        quant_sums(tile, group, trial, grid, wq, qq);
        for (size_t c = 0; c < LANES; c++) {
            float scale = qq[c] > 0 ? wq[c] / qq[c] : 0.0f;
            float gain = scale * wq[c];
            bool better = gain > best_gain[c];
            best_gain[c] = better ? gain : best_gain[c];
            best_scale[c] = better ? scale : best_scale[c];
        }
    }
    for (size_t c = 0; c < LANES; c++) {
        scales[c] = quant_scale_f16(best_scale[c] * largest[c]);
        float stored = f16_to_f32(scales[c]);
        inverse[c] = stored != 0 ? largest[c] / stored : 0.0f;
    }
    return true;
}

bool quant_tile_int8(const float *tile, size_t group, uint8_t *codes, uint16_t *scales) {
    float work[QUANT_GROUP_MAX * LANES];
    float inverse[LANES];
    memcpy(work, tile, group * LANES * sizeof *work);
    if (!quant_search(work, group, &QUANT_INT8, scales, inverse)) {
        return false;
    }
    for (size_t k = 0; k < group; k++) {
        for (size_t c = 0; c < LANES; c++) {
            float q = quant_round(work[k * LANES + c] * inverse[c], -127.0f, 127.0f);
            codes[(k / 4 * LANES + c) * 4 + k % 4] = (uint8_t)((int)q + 128);
        }
    }
    return true;
}

bool quant_tile_int4(const float *tile, size_t group, uint8_t *codes, uint16_t *scales) {
    float work[QUANT_GROUP_MAX * LANES];
    float inverse[LANES];
    memcpy(work, tile, group * LANES * sizeof *work);
    if (!quant_search(work, group, &QUANT_INT4, scales, inverse)) {
        return false;
    }
    for (size_t k = 0; k < group; k++) {
        if (k % 8 >= 4) {
            continue; // written together with column k - 4
        }
        for (size_t c = 0; c < LANES; c++) {
            float low = quant_round(work[k * LANES + c] * inverse[c], -8.0f, 7.0f);
            float high = quant_round(work[(k + 4) * LANES + c] * inverse[c], -8.0f, 7.0f);
            codes[(k / 8 * LANES + c) * 4 + k % 4] =
                (uint8_t)(((int)low + 8) | ((int)high + 8) << 4);
        }
    }
    return true;
}

QuantError quant_error(const Matrix *matrix, const float *original) {
    double error = 0, power = 0, largest = 0;
    for (uint32_t row = 0; row < matrix->rows; row++) {
        for (uint32_t k = 0; k < matrix->columns; k++) {
            double w = (double)original[(size_t)row * matrix->columns + k];
            double difference = w - (double)matrix_value(matrix, row, k);
            error += difference * difference;
            power += w * w;
            largest = fmax(largest, fabs(difference));
        }
    }
    double count = fmax((double)matrix->rows * matrix->columns, 1.0);
    return (QuantError){
        .mse = error / count,
        .power = power / count,
        .sqnr_db = error > 0 ? 10.0 * log10(power / error) : HUGE_VAL,
        .max_abs = largest,
    };
}
