// SPDX-License-Identifier: Apache-2.0
// The quantizer against a search in double precision over thousands of scales, and at the edges of
// what f16 scales can hold.
#include "weights/quant.h"

#include "base/f16.h"
#include "base/prng.h"
#include "weights/matrix_pack.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 16 };

typedef bool QuantTile(const float *tile, size_t group, uint8_t *codes, uint16_t *scales);

typedef struct Encoded {
    uint8_t codes[QUANT_GROUP_MAX * LANES];
    uint16_t scales[LANES];
} Encoded;

static double decode(const Encoded *encoded, WeightLevel level, size_t k, size_t c) {
    double scale = (double)f16_to_f32(encoded->scales[c]);
    if (level == LEVEL_INT8) {
        return scale * (encoded->codes[(k / 4 * LANES + c) * 4 + k % 4] - 128);
    }
    uint8_t byte = encoded->codes[(k / 8 * LANES + c) * 4 + k % 4];
    return scale * ((k / 4 % 2 == 0 ? byte & 15 : byte >> 4) - 8);
}

static double squared_error(const Encoded *encoded, WeightLevel level, const float *tile,
                            size_t group, size_t c) {
    double error = 0;
    for (size_t k = 0; k < group; k++) {
        double difference = (double)tile[k * LANES + c] - decode(encoded, level, k, c);
        error += difference * difference;
    }
    return error;
}

// The least squared error over 4000 scales of both signs, each rounded to f16.
static double best_error(const float *tile, size_t group, size_t c, double low, double high) {
    double largest = 0, best = HUGE_VAL;
    for (size_t k = 0; k < group; k++) {
        largest = fmax(largest, fabs((double)tile[k * LANES + c]));
    }
    for (int i = -2000; i <= 2000; i++) {
        double scale = (double)f16_to_f32(f16_from_f32((float)(largest / high * 1.5 * i / 2000)));
        double error = 0;
        for (size_t k = 0; k < group && error < best; k++) {
            double w = (double)tile[k * LANES + c];
            double q = scale != 0 ? fmin(fmax(rint(w / scale), low), high) : 0;
            error += (w - q * scale) * (w - q * scale);
        }
        best = fmin(best, error);
    }
    return best;
}

static void compare_with_search(QuantTile *quantize, WeightLevel level, double low, double high,
                                double slack, double slack_one) {
    for (size_t group = 32; group <= 128; group *= 2) {
        double ours = 0, best = 0;
        for (uint64_t seed = 0; seed < 8; seed++) {
            float tile[QUANT_GROUP_MAX * LANES];
            Encoded encoded;
            for (size_t i = 0; i < group * LANES; i++) {
                // Half the tiles have heavy tails: the cube of a normal number.
                float x = prng_normal(seed, group, i);
                tile[i] = (seed % 2 == 0 ? x : x * x * x) * 0.02f;
            }
            cr_assert(quantize(tile, group, encoded.codes, encoded.scales));
            for (size_t c = 0; c < LANES; c++) {
                double mine = squared_error(&encoded, level, tile, group, c);
                double theirs = best_error(tile, group, c, low, high);
                cr_expect(mine < theirs * slack_one, "seed %zu group %zu lane %zu: %g against %g",
                          (size_t)seed, group, c, mine, theirs);
                ours += mine;
                best += theirs;
            }
        }
        cr_expect(ours < best * slack, "group %zu: %g against %g", group, ours, best);
    }
}

// Twelve candidates, refined once, against four thousand: a few percent of error is what the cheap
// search costs on the whole; a single group may be unlucky, at 8 bits more so, where the exhaustive
// search fits the rounding noise of that one group.
Test(quant, int4_is_close_to_an_exhaustive_search) {
    compare_with_search(quant_tile_int4, LEVEL_INT4, -8, 7, 1.05, 1.35);
}

Test(quant, int8_is_close_to_an_exhaustive_search) {
    compare_with_search(quant_tile_int8, LEVEL_INT8, -127, 127, 1.10, 1.6);
}

static void fill(float *tile, size_t group, float value) {
    for (size_t i = 0; i < group * LANES; i++) {
        tile[i] = value;
    }
}

Test(quant, holds_a_group_of_one_value_to_the_precision_of_its_scale) {
    static const float values[] = {1.0f, -1.0f, 0.37f, -0.02f, 3000.0f, 1e-4f};
    float tile[QUANT_GROUP_MAX * LANES];
    Encoded encoded;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        fill(tile, 32, values[i]);
        cr_assert(quant_tile_int4(tile, 32, encoded.codes, encoded.scales));
        // Half a unit of the 11 bits of an f16; 1e-4 / 8 is subnormal and has fewer, 8.
        double bound = fabs((double)values[i]) * (values[i] == 1e-4f ? 0x1p-8 : 0x1p-11);
        cr_expect(fabs(decode(&encoded, LEVEL_INT4, 5, 3) - (double)values[i]) <= bound, "%g",
                  (double)values[i]);
    }
}

