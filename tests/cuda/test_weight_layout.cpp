// SPDX-License-Identifier: Apache-2.0
// The device order of weights: every value of a matrix is found again where the formulas of
// cuda/weight_layout.h say, written out here once more from the place of a row and a column; no
// word is used twice, and padding is zero.
#include "cuda/weight_layout.h"

#include <criterion/criterion.h>

extern "C" {
#include "base/f16.h"
#include "unit/cpu/random_operands.h"
}

#include <vector>

// The image as upload makes it: panels in chunks of `chunk`.
static std::vector<unsigned char> image_of(const Matrix *host, uint32_t chunk) {
    std::vector<unsigned char> image(cuda_weight_bytes(host), 0xEE);
    Matrix placed = cuda_weight_placed(host, image.data());
    for (uint32_t p = 0; p < cuda_weight_panels(host); p += chunk) {
        uint32_t count = (uint32_t)num_min(chunk, cuda_weight_panels(host) - p);
        cuda_weight_permute(host, p, count,
                            (unsigned char *)placed.codes + p * cuda_weight_panel_codes(host),
                            (unsigned char *)placed.scales + p * cuda_weight_panel_scales(host));
    }
    return image;
}

// Where (row, k) lies: the byte, and for int4 the nibble.
static size_t code_byte(const Matrix *m, uint32_t row, uint32_t k, int *shift) {
    size_t p = row / 16, c = row % 16, C = cuda_weight_columns(m);
    size_t g = c % 8, high = c / 8;
    size_t t = k % 32 / 8, rest = k % 8;
    *shift = 0;
    switch (m->level) {
    case LEVEL_INT4:
        *shift = rest / 4 == 0 ? 0 : 4;
        return ((p * (C / 64) + k / 64) * 32 + g * 4 + t) * 16 + (k % 64 / 32 * 2 + high) * 4 +
               rest % 4;
    case LEVEL_INT8:
        return ((p * (C / 32) + k / 32) * 32 + g * 4 + t) * 16 + (rest / 4 * 2 + high) * 4 +
               rest % 4;
    case LEVEL_BF16:
        return ((p * (C / 16) + k / 32 * 2 + rest / 4) * 32 + g * 4 + t) * 16 +
               (rest % 4 / 2 * 2 + high) * 4 + rest % 2 * 2;
    default:
        return ((p * C + k) * 16 + c) * 4;
    }
}

static float value_at(const Matrix *m, uint32_t row, uint32_t k) {
    int shift = 0;
    const unsigned char *at = (const unsigned char *)m->codes + code_byte(m, row, k, &shift);
    if (m->level == LEVEL_F32) {
        return *(const float *)at;
    }
    if (m->level == LEVEL_BF16) {
        return bf16_to_f32(*(const uint16_t *)at);
    }
    int code = m->level == LEVEL_INT8 ? (int8_t)*at : (int8_t)(*at << (4 - shift) & 0xF0) / 16;
    size_t group = row / 16 * (cuda_weight_columns(m) / m->group) + k / m->group;
    return (float)code * f16_to_f32(m->scales[group * 16 + row % 8 * 2 + row % 16 / 8]);
}

static void check_level(WeightLevel level, uint32_t group, uint32_t rows, uint32_t columns) {
    Matrix host = matrix_random(level, rows, columns, group, 5);
    std::vector<unsigned char> image = image_of(&host, 2);
    Matrix placed = cuda_weight_placed(&host, image.data());
    std::vector<int> used(image.size(), 0);
    for (uint32_t row = 0; row < matrix_padded_rows(rows); row++) {
        for (uint32_t k = 0; k < cuda_weight_columns(&host); k++) {
            float wanted = k < host.padded_columns ? matrix_value(&host, row, k) : 0.0f;
            cr_assert_eq(value_at(&placed, row, k), wanted, "level %d, group %u: (%u, %u)", level,
                         group, row, k);
            int shift = 0;
            size_t at = code_byte(&placed, row, k, &shift);
            int share = level == LEVEL_INT4 ? 1 << shift : 1;
            cr_assert(!(used[at] & share), "byte %zu is used twice", at);
            used[at] |= share;
        }
    }
    matrix_free(&host);
}

Test(weight_layout, every_value_is_where_the_formulas_say) {
    const uint32_t groups[] = {32, 64, 128};
    for (uint32_t group : groups) {
        check_level(LEVEL_INT4, group, 70, 224); // ragged panel, columns that are padded
        check_level(LEVEL_INT8, group, 70, 224);
    }
    check_level(LEVEL_BF16, 0, 33, 96);
    check_level(LEVEL_F32, 0, 33, 96);
}

Test(weight_layout, an_image_is_no_larger_than_the_weights_and_their_padding) {
    Matrix m = {};
    m.level = LEVEL_INT4;
    m.rows = 3840;
    m.columns = m.padded_columns = 15360;
    m.group = 32;
    m.scales = (const uint16_t *)&m;
    cr_assert_eq(cuda_weight_bytes(&m), (size_t)3840 * 15360 / 2 + (size_t)3840 * 480 * 2);
}
