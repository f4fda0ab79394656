// SPDX-License-Identifier: Apache-2.0
// Attention: every instruction set against the reference over one list of shapes, and the promise
// that a row's bits depend on nothing but the row.
#include "cpu/activation.h"
#include "ops/attention_cases.h"
#include "ops/isa.h"
#include "ops/paged.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void run(const Backend *backend, const Paged *paged, PagedRows rows, const float *q,
                uint32_t window, float *out) {
    uint32_t columns = paged->shape.head_count * paged->shape.head_dim;
    Activation activation = activation_open(ACTIVATION_F32, rows.row_count, columns);
    float *scratch = malloc((size_t)rows.row_count * columns * sizeof *scratch);
    OpAttention op = {.q = q,
                      .q_stride = columns + 3,
                      .cache = paged->cache,
                      .rows = rows,
                      .window = window,
                      .scratch = scratch,
                      .out = activation};
    cr_assert_eq(backend->ops->attention(backend->context, &op), OK);
    for (uint32_t r = 0; r < rows.row_count; r++) {
        memcpy(out + (size_t)r * columns,
               (float *)activation.values + (size_t)r * activation.stride, columns * sizeof(float));
    }
    free(scratch);
    activation_close(&activation);
}

static void check_case(const AttentionCase *one, KvKind kind, const Backend *reference) {
    Paged paged;
    paged_open(&paged, &(PagedSpec){one->shape, kind, one->window, one->sequences,
                                    one->sequence_count, 11});
    paged_fill(&paged, 12);
    uint32_t columns = one->shape.head_count * one->shape.head_dim;
    size_t count = (size_t)paged.rows.row_count * columns;
    float *q = random_floats((size_t)paged.rows.row_count * (columns + 3), 0.5f, 13);
    float *wanted = malloc(count * sizeof(float));
    float *got = malloc(count * sizeof(float));
    float *part = malloc(count * sizeof(float));
    run(reference, &paged, paged.rows, q, one->window, wanted);
    for
        EACH_ISA(isa) {
            Backend backend = isa_open(isa, 2);
            char what[128];
            snprintf(what, sizeof what, "%s, %s, kv kind %d", one->name, cpu_isa_name(isa),
                     (int)kind);
            run(&backend, &paged, paged.rows, q, one->window, got);
            assert_close(got, wanted, count, TOLERANCE_ATTENTION, what);

            // Each sequence alone in chunks of 7 rows, with one thread and with 16.
            Backend other = isa_open(isa, 1);
            Backend wide = isa_open(isa, 16);
            for (uint32_t s = 0; s < one->sequence_count; s++) {
                for (uint32_t first = 0; first < one->sequences[s].rows; first += 7) {
                    uint32_t rows = one->sequences[s].rows - first;
                    rows = rows < 7 ? rows : 7;
                    BatchSequence sequence;
                    PagedRows few = paged_part(&paged, s, first, rows, &sequence);
                    size_t row = paged.sequences[s].row_first + first;
                    run(s % 2 == 0 ? &wide : &other, &paged, few, q + row * (columns + 3),
                        one->window, part);
                    cr_assert_eq(memcmp(part, got + row * columns, rows * columns * sizeof(float)),
                                 0, "%s: rows %zu.. of sequence %u have other bits alone", what,
                                 row, s);
                }
            }
            wide.close(wide.context);
            other.close(other.context);
            backend.close(backend.context);
        }
    free(q);
    free(wanted);
    free(got);
    free(part);
    paged_close(&paged);
}

Test(attention, every_instruction_set_equals_the_reference_and_rows_do_not_see_their_neighbours) {
    Backend reference = isa_open(CPU_ISA_REFERENCE, 1);
    for (size_t i = 0; i < ATTENTION_CASES; i++) {
        check_case(&attention_cases[i], KV_F32, &reference);
        check_case(&attention_cases[i], KV_BF16, &reference);
        check_case(&attention_cases[i], KV_INT8, &reference);
    }
    reference.close(reference.context);
}

