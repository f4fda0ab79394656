// SPDX-License-Identifier: Apache-2.0
// patch_embed against the reference: patches of several images in one call, flat, nearly flat,
// sloping, written and noisy ones at the true size, scattered over the rows of a step.
#include "cuda/context.h"
#include "cuda/linear_case.h"
#include "cuda/paged_case.h"
#include "tests/cuda/open.h"

#include <math.h>

extern "C" {
#include "base/prng.h"
}

enum { PATCHES = 7, SIDE = 48, VALUES = SIDE * SIDE * 3, WIDTH = 72, HIDDEN = 56 };
enum { POSITIONS = 12, ROWS = 20 };

typedef struct Vision {
    Gemma4Config config;
    VisionWeights weights;
    std::vector<float *> floats;
} Vision;

static float *vector_of(Vision *v, size_t count, uint64_t seed) {
    v->floats.push_back(floats_random(count, seed));
    return v->floats.back();
}

static Vision vision_open(WeightLevel level) {
    Vision v = {};
    v.config.patch_values = VALUES;
    v.config.vision_hidden = WIDTH;
    v.config.hidden = HIDDEN;
    v.config.vision_rms_eps = 1e-6f;
    v.weights.patch_dense = matrix_random(level, WIDTH, VALUES, 0, 11);
    v.weights.projection = matrix_random(level, HIDDEN, WIDTH, 0, 12);
    v.weights.patch_norm_weight = vector_of(&v, VALUES, 1);
    v.weights.patch_norm_bias = vector_of(&v, VALUES, 2);
    v.weights.patch_dense_bias = vector_of(&v, WIDTH, 3);
    v.weights.dense_norm_weight = vector_of(&v, WIDTH, 4);
    v.weights.dense_norm_bias = vector_of(&v, WIDTH, 5);
    v.weights.positions = vector_of(&v, (size_t)POSITIONS * 2 * WIDTH, 6);
    v.weights.position_norm_weight = vector_of(&v, WIDTH, 7);
    v.weights.position_norm_bias = vector_of(&v, WIDTH, 8);
    return v;
}

static void vision_close(Vision *v) {
    for (float *floats : v->floats) {
        free(floats);
    }
    matrix_free(&v->weights.patch_dense);
    matrix_free(&v->weights.projection);
}

static VisionWeights vision_on_device(const Vision *v, std::vector<void *> *memory) {
    VisionWeights w = v->weights;
    auto place = [&](const float **floats, size_t count) {
        *floats = (const float *)device_copy(*floats, count * sizeof(float), 0, memory);
    };
    place(&w.patch_norm_weight, VALUES);
    place(&w.patch_norm_bias, VALUES);
    place(&w.positions, (size_t)POSITIONS * 2 * WIDTH);
    for (const float **floats : {&w.patch_dense_bias, &w.dense_norm_weight, &w.dense_norm_bias,
                                 &w.position_norm_weight, &w.position_norm_bias}) {
        place(floats, WIDTH);
    }
    w.patch_dense = matrix_on_device(&v->weights.patch_dense, memory);
    w.projection = matrix_on_device(&v->weights.projection, memory);
    return w;
}

// Largest difference over the largest value of the rows, and rows beside the patches' untouched.
static double worst_error(const float *got, const float *wanted) {
    double worst = 0.0, largest = 0.0;
    for (size_t i = 0; i < ROWS * HIDDEN; i++) {
        worst = fmax(worst, fabs((double)got[i] - (double)wanted[i]));
        largest = fmax(largest, fabs((double)wanted[i]));
    }
    return worst / largest;
}

