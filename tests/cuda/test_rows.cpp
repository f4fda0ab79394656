// SPDX-License-Identifier: Apache-2.0
// embed, norm and residual_norm: the bits of the cpu's variants with fused multiply-add
// (the sums have their order), and close to the reference, which is in double.
#include "cuda/context.h"
#include "cuda/kernels/row.cuh"
#include "cuda/linear_case.h"
#include "cuda/paged_case.h"
#include "tests/cuda/open.h"

#include <math.h>

extern "C" {
#include "base/prng.h"
}

// A norm in f32 with fixed chains: the sum of n squares is off by at most (n / 64 + 6) 2^-24, half
// of which reaches the factor, then three roundings. For 4000 columns 36 * 2^-24.
static const double TOLERANCE_NORM = 40 * 0x1p-24;

static void close_with(CudaContext *context, std::vector<void *> *memory) {
    for (void *pointer : *memory) {
        cudaFree(pointer);
    }
    close_context(context);
}

static size_t values_bytes(const Activation *a, uint32_t rows) {
    return (size_t)rows * a->stride * activation_value_bytes(a->kind);
}

// The activation on the device holds the bits of the one on the host.
static void assert_same_activation(const Activation *device, const Activation *host, uint32_t rows,
                                   const char *what) {
    std::vector<unsigned char> got(values_bytes(host, rows));
    device_read(got.data(), device->values, got.size());
    cr_assert_eq(memcmp(got.data(), host->values, got.size()), 0, "%s: values", what);
    if (activation_is_integer(host->kind)) {
        std::vector<float> scales(rows);
        device_read(scales.data(), device->scales, rows * sizeof(float));
        cr_assert_eq(memcmp(scales.data(), host->scales, rows * sizeof(float)), 0, "%s: scales",
                     what);
    }
}

static void assert_near(const float *got, const float *wanted, size_t count, double tolerance,
                        const char *what) {
    for (size_t i = 0; i < count; i++) {
        double allowed = tolerance * fabs((double)wanted[i]) + 1e-30;
        cr_assert(fabs((double)got[i] - (double)wanted[i]) <= allowed,
                  "%s: value %zu is %g, not %g", what, i, (double)got[i], (double)wanted[i]);
    }
}

static const uint32_t column_counts[] = {1, 31, 32, 33, 64, 97, 128, 256, 3840};
static const ActivationKind kinds[] = {ACTIVATION_F32, ACTIVATION_BF16, ACTIVATION_INT8,
                                       ACTIVATION_INT8X2};

static void check_norm(CudaContext *cuda, const Backend *variant, const Backend *reference,
                       ActivationKind kind, uint32_t columns, bool gather) {
    enum { ROWS = 3 };
    char what[80];
    snprintf(what, sizeof what, "norm of %u columns, kind %d", columns, kind);
    std::vector<void *> memory;
    float *in = floats_random((size_t)ROWS * columns, columns), *weight = floats_random(columns, 7);
    uint32_t rows[ROWS] = {2, 0, 2};
    Activation wanted = activation_alloc(kind, ROWS, columns);
    bool weighted = columns % 32 != 1;
    OpNorm op = {ROWS, gather ? rows : NULL, in, columns, weighted ? weight : NULL, 1e-6f, wanted};
    cr_assert_eq(variant->ops->norm(variant->context, &op), OK);
    OpNorm on_device = op;
    on_device.rows = gather ? (const uint32_t *)device_copy(rows, sizeof rows, 0, &memory) : NULL;
    on_device.in = (const float *)device_copy(in, (size_t)ROWS * columns * 4, 0, &memory);
    on_device.weight =
        weighted ? (const float *)device_copy(weight, (size_t)columns * 4, 0, &memory) : NULL;
    on_device.out = activation_on_device(&wanted, ROWS, &memory);
    cr_assert_eq(cuda_norm(cuda, &on_device), OK, "%s: %s", what, simt_fault());
    assert_same_activation(&on_device.out, &wanted, ROWS, what);
    if (kind == ACTIVATION_F32) {
        std::vector<float> got((size_t)ROWS * wanted.stride);
        device_read(got.data(), on_device.out.values, got.size() * sizeof(float));
        cr_assert_eq(reference->ops->norm(reference->context, &op), OK);
        assert_near(got.data(), (const float *)wanted.values, got.size(), TOLERANCE_NORM, what);
    }
    activation_free(&wanted);
    free(in);
    free(weight);
    for (void *pointer : memory) {
        cudaFree(pointer);
    }
}

