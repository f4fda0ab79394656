// SPDX-License-Identifier: Apache-2.0
// The roofline against sums that were made by hand elsewhere: the parameter counts of the 12B, the
// floors of six cards and the captioning bound of the project's reference (kernels.md, section 6).
// Those leave out the scales of the head (0.9 % of a step) and round their inputs, hence 3 %.
#include "bench/roofline.h"
#include "weights/synthetic.h"

#include <criterion/criterion.h>
#include <math.h>

static const RooflinePlan w4a8 = {.level = LEVEL_INT4,
                                  .group = 32,
                                  .activation = ENGINE_ACTIVATION_INT8,
                                  .kv = {KV_INT8, KV_INT8},
                                  .prompt = 330,
                                  .output = 80,
                                  .chunk = 2048,
                                  .bandwidth_share = 1,
                                  .compute_share = 1};

static Gemma4Config twelve_billion(void) {
    Gemma4Config config;
    Error error = {0};
    cr_assert_eq(synthetic_config("gemma-4-12b", &config, &error), OK, "%s", error.text);
    return config;
}

static void near(double got, double wanted, double share, const char *what) {
    cr_expect(fabs(got / wanted - 1) <= share, "%s: %g, by hand %g", what, got, wanted);
}

Test(roofline, counts_the_parameters_of_the_model) {
    Gemma4Config config = twelve_billion();
    near(roofline_row_ops(&config), 2 * 10.900e9, 1e-3, "linear operations of a row");
    near(roofline_head_ops(&config), 2 * 1.0066e9, 1e-3, "operations of the head");
    // Sliding layers see a picture whole (330 positions), full layers half of a prompt: by hand
    // 0.086e12; the full layers' other half is 0.0143e12.
    near(330 * roofline_attention_ops(&config, 330) / 1e12, 0.086 + 0.0143, 0.01, "attention");
}

Test(roofline, counts_keys_and_values) {
    Gemma4Config config = twelve_billion();
    KvKind bf16[LAYER_KIND_COUNT] = {KV_BF16, KV_BF16};
    KvKind int8[LAYER_KIND_COUNT] = {KV_INT8, KV_INT8};
    // 40 layers of 8 heads with 2 x 256 numbers, 8 of one head with 512 + 128 (int8: 2 x 512).
    near(roofline_kv_bytes(&config, bf16, 1), 327680 + 10240, 1e-9, "bytes of a token");
    near(roofline_kv_bytes(&config, int8, 1), 166400 + 8256, 1e-9, "bytes of a token in int8");
    double at_window = roofline_kv_bytes(&config, bf16, 1024);
    near(roofline_kv_bytes(&config, bf16, 1025) - at_window, 10240, 1e-6,
         "beyond the window only the full layers grow");
}

Test(roofline, agrees_with_floors_made_by_hand) {
    Gemma4Config config = twelve_billion();
    static const struct {
        const char *card;
        double decode_ms, prefill_ms;
    } floors[] = {{"rtx3060", 19.8, 70.6}, {"rtx3090", 7.63, 25.3}, {"rtx4090", 7.08, 10.9},
                  {"rtx5080", 7.44, 16.0}, {"rtx5090", 3.98, 8.6},  {"h100", 2.13, 3.6}};
    for (size_t i = 0; i < sizeof floors / sizeof floors[0]; i++) {
        Roofline r = roofline_of(&config, card_of(floors[i].card), &w4a8, 0);
        near(r.decode_ms, floors[i].decode_ms, 0.03, floors[i].card);
        // By hand attention runs at the same rate as the linears; here at bf16's.
        near(r.prefill_ms, floors[i].prefill_ms, 0.06, floors[i].card);
    }
}