// What LayerNorm 1 makes of pixels that are nearly equal is enlarged 316 times, errors too.
static uint8_t pixel_of(uint32_t patch, uint32_t i) {
    uint32_t x = i / 3 % SIDE, y = i / 3 / SIDE, noise = (uint32_t)prng_u64(5, patch, i) % 256;
    switch (patch) {
    case 0:
        return 254; // blank
    case 1:
        return (uint8_t)(254 - (i % 50 == 0)); // a few off by one
    case 2:
        return (uint8_t)(i == 700 ? 0 : 255); // a dot
    case 3:
        return (uint8_t)(200 + x * 15 / SIDE); // sky
    case 4:
        return (uint8_t)((x / 3 + y / 7) % 5 == 0 && y % 12 < 8 ? 25 : 248 + noise % 5); // paper
    case 5:
        return (uint8_t)(noise % 3); // night
    default:
        return (uint8_t)noise;
    }
}

static void check(WeightLevel level, ActivationKind kind, double tolerance) {
    static const uint32_t rows[PATCHES] = {3, 4, 5, 12, 13, 14, 15};
    uint8_t pixels[PATCHES][VALUES];
    uint16_t places[PATCHES][2];
    for (uint32_t p = 0; p < PATCHES; p++) {
        places[p][0] = (uint16_t)(p % POSITIONS);
        places[p][1] = (uint16_t)(p * 5 % POSITIONS);
        for (uint32_t i = 0; i < VALUES; i++) {
            pixels[p][i] = pixel_of(p, i);
        }
    }
    Vision v = vision_open(level);
    std::vector<float> wanted(ROWS * HIDDEN, 4.0f), got(ROWS * HIDDEN);
    Activation normed = activation_alloc(kind, PATCHES, VALUES);
    Activation finished = activation_alloc(kind, PATCHES, WIDTH);
    std::vector<float> dense(PATCHES * WIDTH);

    CudaContext cuda = open_context(simt_seeded(6));
    std::vector<void *> memory;
    VisionWeights placed = vision_on_device(&v, &memory);
    OpPatchEmbed on_device = {};
    on_device.patch_count = PATCHES;
    on_device.pixels = (const uint8_t *)device_copy(pixels, sizeof pixels, 0, &memory);
    on_device.positions = (const uint16_t *)device_copy(places, sizeof places, 0, &memory);
    on_device.out_rows = (const uint32_t *)device_copy(rows, sizeof rows, 0, &memory);
    on_device.weights = &placed;
    on_device.config = &v.config;
    on_device.normed = activation_on_device(&normed, PATCHES, &memory);
    on_device.finished = activation_on_device(&finished, PATCHES, &memory);
    on_device.dense = (float *)device_copy(NULL, dense.size() * 4, 0xCD, &memory);
    on_device.out = (float *)device_copy(wanted.data(), wanted.size() * 4, 0, &memory);
    cr_assert_eq(cuda_patch_embed(&cuda, &on_device), OK, "%s", simt_fault());
    device_read(got.data(), on_device.out, got.size() * sizeof(float));

    Backend reference;
    cr_assert(variant_open(CPU_ISA_REFERENCE, 1, &reference));
    OpPatchEmbed op = {PATCHES,   pixels[0], places[0],    rows,     &v.weights,
                       &v.config, normed,    dense.data(), finished, wanted.data()};
    cr_assert_eq(reference.ops->patch_embed(reference.context, &op), OK);
    double error = worst_error(got.data(), wanted.data());
    cr_assert_leq(error, tolerance, "level %s: %g", weight_level_name(level), error);

    reference.close(reference.context);
    activation_free(&normed);
    activation_free(&finished);
    vision_close(&v);
    for (void *pointer : memory) {
        cudaFree(pointer);
    }
    close_context(&cuda);
}

// Two products of at most 6912 columns in f32 chains and four norms, each a few units of 2^-24;
// measured 6.3e-7. With distances from a rounded mean in LayerNorm 1 it was 5.2e-6.
Test(patch_embed, f32_is_close_to_the_reference) {
    check(LEVEL_F32, ACTIVATION_F32, 2e-6);
}

// Where f32 differs in its last bits, a value may round to the neighbouring bf16: single values of
// 6912 and of 72 are off by 2^-8.
Test(patch_embed, bf16_is_close_to_the_reference) {
    check(LEVEL_BF16, ACTIVATION_BF16, 2e-3);
}