// The rows leave as the definition of activations says (cpu/activation.h), for every kind.
Test(attention, rows_leave_as_activations_of_every_kind) {
    LayerShape shape = {LAYER_FULL, 4, 2, 64, false, 8};
    Paged paged;
    paged_open(&paged, &(PagedSpec){shape, KV_BF16, 0, &(PagedSequence){20, 5, 0, 0}, 1, 1});
    paged_fill(&paged, 2);
    float *q = random_floats(5 * 4 * 64, 1.0f, 3);
    float scratch[5 * 4 * 64];
    for
        EACH_ISA(isa) {
            Backend backend = isa_open(isa, 2);
            for (int kind = 0; kind < ACTIVATION_KIND_COUNT; kind++) {
                Activation got = activation_open((ActivationKind)kind, 5, 4 * 64);
                Activation wanted = activation_open((ActivationKind)kind, 5, 4 * 64);
                OpAttention op = {q, 4 * 64, paged.cache, paged.rows, 0, scratch, got};
                cr_assert_eq(backend.ops->attention(backend.context, &op), OK);
                for (uint32_t r = 0; r < 5; r++) {
                    activation_store(&wanted, r, scratch + (size_t)r * 4 * 64);
                }
                size_t bytes = 5 * got.stride * activation_value_bytes(got.kind);
                size_t sums = 5 * activation_parts(got.kind) * got.stride / 32;
                cr_assert_eq(memcmp(got.values, wanted.values, bytes), 0);
                cr_assert_eq(memcmp(got.scales, wanted.scales, 5 * sizeof(float)), 0);
                cr_assert_eq(memcmp(got.block_sums, wanted.block_sums, sums * sizeof(int32_t)), 0);
                activation_close(&got);
                activation_close(&wanted);
            }
            backend.close(backend.context);
        }
    free(q);
    paged_close(&paged);
}

// The bytes around what a sequence wrote are `stale`.
static void run_in_used_pages(const Backend *backend, KvKind kind, int stale, float *out) {
    LayerShape shape = {LAYER_FULL, 4, 2, 64, false, 8};
    Paged paged;
    paged_open(&paged, &(PagedSpec){shape, kind, 0, &(PagedSequence){20, 1, 0, 0}, 1, 1});
    memset(paged.pages, stale, paged.page_count * paged.cache.page_bytes);
    paged_fill(&paged, 2);
    float *q = random_floats(4 * 64 + 3, 1.0f, 3);
    run(backend, &paged, paged.rows, q, 0, out);
    free(q);
    paged_close(&paged);
}

// What an earlier sequence left in a page beyond the newest token must not matter, not even NaN.
Test(attention, stale_values_behind_the_last_token_are_never_touched) {
    for
        EACH_ISA(isa) {
            Backend backend = isa_open(isa, 1);
            for (int kind = 0; kind < KV_KIND_COUNT; kind++) {
                float fresh[4 * 64], used[4 * 64];
                run_in_used_pages(&backend, (KvKind)kind, 0, fresh);
                run_in_used_pages(&backend, (KvKind)kind, 0xff, used);
                cr_assert_eq(memcmp(fresh, used, sizeof fresh), 0, "%s", cpu_isa_name(isa));
            }
            backend.close(backend.context);
        }
}

// Scores of some hundreds, as a scale of 1.0 allows, neither overflow nor lose the largest key.
Test(attention, large_scores_are_safe) {
    LayerShape shape = {LAYER_FULL, 4, 2, 64, false, 8};
    Backend reference = isa_open(CPU_ISA_REFERENCE, 1);
    Paged paged;
    paged_open(&paged, &(PagedSpec){shape, KV_F32, 0, &(PagedSequence){200, 3, 0, 0}, 1, 1});
    paged_fill(&paged, 2);
    float *q = random_floats(3 * (4 * 64 + 3), 100.0f, 3);
    float wanted[3 * 4 * 64], got[3 * 4 * 64];
    run(&reference, &paged, paged.rows, q, 0, wanted);
    for
        EACH_ISA(isa) {
            Backend backend = isa_open(isa, 2);
            run(&backend, &paged, paged.rows, q, 0, got);
            // Scores of 1000 have units of 6e-5 in f32, which is the relative error of a
            // probability.
            assert_close(got, wanted, 3 * 4 * 64, (Tolerance){2e-3, 0.0}, cpu_isa_name(isa));
            backend.close(backend.context);
        }
    free(q);
    paged_close(&paged);
    reference.close(reference.context);
}