Test(rows, norm_has_the_variants_bits) {
    Backend variant, reference;
    cr_assert(variant_open(CPU_ISA_REFERENCE, 1, &reference));
    if (!variant_open(CPU_ISA_AVX2, 1, &variant)) {
        return;
    }
    CudaContext cuda = open_context(simt_seeded(1));
    for (uint32_t columns : column_counts) {
        for (ActivationKind kind : kinds) {
            check_norm(&cuda, &variant, &reference, kind, columns, columns % 2 == 0);
        }
    }
    variant.close(variant.context);
    reference.close(reference.context);
    std::vector<void *> none;
    close_with(&cuda, &none);
}

static void check_residual(CudaContext *cuda, const Backend *variant, ActivationKind kind,
                           uint32_t columns, bool last) {
    enum { ROWS = 2 };
    char what[80];
    snprintf(what, sizeof what, "residual_norm of %u columns, kind %d", columns, kind);
    std::vector<void *> memory;
    size_t count = (size_t)ROWS * columns, bytes = count * sizeof(float);
    float *h = floats_random(count, 1), *x = floats_random(count, 2);
    float *post = floats_random(columns, 3), *next = floats_random(columns, 4);
    Activation wanted = activation_alloc(kind, ROWS, columns);
    OpResidualNorm op = {ROWS, columns, h, x, post, 0.73f, last ? NULL : next, 1e-6f, wanted};
    OpResidualNorm on_device = op;
    on_device.h = (float *)device_copy(h, bytes, 0, &memory);
    on_device.x = (const float *)device_copy(x, bytes, 0, &memory);
    on_device.post_norm = (const float *)device_copy(post, (size_t)columns * 4, 0, &memory);
    on_device.next_norm =
        last ? NULL : (const float *)device_copy(next, (size_t)columns * 4, 0, &memory);
    on_device.out = activation_on_device(&wanted, ROWS, &memory);
    cr_assert_eq(variant->ops->residual_norm(variant->context, &op), OK);
    cr_assert_eq(cuda_residual_norm(cuda, &on_device), OK, "%s: %s", what, simt_fault());
    std::vector<float> got(count);
    device_read(got.data(), on_device.h, bytes);
    cr_assert_eq(memcmp(got.data(), h, bytes), 0, "%s: h", what);
    if (!last) {
        assert_same_activation(&on_device.out, &wanted, ROWS, what);
    }
    activation_free(&wanted);
    for (float *floats : {h, x, post, next}) {
        free(floats);
    }
    for (void *pointer : memory) {
        cudaFree(pointer);
    }
}

Test(rows, residual_norm_has_the_variants_bits) {
    Backend variant;
    if (!variant_open(CPU_ISA_AVX2, 1, &variant)) {
        return;
    }
    CudaContext cuda = open_context(simt_seeded(2));
    for (uint32_t columns : column_counts) {
        for (ActivationKind kind : kinds) {
            check_residual(&cuda, &variant, kind, columns, columns == 33);
        }
    }
    variant.close(variant.context);
    std::vector<void *> none;
    close_with(&cuda, &none);
}

