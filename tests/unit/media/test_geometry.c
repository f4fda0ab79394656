// SPDX-License-Identifier: Apache-2.0
// media_geometry: the target size and the token count of the transformers image processor.
#include "media_fixture.h"

#include <criterion/criterion.h>
#include <math.h>

static const uint32_t budgets[] = {70, 140, 280, 560, 1120};

Test(geometry, equals_the_image_processor_on_thousands_of_sizes) {
    Buffer rows = fixture_read("geometry.bin");
    enum { ROW_BYTES = 24 };
    cr_assert_eq(rows.length % ROW_BYTES, 0);
    cr_assert_geq(rows.length / ROW_BYTES, 3000);
    for (const uint8_t *p = rows.data; p < rows.data + rows.length; p += ROW_BYTES) {
        uint32_t row[12];
        for (int i = 0; i < 12; i++) {
            row[i] = (uint32_t)p[i * 2] | (uint32_t)p[i * 2 + 1] << 8;
        }
        for (int b = 0; b < 5; b++) {
            ImageGeometry geometry;
            Error error;
            Status status = media_geometry(row[0], row[1], budgets[b], &geometry, &error);
            cr_assert_eq(status, OK, "%u x %u: %s", row[0], row[1], error.text);
            cr_assert(
                geometry.target_width == row[2 + b * 2] && geometry.target_height == row[3 + b * 2],
                "%u x %u at %u: %u x %u instead of %u x %u", row[0], row[1], budgets[b],
                geometry.target_width, geometry.target_height, row[2 + b * 2], row[3 + b * 2]);
            cr_assert_eq(geometry.token_count, row[2 + b * 2] / 48 * (row[3 + b * 2] / 48));
        }
    }
    buffer_free(&rows);
}

// The counts that the model's documentation gives (reference 3.1, item 7).
Test(geometry, gives_the_published_counts) {
    static const struct {
        uint32_t width, height, counts[5];
    } cases[] = {
        {512, 512, {64, 121, 256, 529, 1089}},
        {1920, 1080, {66, 120, 264, 527, 1100}},
        {640, 480, {63, 130, 266, 540, 1064}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int b = 0; b < 5; b++) {
            ImageGeometry geometry;
            cr_assert_eq(
                media_geometry(cases[i].width, cases[i].height, budgets[b], &geometry, NULL), OK);
            cr_expect_eq(geometry.token_count, cases[i].counts[b]);
        }
    }
}

Test(geometry, a_long_thin_picture_becomes_one_row_of_at_most_the_budget) {
    ImageGeometry geometry;
    cr_assert_eq(media_geometry(65535, 1, 280, &geometry, NULL), OK);
    cr_expect_eq(geometry.target_width, 280 * 48);
    cr_expect_eq(geometry.target_height, 48);
    cr_assert_eq(media_geometry(1, 65535, 70, &geometry, NULL), OK);
    cr_expect_eq(geometry.target_width, 48);
    cr_expect_eq(geometry.target_height, 70 * 48);
    // The extreme of the type does not overflow.
    cr_assert_eq(media_geometry(UINT32_MAX, UINT32_MAX, 1120, &geometry, NULL), OK);
    cr_expect_eq(geometry.token_count, 33 * 33);
}

Test(geometry, refuses_other_budgets_and_empty_pictures) {
    ImageGeometry geometry;
    Error error;
    cr_expect_eq(media_geometry(640, 480, 281, &geometry, &error), E_ARGUMENT);
    cr_expect_eq(media_geometry(640, 480, 0, &geometry, &error), E_ARGUMENT);
    cr_expect_eq(media_geometry(0, 480, 280, &geometry, &error), E_IMAGE_SHAPE);
    cr_expect_eq(media_geometry(640, 0, 280, &geometry, &error), E_IMAGE_SHAPE);
}
