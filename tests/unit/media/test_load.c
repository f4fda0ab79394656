// SPDX-License-Identifier: Apache-2.0
// media_load: from a file's bytes to the patches and positions of Gemma4UnifiedImageProcessor, with
// memory that is used again.
#include "media_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static Buffer read_picture(const char *name) {
    char path[256];
    snprintf(path, sizeof path, "files/%s", name);
    return fixture_read(path);
}

Test(load, equals_the_image_processor) {
    json_t *root = fixture_expected();
    json_t *rows = json_object_get(root, "load"), *row;
    cr_assert_geq(json_array_size(rows), 10);
    MediaLimits limits = media_limits_default();
    MediaScratch scratch = {0};
    Patches patches = {0};
    size_t i;
    json_array_foreach(rows, i, row) {
        const char *name = fixture_text(row, "file");
        uint32_t budget = fixture_number(row, "budget");
        Buffer file = read_picture(name);
        Error error;
        cr_assert_eq(media_load(fixture_bytes(&file), &limits, budget, &scratch, &patches, &error),
                     OK, "%s: %s", name, error.text);
        cr_expect_eq(patches.columns, fixture_number(row, "columns"), "%s", name);
        cr_expect_eq(patches.rows, fixture_number(row, "rows"), "%s", name);
        cr_assert_eq(patches.count, patches.columns * patches.rows, "%s", name);
        cr_expect_eq(fixture_fingerprint(patches.pixels, (size_t)patches.count * PATCH_BYTES),
                     fixture_hex(row, "fingerprint"), "%s at %u: other pixels", name, budget);
        // Row by row: make_media.py asserts that the processor's positions are these.
        for (uint32_t k = 0; k < patches.count; k++) {
            cr_assert_eq(patches.positions[k * 2], k % patches.columns);
            cr_assert_eq(patches.positions[k * 2 + 1], k / patches.columns);
        }
        buffer_free(&file);
    }
    patches_free(&patches);
    media_scratch_free(&scratch);
    json_decref(root);
}

Test(load, uses_its_memory_again) {
    Buffer large = read_picture("photo_turned.jpg"), small = read_picture("png_1x40.png");
    MediaLimits limits = media_limits_default();
    MediaScratch scratch = {0};
    Patches patches = {0};
    cr_assert_eq(media_load(fixture_bytes(&large), &limits, 280, &scratch, &patches, NULL), OK);
    MediaScratch before = scratch;
    Patches first = patches;
    cr_assert_eq(media_load(fixture_bytes(&large), &limits, 280, &scratch, &patches, NULL), OK);
    cr_expect_eq(memcmp(&before, &scratch, sizeof scratch), 0, "the working memory moved");
    cr_assert_eq(media_load(fixture_bytes(&small), &limits, 70, &scratch, &patches, NULL), OK);
    cr_expect_eq(patches.pixels, first.pixels);
    cr_expect_eq(patches.positions, first.positions);
    patches_free(&patches);
    media_scratch_free(&scratch);
    buffer_free(&large);
    buffer_free(&small);
}

Test(load, holds_no_picture_after_an_error) {
    Buffer file = read_picture("photo_420.jpg");
    MediaLimits limits = media_limits_default();
    MediaScratch scratch = {0};
    Patches patches = {0};
    Error error;
    cr_assert_eq(media_load(fixture_bytes(&file), &limits, 280, &scratch, &patches, &error), OK);
    Bytes cut = {file.data, file.length / 2};
    cr_expect_eq(media_load(cut, &limits, 280, &scratch, &patches, &error), E_IMAGE_DAMAGED);
    cr_expect_eq(patches.count, 0);
    cr_expect_eq(media_load(fixture_bytes(&file), &limits, 100, &scratch, &patches, &error),
                 E_ARGUMENT);
    // And the same memory serves the next picture.
    cr_expect_eq(media_load(fixture_bytes(&file), &limits, 280, &scratch, &patches, &error), OK);
    cr_expect_eq(patches.count, 266);
    patches_free(&patches);
    media_scratch_free(&scratch);
    buffer_free(&file);
}

Test(load, is_decode_followed_by_patches) {
    Buffer file = read_picture("photo_turned.jpg");
    MediaLimits limits = media_limits_default();
    MediaScratch scratch = {0};
    Patches direct = {0}, stepwise = {0};
    Image image = {0};
    cr_assert_eq(media_load(fixture_bytes(&file), &limits, 70, &scratch, &direct, NULL), OK);
    cr_assert_eq(media_decode(fixture_bytes(&file), &limits, &scratch, &image, NULL), OK);
    cr_assert_eq(media_patches(&image, 70, &scratch, &stepwise, NULL), OK);
    cr_assert_eq(direct.count, stepwise.count);
    cr_expect_eq(memcmp(direct.pixels, stepwise.pixels, (size_t)direct.count * PATCH_BYTES), 0);
    image_free(&image);
    patches_free(&direct);
    patches_free(&stepwise);
    media_scratch_free(&scratch);
    buffer_free(&file);
}