#ifdef TESSERA_SIMT // device functions are callable from the host
// No bank conflicts, and the sectors of the bytes.
Test(rows, residual_norm_moves_the_bytes_and_no_more) {
    enum { ROWS = 2, COLUMNS = 3840 };
    CudaContext cuda = open_context(simt_profiled());
    std::vector<void *> memory;
    Activation out = activation_alloc(ACTIVATION_INT8, ROWS, COLUMNS);
    float *floats = (float *)device_copy(NULL, sizeof(float) * ROWS * COLUMNS, 0, &memory);
    float *h = (float *)device_copy(NULL, sizeof(float) * ROWS * COLUMNS, 0, &memory);
    OpResidualNorm op = {ROWS,   COLUMNS, h,
                         floats, floats,  1.0f,
                         floats, 1e-6f,   activation_on_device(&out, ROWS, &memory)};
    cr_assert_eq(cuda_residual_norm(&cuda, &op), OK, "%s", simt_fault());
    const SimtReport *report = simt_report();
    cr_assert_eq(report->bank_conflicts, 0);
    cr_assert_leq(report->load_sectors * 20, report->load_sectors_min * 21, "%llu of %llu",
                  (unsigned long long)report->load_sectors,
                  (unsigned long long)report->load_sectors_min);
    cr_assert_leq(report->store_sectors * 20, report->store_sectors_min * 21);
    activation_free(&out);
    close_with(&cuda, &memory);
}

// The factor is computed without doubles: how often it is not the rounded double.
Test(rows, the_factor_of_a_norm_is_the_rounded_double) {
    enum { COUNT = 1000000 };
    uint32_t different = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        uint64_t bits = prng_u64(42, 0, i);
        uint32_t columns = 1 + (uint32_t)(bits >> 40) % 8192;
        float sum = ldexpf(1.0f + (float)(bits & 0x7fffff) * 0x1p-23f, (int)(bits >> 24 & 63) - 30);
        float eps = i % 2 == 0 ? 1e-6f : 1e-5f;
        float wanted = (float)(1.0 / sqrt((double)sum / columns + (double)eps));
        float got = row_factor(sum, columns, eps);
        different += got != wanted;
        cr_assert(fabs((double)got - (double)wanted) <= 0x1p-23 * (double)wanted, "%g %u",
                  (double)sum, columns);
    }
    cr_assert_leq(different, 1, "%u of a million differ", different);
}
#endif

Test(rows, embed_gives_the_exact_values_of_every_level_and_leaves_image_rows_alone) {
    enum { ROWS = 6, VOCAB = 37, HIDDEN = 100 };
    const int32_t tokens[ROWS] = {36, -1, 0, 7, batch_token_drawn(1), batch_token_drawn(0)};
    const int32_t drawn[] = {-1, 3}; // sample 0 of the step before had nothing to draw
    const int32_t meant[ROWS] = {36, -1, 0, 7, 3, -1};
    for (int level = 0; level < LEVEL_COUNT; level++) {
        CudaContext cuda = open_context(simt_seeded(3));
        std::vector<void *> memory;
        Matrix table =
            matrix_random((WeightLevel)level, VOCAB, HIDDEN, level >= LEVEL_INT8 ? 32 : 0, 5);
        float untouched[ROWS][HIDDEN];
        for (auto &row : untouched) {
            std::fill(row, row + HIDDEN, 9.0f);
        }
        float *out = (float *)device_copy(untouched, sizeof untouched, 0, &memory);
        OpEmbed op = {ROWS,
                      (const int32_t *)device_copy(tokens, sizeof tokens, 0, &memory),
                      (const int32_t *)device_copy(drawn, sizeof drawn, 0, &memory),
                      matrix_on_device(&table, &memory),
                      15.5f,
                      out};
        cr_assert_eq(cuda_embed(&cuda, &op), OK, "%s", simt_fault());
        float got[ROWS][HIDDEN];
        device_read(got, out, sizeof got);
        for (uint32_t r = 0; r < ROWS; r++) {
            for (uint32_t c = 0; c < HIDDEN; c++) {
                float wanted =
                    meant[r] < 0 ? 9.0f : 15.5f * matrix_value(&table, (uint32_t)meant[r], c);
                cr_assert_eq(got[r][c], wanted, "level %d, row %u, column %u", level, r, c);
            }
        }
        matrix_free(&table);
        close_with(&cuda, &memory);
    }
}
