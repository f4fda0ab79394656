// SPDX-License-Identifier: Apache-2.0
// rope_append and rope_table: every instruction set against the reference; copies of pages.
#include "cpu/kv_page.h"
#include "ops/attention_cases.h"
#include "ops/isa.h"

#include <stdlib.h>
#include <string.h>

static void check_shape(const LayerShape *shape, KvKind kind) {
    Backend reference = isa_open(CPU_ISA_REFERENCE, 1);
    uint32_t pairs = shape->head_dim / 2;
    uint32_t stride = gemma4_qkv_rows(shape) + 5;
    float *norm = random_floats(2 * shape->head_dim, 1.0f, 3);
    float *frequencies = random_floats(pairs, 0.5f, 4);
    for (uint32_t j = pairs / 4; j < pairs && shape->kind == LAYER_FULL; j++) {
        frequencies[j] = 0.0f;
    }
    Paged wanted;
    paged_open(&wanted, shape, kind, 1024, rope_sequences, ROPE_SEQUENCES, 5);
    uint32_t rows = wanted.rows.row_count;
    float *qkv = random_floats((size_t)rows * stride, 3.0f, 6);
    float *wanted_qkv = random_floats((size_t)rows * stride, 3.0f, 6);
    float *cosine = malloc((size_t)rows * pairs * sizeof(float));
    float *sine = malloc((size_t)rows * pairs * sizeof(float));
    float *got_cosine = malloc((size_t)rows * pairs * sizeof(float));
    float *got_sine = malloc((size_t)rows * pairs * sizeof(float));
    OpRopeTable table = {rows, wanted.positions, pairs, frequencies, cosine, sine};
    cr_assert_eq(reference.ops->rope_table(reference.context, &table), OK);
    OpRopeAppend op = {.qkv = wanted_qkv,
                       .qkv_stride = stride,
                       .q_norm = norm,
                       .k_norm = norm + shape->head_dim,
                       .eps = 1e-6f,
                       .cosine = cosine,
                       .sine = sine,
                       .cache = wanted.cache,
                       .rows = wanted.rows};
    cr_assert_eq(reference.ops->rope_append(reference.context, &op), OK);
    size_t count;
    float *wanted_cache = paged_numbers(&wanted, &count);
    for
        EACH_ISA(isa) {
            Backend backend = isa_open(isa, 2);
            Paged paged;
            paged_open(&paged, shape, kind, 1024, rope_sequences, ROPE_SEQUENCES, 5);
            OpRopeTable got_table = {rows,        paged.positions, pairs,
                                     frequencies, got_cosine,      got_sine};
            cr_assert_eq(backend.ops->rope_table(backend.context, &got_table), OK);
            cr_assert_eq(memcmp(got_cosine, cosine, (size_t)rows * pairs * sizeof(float)), 0);
            cr_assert_eq(memcmp(got_sine, sine, (size_t)rows * pairs * sizeof(float)), 0);
            float *copy = malloc((size_t)rows * stride * sizeof(float));
            memcpy(copy, qkv, (size_t)rows * stride * sizeof(float));
            op.qkv = copy;
            op.cache = paged.cache;
            op.rows = paged.rows;
            cr_assert_eq(backend.ops->rope_append(backend.context, &op), OK);
            float *cache = paged_numbers(&paged, &count);
            for (uint32_t r = 0; r < rows; r++) { // k and v of the row are free to change
                assert_close(copy + (size_t)r * stride, wanted_qkv + (size_t)r * stride,
                             (size_t)shape->head_count * shape->head_dim, TOLERANCE_ROPE, "q");
            }
            assert_close(cache, wanted_cache, count, TOLERANCE_CACHE[kind], "cache");
            free(cache);
            free(copy);
            paged_close(&paged);
            backend.close(backend.context);
        }
    free(wanted_cache);
    free(norm);
    free(frequencies);
    free(qkv);
    free(wanted_qkv);
    free(cosine);
    free(sine);
    free(got_cosine);
    free(got_sine);
    paged_close(&wanted);
    reference.close(reference.context);
}

Test(rope_append, every_instruction_set_equals_the_reference) {
    for (size_t i = 0; i < ROPE_SHAPES; i++) {
        check_shape(&rope_shapes[i], KV_F32);
        check_shape(&rope_shapes[i], KV_BF16);
        check_shape(&rope_shapes[i], KV_INT8);
    }
}

// The rotation against Sylvester's formula, entry by entry; and that it keeps products.
Test(rope_append, the_rotation_is_a_hadamard_matrix_in_blocks) {
    static const uint32_t sizes[] = {16, 24, 48, 96, 256, 512};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        uint32_t size = sizes[s], order = kv_rotation(size);
        cr_assert_eq(size % order, 0);
        cr_assert_eq(size / order % 2, 1, "the largest power of two");
        float *x = random_floats(size, 1.0f, s), *y = random_floats(size, 1.0f, s + 100);
        float *turned_x = random_floats(size, 1.0f, s),
              *turned_y = random_floats(size, 1.0f, s + 100);
        kv_rotate(turned_x, size);
        kv_rotate(turned_y, size);
        double before = 0.0, after = 0.0;
        for (uint32_t i = 0; i < size; i++) {
            double sum = 0.0;
            for (uint32_t j = 0; j < order; j++) {
                uint32_t bits = i % order & j;
                double sign = __builtin_popcount(bits) % 2 == 0 ? 1.0 : -1.0;
                sum += sign * (double)x[i / order * order + j];
            }
            float wanted = (float)(sum / sqrt(order));
            // Sums of up to 512 values of size 1 by nine additions in f32.
            assert_close(&turned_x[i], &wanted, 1, (Tolerance){2e-6, 2e-6}, "rotation");
            before += (double)x[i] * (double)y[i];
            after += (double)turned_x[i] * (double)turned_y[i];
        }
        cr_assert_float_eq(before, after, 1e-5);
        free(x);
        free(y);
        free(turned_x);
        free(turned_y);
    }
}

Test(copy_pages, copies_every_layer_of_the_kind_and_nothing_else) {
    enum { LAYERS = 3, PAGES = 6 };
    LayerShape shape = {LAYER_FULL, 4, 2, 64, true, 8};
    KvLayer layers[LAYERS];
    size_t bytes = kv_page_bytes(KV_BF16, &shape);
    for (uint32_t l = 0; l < LAYERS; l++) {
        unsigned char *pages = malloc(PAGES * bytes);
        for (size_t i = 0; i < PAGES * bytes; i++) {
            pages[i] = (unsigned char)(i / bytes * 16 + l);
        }
        layers[l] = (KvLayer){KV_BF16, shape, bytes, pages};
    }
    const uint32_t from[] = {1, 5}, to[] = {4, 0};
    static const unsigned char page_after[PAGES] = {5, 1, 2, 3, 1, 5};
    Backend backend = isa_open(CPU_ISA_AUTO, 1);
    cr_assert_eq(
        backend.ops->copy_pages(backend.context, &(OpCopyPages){layers, LAYERS, 2, from, to}), OK);
    for (uint32_t l = 0; l < LAYERS; l++) {
        unsigned char *pages = layers[l].pages;
        for (size_t i = 0; i < PAGES * bytes; i++) {
            cr_assert_eq(pages[i], page_after[i / bytes] * 16 + l);
        }
        free(pages);
    }
    backend.close(backend.context);
}
