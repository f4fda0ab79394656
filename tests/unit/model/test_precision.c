// SPDX-License-Identifier: Apache-2.0
// The rule of docs/numerics.md that says what a matrix reads.
#include "model/precision.h"

#include <criterion/criterion.h>

Test(precision, auto_follows_the_matrix) {
    cr_assert_eq(precision_kind(ENGINE_ACTIVATION_AUTO, LEVEL_F32), ACTIVATION_F32);
    cr_assert_eq(precision_kind(ENGINE_ACTIVATION_AUTO, LEVEL_BF16), ACTIVATION_BF16);
    cr_assert_eq(precision_kind(ENGINE_ACTIVATION_AUTO, LEVEL_INT8), ACTIVATION_INT8);
    cr_assert_eq(precision_kind(ENGINE_ACTIVATION_AUTO, LEVEL_INT4), ACTIVATION_INT8);
}

Test(precision, vision_matrices_of_a_quantized_model_read_bf16) {
    cr_assert_eq(precision_kind(ENGINE_ACTIVATION_INT8, LEVEL_BF16), ACTIVATION_BF16);
    cr_assert_eq(precision_kind(ENGINE_ACTIVATION_INT8, LEVEL_F32), ACTIVATION_F32);
}

Test(precision, settings_widen_but_never_narrow_beyond_the_matrix) {
    for (int level = 0; level < LEVEL_COUNT; level++) {
        cr_assert_eq(precision_kind(ENGINE_ACTIVATION_F32, level), ACTIVATION_F32);
    }
    cr_assert_eq(precision_kind(ENGINE_ACTIVATION_BF16, LEVEL_INT4), ACTIVATION_BF16);
    cr_assert_eq(precision_kind(ENGINE_ACTIVATION_BF16, LEVEL_F32), ACTIVATION_F32);
}

Test(precision, a_setting_the_decoder_cannot_honour_is_refused) {
    cr_assert_eq(precision_check(ENGINE_ACTIVATION_INT8, LEVEL_BF16, NULL), E_ARGUMENT);
    cr_assert_eq(precision_check(ENGINE_ACTIVATION_INT8, LEVEL_F32, NULL), E_ARGUMENT);
    cr_assert_eq(precision_check(ENGINE_ACTIVATION_BF16, LEVEL_F32, NULL), E_ARGUMENT);
    cr_assert_eq(precision_check(ENGINE_ACTIVATION_INT8, LEVEL_INT4, NULL), OK);
    cr_assert_eq(precision_check(ENGINE_ACTIVATION_BF16, LEVEL_INT8, NULL), OK);
}