Test(quant, lets_the_largest_value_take_minus_eight_whatever_its_sign) {
    for (int sign = -1; sign <= 1; sign += 2) {
        float tile[32 * LANES];
        Encoded encoded;
        for (size_t k = 0; k < 32; k++) {
            for (size_t c = 0; c < LANES; c++) {
                tile[k * LANES + c] = (float)sign * ((float)(k % 16) - 8.0f) * 0.25f;
            }
        }
        cr_assert(quant_tile_int4(tile, 32, encoded.codes, encoded.scales));
        for (size_t c = 0; c < LANES; c++) {
            cr_expect_eq(f16_to_f32(encoded.scales[c]), (float)sign * 0.25f);
            cr_expect_eq(squared_error(&encoded, LEVEL_INT4, tile, 32, c), 0.0);
        }
    }
}

Test(quant, gives_zero_for_a_group_of_zeros) {
    float tile[64 * LANES];
    Encoded encoded;
    fill(tile, 64, 0.0f);
    cr_assert(quant_tile_int4(tile, 64, encoded.codes, encoded.scales));
    cr_expect_eq(encoded.scales[0], 0);
    cr_expect_eq(encoded.codes[0], 0x88);
    cr_assert(quant_tile_int8(tile, 64, encoded.codes, encoded.scales));
    cr_expect_eq(encoded.codes[0], 128);
}

Test(quant, saturates_scales_beyond_f16_and_keeps_tiny_groups) {
    float tile[32 * LANES];
    Encoded encoded;
    fill(tile, 32, 3e38f);
    cr_assert(quant_tile_int4(tile, 32, encoded.codes, encoded.scales));
    cr_expect_eq(fabsf(f16_to_f32(encoded.scales[0])), 65504.0f);
    cr_expect(decode(&encoded, LEVEL_INT4, 0, 0) > 65504.0 * 6);
    fill(tile, 32, 1e-7f); // a scale of 1e-7 / 8 is below f16's smallest, 6e-8
    cr_assert(quant_tile_int4(tile, 32, encoded.codes, encoded.scales));
    double value = decode(&encoded, LEVEL_INT4, 0, 0);
    cr_expect(value > 0.5e-7 && value < 1.5e-7, "%g", value);
    fill(tile, 32, 1e-44f); // subnormal in f32
    cr_assert(quant_tile_int8(tile, 32, encoded.codes, encoded.scales));
    cr_expect_eq(decode(&encoded, LEVEL_INT8, 0, 0), 0.0);
}

Test(quant, refuses_values_that_are_not_finite) {
    static const float bad[] = {INFINITY, -INFINITY, NAN};
    float tile[32 * LANES];
    Encoded encoded;
    for (size_t i = 0; i < 3; i++) {
        fill(tile, 32, 0.5f);
        tile[17 * LANES + 9] = bad[i];
        cr_expect_not(quant_tile_int4(tile, 32, encoded.codes, encoded.scales));
        cr_expect_not(quant_tile_int8(tile, 32, encoded.codes, encoded.scales));
    }
}

static double gaussian_sqnr(WeightLevel level, uint32_t group) {
    enum { ROWS = 64, COLUMNS = 1024 };
    float *original = malloc(sizeof(float) * ROWS * COLUMNS);
    for (size_t i = 0; i < (size_t)ROWS * COLUMNS; i++) {
        original[i] = prng_normal(11, 0, i) * 0.02f;
    }
    Matrix m = matrix_shape(level, ROWS, COLUMNS, group);
    void *codes = aligned_alloc(64, matrix_codes_bytes(level, ROWS, COLUMNS));
    void *scales = aligned_alloc(64, matrix_scales_bytes(level, ROWS, COLUMNS, group));
    m.codes = codes;
    m.scales = scales;
    const MatrixPart part = {ELEMENT_F32, original, ROWS, NULL};
    const MatrixParts whole = {&part, 1, ORDER_STACKED};
    cr_assert_eq(matrix_pack(&m, &whole, 1, NULL, NULL), OK);
    QuantError error = quant_error(&m, original);
    free(original);
    free(codes);
    free(scales);
    return error.sqnr_db;
}

// A uniform grid of 16 levels clipped at its best has 20.2 dB for a Gaussian with one scale for all
// (Max, "Quantizing for minimum distortion", 1960); scales per group can only gain.
Test(quant, reaches_the_known_signal_to_noise_of_gaussian_weights) {
    double g32 = gaussian_sqnr(LEVEL_INT4, 32);
    double g128 = gaussian_sqnr(LEVEL_INT4, 128);
    double int8 = gaussian_sqnr(LEVEL_INT8, 32);
    cr_expect(g32 > 21.5 && g32 < 22.5, "int4 g32: %g dB", g32);
    cr_expect(g128 > 20.1 && g128 < g32, "int4 g128: %g dB", g128);
    cr_expect(int8 > 45.5 && int8 < 47.5, "int8 g32: %g dB", int8);
}
