// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/host/demo.h"

#include <criterion/criterion.h>

const char *const demo_pictures[DEMO_PICTURES] = {
    TEST_ROOT "/examples/pictures/01-fish.jpg",
    TEST_ROOT "/examples/pictures/10-monkey.png",
    TEST_ROOT "/examples/pictures/16-hamburger.webp",
    TEST_ROOT "/examples/pictures/22-rainbow.webp",
};

RuntimeOptions demo_options(const char *isa) {
    Error error = {0};
    RuntimeOptions options = {
        .model = TEST_ROOT "/examples/demo-model",
        .weights = {.level = LEVEL_COUNT},
        .device = {.threads = 2},
    };
    cr_assert_eq(device_isa(isa, &options.device.isa, &error), OK, "%s", error.text);
    return options;
}

void demo_open(Runtime *runtime, const char *isa) {
    Error error = {0};
    const RuntimeOptions options = demo_options(isa);
    cr_assert_eq(runtime_open(&options, runtime, &error), OK, "%s", error.text);
}

Question demo_question(const char *text) {
    return (Question){
        .text = text,
        .budget = 70,
        .new_tokens_max = 40,
        .sampling = {.top_p = 1.0f, .repetition_penalty = 1.0f},
    };
}
