// SPDX-License-Identifier: Apache-2.0
// The rule of docs/numerics.md that says what a matrix reads.
#include "model/precision.h"

#include <criterion/criterion.h>

Test(precision, auto_follows_the_matrix) {
    cr_assert_eq(precision_kind(ENGINE_ACTIVATION_AUTO, PROJECTION_FEED_FORWARD, LEVEL_F32),
                 ACTIVATION_F32);
    cr_assert_eq(precision_kind(ENGINE_ACTIVATION_AUTO, PROJECTION_FEED_FORWARD, LEVEL_BF16),
                 ACTIVATION_BF16);
    cr_assert_eq(precision_kind(ENGINE_ACTIVATION_AUTO, PROJECTION_FEED_FORWARD, LEVEL_INT8),
                 ACTIVATION_INT8);
    cr_assert_eq(precision_kind(ENGINE_ACTIVATION_AUTO, PROJECTION_FEED_FORWARD, LEVEL_INT4),
                 ACTIVATION_INT8);
}

Test(precision, vision_matrices_of_a_quantized_model_read_bf16) {
    cr_assert_eq(precision_kind(ENGINE_ACTIVATION_MIXED, PROJECTION_MEDIA, LEVEL_BF16),
                 ACTIVATION_BF16);
    cr_assert_eq(precision_kind(ENGINE_ACTIVATION_MIXED, PROJECTION_MEDIA, LEVEL_F32),
                 ACTIVATION_F32);
}

Test(precision, settings_widen_but_never_narrow_beyond_the_matrix) {
    for (int level = 0; level < LEVEL_COUNT; level++) {
        cr_assert_eq(precision_kind(ENGINE_ACTIVATION_F32, PROJECTION_HEAD, level), ACTIVATION_F32);
    }
    cr_assert_eq(precision_kind(ENGINE_ACTIVATION_BF16, PROJECTION_HEAD, LEVEL_INT4),
                 ACTIVATION_BF16);
    cr_assert_eq(precision_kind(ENGINE_ACTIVATION_BF16, PROJECTION_HEAD, LEVEL_F32),
                 ACTIVATION_F32);
}

Test(precision, mixed_spends_the_second_product_around_attention) {
    EngineActivation mixed = ENGINE_ACTIVATION_MIXED, two = ENGINE_ACTIVATION_INT8X2;
    for (WeightLevel level = LEVEL_INT8; level < LEVEL_COUNT; level++) {
        cr_assert_eq(precision_kind(mixed, PROJECTION_FEED_FORWARD, level), ACTIVATION_INT8);
        cr_assert_eq(precision_kind(mixed, PROJECTION_ATTENTION, level), ACTIVATION_INT8X2);
        cr_assert_eq(precision_kind(mixed, PROJECTION_HEAD, level), ACTIVATION_INT8);
        cr_assert_eq(precision_kind(two, PROJECTION_FEED_FORWARD, level), ACTIVATION_INT8X2);
    }
}

Test(precision, settings_have_names) {
    cr_assert_eq(engine_activation_named("auto"), ENGINE_ACTIVATION_AUTO);
    cr_assert_eq(engine_activation_named("int8"), ENGINE_ACTIVATION_INT8);
    cr_assert_eq(engine_activation_named("mixed"), ENGINE_ACTIVATION_MIXED);
    cr_assert_eq(engine_activation_named("int7"), ENGINE_ACTIVATION_COUNT);
}

Test(precision, a_setting_the_decoder_cannot_honour_is_refused) {
    cr_assert_eq(precision_check(ENGINE_ACTIVATION_INT8, LEVEL_BF16, NULL), E_ARGUMENT);
    cr_assert_eq(precision_check(ENGINE_ACTIVATION_INT8, LEVEL_F32, NULL), E_ARGUMENT);
    cr_assert_eq(precision_check(ENGINE_ACTIVATION_BF16, LEVEL_F32, NULL), E_ARGUMENT);
    cr_assert_eq(precision_check(ENGINE_ACTIVATION_INT8X2, LEVEL_BF16, NULL), E_ARGUMENT);
    cr_assert_eq(precision_check(ENGINE_ACTIVATION_MIXED, LEVEL_BF16, NULL), E_ARGUMENT);
    cr_assert_eq(precision_check(ENGINE_ACTIVATION_INT8, LEVEL_INT4, NULL), OK);
    cr_assert_eq(precision_check(ENGINE_ACTIVATION_MIXED, LEVEL_INT4, NULL), OK);
    cr_assert_eq(precision_check(ENGINE_ACTIVATION_BF16, LEVEL_INT8, NULL), OK);
}