Test(roofline, agrees_with_the_captioning_bound) {
    Gemma4Config config = twelve_billion();
    static const struct {
        const char *card;
        uint32_t batch;
        double captions_per_second;
    } bounds[] = {
        {"rtx3060", 55, 9.0}, {"rtx3090", 217, 29.6}, {"rtx4090", 217, 53.9}, {"rtx5090", 256, 78}};
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        Roofline r = roofline_of(&config, card_of(bounds[i].card), &w4a8, bounds[i].batch);
        cr_assert_eq(r.batch, bounds[i].batch, "%s: %u", bounds[i].card, r.batch);
        near(r.captions_per_second, bounds[i].captions_per_second, 0.07, bounds[i].card);
    }
}

// kernels.md 2.6: of bf16's prefill products int8 costs 0.25, and 0.78 / 4 + 0.22 / 2 = 0.305 where
// attention's projections are multiplied twice. Attention itself, in bf16, is in every sum here.
Test(roofline, int8x2_costs_two_products_where_it_is_asked_for) {
    Gemma4Config config = twelve_billion();
    const Card *card = card_of("rtx3090");
    double attention_ms = 330 * roofline_attention_ops(&config, 165) / card->bf16_tflops * 1e-9;
    RooflinePlan plan = w4a8;
    double int8_ms = roofline_of(&config, card, &plan, 0).prefill_ms - attention_ms;
    plan.activation = ENGINE_ACTIVATION_MIXED;
    near(roofline_of(&config, card, &plan, 0).prefill_ms - attention_ms, int8_ms * 0.305 / 0.25,
         0.01, "mixed");
    plan.activation = ENGINE_ACTIVATION_INT8X2;
    near(roofline_of(&config, card, &plan, 0).prefill_ms - attention_ms, int8_ms * 2, 1e-6,
         "int8x2");
}

Test(roofline, says_when_weights_do_not_fit) {
    Gemma4Config config = twelve_billion();
    RooflinePlan plan = w4a8;
    plan.level = LEVEL_BF16;
    Roofline r = roofline_of(&config, card_of("rtx4090"), &plan, 0);
    cr_assert_eq(r.batch_max, 0);
    cr_assert_eq(r.captions_per_second, 0);
    near(r.weight_bytes, 23.9e9, 0.01, "bytes of bf16");
    cr_assert_null(card_of("rtx1080"));
}

Test(roofline, shares_scale_what_they_are_shares_of) {
    Gemma4Config config = twelve_billion();
    RooflinePlan half = w4a8;
    half.bandwidth_share = half.compute_share = 0.5;
    const Card *card = card_of("rtx4090");
    near(roofline_of(&config, card, &half, 64).captions_per_second * 2,
         roofline_of(&config, card, &w4a8, 64).captions_per_second, 1e-9, "half of both rates");
}

static double found(const char *rows, const char *card, const char *setting) {
    return roofline_measured(bytes_of_text(rows), card_of(card), setting);
}

Test(roofline, takes_the_best_measured_row_of_the_card_and_the_setting) {
    static const char rows[] =
        "{\"gpu\": \"NVIDIA GeForce RTX 4070\", \"setting\": \"W4A8 kv int8\", "
        "\"captions_per_second\": 3.5}\n"
        "{\"gpu\": \"NVIDIA GeForce RTX 4070\", \"setting\": \"W4A8 kv int8\", "
        "\"captions_per_second\": 4.5}\n"
        "not a row\n"
        "{\"gpu\": \"NVIDIA GeForce RTX 4070\", \"setting\": \"W4A8 kv bf16\", "
        "\"skipped\": \"no time left\"}\n"
        "{\"gpu\": \"NVIDIA GeForce RTX 4070 Ti\", \"setting\": \"W4A8 kv int8\", "
        "\"captions_per_second\": 9}";
    cr_assert_eq(found(rows, "rtx4070", "W4A8 kv int8"), 4.5, "not that of the Ti");
    cr_assert_eq(found(rows, "rtx4070", "W4A8 kv bf16"), 0);
    cr_assert_eq(found(rows, "rtx4090", "W4A8 kv int8"), 0);
    cr_assert_eq(found("", "rtx4070", "W4A8 kv int8"), 0);
}
