// SPDX-License-Identifier: Apache-2.0
// rope_append and rope_table: every instruction set against the reference; copies of pages.
#include "cpu/kv_page.h"
#include "ops/attention_cases.h"
#include "ops/isa.h"

#include <stdlib.h>
#include <string.h>

// The inputs of one shape and what the reference makes of them.
typedef struct Case {
    const LayerShape *shape;
    KvKind kind;
    uint32_t pairs, stride, rows;
    float *norm, *frequencies; // [2][head_dim], [pairs]
    float *qkv;                // [rows][stride]
    float *cosine, *sine;      // [rows][pairs], by the reference, as what follows
    float *turned;             // qkv after the op
    float *cache;
    size_t cache_count;
} Case;

static size_t table_bytes(const Case *c) {
    return (size_t)c->rows * c->pairs * sizeof(float);
}

static float *copied(const Case *c) {
    float *copy = malloc((size_t)c->rows * c->stride * sizeof *copy);
    memcpy(copy, c->qkv, (size_t)c->rows * c->stride * sizeof *copy);
    return copy;
}

// Runs both ops: the tables to cosine and sine, q turned in `qkv`; returns the cache's numbers.
static float *run(const Case *c, Backend *backend, float *qkv, float *cosine, float *sine) {
    Paged paged;
    size_t count;
    paged_open(&paged, &(PagedSpec){*c->shape, c->kind, 1024, rope_sequences, ROPE_SEQUENCES, 5});
    OpRopeTable table = {c->rows, paged.positions, c->pairs, c->frequencies, cosine, sine};
    OpRopeAppend op = {.qkv = qkv,
                       .qkv_stride = c->stride,
                       .q_norm = c->norm,
                       .k_norm = c->norm + c->shape->head_dim,
                       .eps = 1e-6f,
                       .cosine = cosine,
                       .sine = sine,
                       .cache = paged.cache,
                       .rows = paged.rows};
    cr_assert_eq(backend->ops->rope_table(backend->context, &table), OK);
    cr_assert_eq(backend->ops->rope_append(backend->context, &op), OK);
    float *cache = paged_numbers(&paged, &count);
    cr_assert(c->cache_count == 0 || c->cache_count == count);
    paged_close(&paged);
    return cache;
}

static size_t cache_numbers(const Case *c, uint32_t *rows) {
    Paged paged;
    size_t count;
    paged_open(&paged, &(PagedSpec){*c->shape, c->kind, 1024, rope_sequences, ROPE_SEQUENCES, 5});
    *rows = paged.rows.row_count;
    free(paged_numbers(&paged, &count));
    paged_close(&paged);
    return count;
}

static Case case_open(const LayerShape *shape, KvKind kind) {
    Case c = {.shape = shape,
              .kind = kind,
              .pairs = shape->head_dim / 2,
              .stride = gemma4_qkv_rows(shape) + 5,
              .norm = random_floats(2 * shape->head_dim, 1.0f, 3)};
    c.cache_count = cache_numbers(&c, &c.rows);
    c.frequencies = random_floats(c.pairs, 0.5f, 4);
    for (uint32_t j = c.pairs / 4; j < c.pairs && shape->kind == LAYER_FULL; j++) {
        c.frequencies[j] = 0.0f;
    }
    c.qkv = random_floats((size_t)c.rows * c.stride, 3.0f, 6);
    c.turned = copied(&c);
    c.cosine = malloc(table_bytes(&c));
    c.sine = malloc(table_bytes(&c));
    Backend reference = isa_open(CPU_ISA_REFERENCE, 1);
    c.cache = run(&c, &reference, c.turned, c.cosine, c.sine);
    reference.close(reference.context);
    return c;
}

static void case_close(Case *c) {
    free(c->norm);
    free(c->frequencies);
    free(c->qkv);
    free(c->cosine);
    free(c->sine);
    free(c->turned);
    free(c->cache);
}

static void check_isa(const Case *c, CpuIsa isa) {
    Backend backend = isa_open(isa, 2);
    float *cosine = malloc(table_bytes(c)), *sine = malloc(table_bytes(c)), *qkv = copied(c);
    float *cache = run(c, &backend, qkv, cosine, sine);
    cr_assert_eq(memcmp(cosine, c->cosine, table_bytes(c)), 0);
    cr_assert_eq(memcmp(sine, c->sine, table_bytes(c)), 0);
    for (uint32_t r = 0; r < c->rows; r++) { // k and v of the row are free to change
        assert_close(qkv + (size_t)r * c->stride, c->turned + (size_t)r * c->stride,
                     (size_t)c->shape->head_count * c->shape->head_dim, TOLERANCE_ROPE, "q");
    }
    assert_close(cache, c->cache, c->cache_count, TOLERANCE_CACHE[c->kind], "cache");
    free(cache);
    free(qkv);
    free(cosine);
    free(sine);
    backend.close(backend.context);
}

static void check_shape(const LayerShape *shape, KvKind kind) {
    Case c = case_open(shape, kind);
    for
        EACH_ISA(isa) {
            check_isa(&c, isa);
        }
    case_close(&c);
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
