// SPDX-License-Identifier: Apache-2.0
// rope_append and rope_table: every instruction set against the reference; copies of pages.
#include "cpu/kv_page.h"
#include "ops/isa.h"
#include "ops/paged.h"

#include <stdlib.h>
#include <string.h>

static const LayerShape shapes[] = {
    {LAYER_SLIDING, 16, 8, 256, false}, {LAYER_FULL, 16, 1, 512, true},
    {LAYER_SLIDING, 4, 2, 64, false},   {LAYER_FULL, 4, 2, 128, true},
    {LAYER_FULL, 2, 1, 48, true}, // no fast path
};

static const PagedSequence sequences[] = {{0, 1, 0, 0}, {30, 19, 2, 10}, {15, 2, 0, 0}};

static float *cache_values(const Paged *paged, size_t *count) {
    *count = paged->page_count * paged->cache.page_bytes / kv_value_bytes(paged->cache.kind);
    float *out = malloc(*count * sizeof *out);
    for (size_t i = 0; i < *count; i++) {
        out[i] = kv_load(paged->cache.kind, paged->pages, i);
    }
    return out;
}

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
    paged_open(&wanted, shape, kind, 1024, sequences, 3, 5);
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
    float *wanted_cache = cache_values(&wanted, &count);
    for
        EACH_ISA(isa) {
            Backend backend = isa_open(isa, 2);
            Paged paged;
            paged_open(&paged, shape, kind, 1024, sequences, 3, 5);
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
            float *cache = cache_values(&paged, &count);
            for (uint32_t r = 0; r < rows; r++) { // k and v of the row are free to change
                assert_close(copy + (size_t)r * stride, wanted_qkv + (size_t)r * stride,
                             (size_t)shape->head_count * shape->head_dim, TOLERANCE_ROPE, "q");
            }
            assert_close(cache, wanted_cache, count,
                         kind == KV_F32 ? TOLERANCE_ROPE : TOLERANCE_CACHE_BF16, "cache");
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
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        check_shape(&shapes[i], KV_F32);
        check_shape(&shapes[i], KV_BF16);
    }
}

Test(copy_pages, copies_every_layer_of_the_kind_and_nothing_else) {
    enum { LAYERS = 3, PAGES = 6 };
    LayerShape shape = {LAYER_FULL, 4, 2, 64, true};
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
