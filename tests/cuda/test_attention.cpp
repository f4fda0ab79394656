// SPDX-License-Identifier: Apache-2.0
// attention, rope_table, rope_append and copy_pages on the emulator against the cpu's reference, on
// the shapes of tests/ops.
#include "cuda/kv_layout.cuh"
#include "cuda/paged_case.h"

#include <criterion/criterion.h>

extern "C" {
#include "cpu/context.h"
#include "ops/attention_cases.h"
#include "ops/tolerance.h"
#include "unit/cpu/material.h"
}

static CudaContext context;

static void open_context(uint64_t seed, bool profile) {
    SimtOptions options = {};
    options.seed = seed;
    options.profile = profile;
    simt_reset(&options);
    Error error = {};
    cr_assert_eq(cuda_context_open(0, &context, &error), OK, "%s", error.text);
}

static void close_context(void) {
    cuda_context_close(&context);
    cr_assert_eq(simt_memory_used(), 0);
}

static const char *const kind_names[] = {"f32", "bf16", "int8"};

static void assert_near(const float *got, const float *wanted, size_t count, Tolerance tolerance,
                        const char *what, KvKind kind) {
    for (size_t i = 0; i < count; i++) {
        double difference = fabs((double)got[i] - (double)wanted[i]);
        double allowed = tolerance.absolute + tolerance.relative * fabs((double)wanted[i]);
        cr_assert(difference <= allowed, "%s, %s: value %zu is %.9g, wanted %.9g (off by %.3g)",
                  what, kind_names[kind], i, (double)got[i], (double)wanted[i], difference);
    }
}

// ---- attention ----------------------------------------------------------------------------------

static std::vector<float> run(const KvLayer &cache, const PagedRows &rows, const float *q,
                              uint32_t window) {
    uint32_t columns = cache.shape.head_count * cache.shape.head_dim;
    std::vector<void *> memory;
    std::vector<float> out((size_t)rows.row_count * columns);
    OpAttention op = {};
    op.q = (const float *)device_copy(q, (size_t)rows.row_count * (columns + 4) * 4, 0, &memory);
    op.q_stride = columns + 4;
    op.cache = cache;
    op.rows = rows;
    op.window = window;
    op.scratch = (float *)device_copy(NULL, out.size() * 4, 0xff, &memory);
    op.out = {ACTIVATION_F32, columns, columns, NULL, NULL, NULL};
    op.out.values = device_copy(NULL, out.size() * 4, 0xff, &memory);
    cr_assert_eq(cuda_attention(&context, &op), OK, "%s", context.failure.text);
    cr_assert_str_empty(simt_fault());
    device_read(out.data(), op.out.values, out.size() * 4);
    for (void *pointer : memory) {
        cudaFree(pointer);
    }
    return out;
}

static std::vector<float> reference(const Paged *paged, const float *q, uint32_t window) {
    uint32_t columns = paged->shape.head_count * paged->shape.head_dim;
    std::vector<float> out((size_t)paged->rows.row_count * columns), scratch(out.size());
    OpAttention op = {};
    op.q = q;
    op.q_stride = columns + 4;
    op.cache = paged->cache;
    op.rows = paged->rows;
    op.window = window;
    op.scratch = scratch.data();
    op.out = {ACTIVATION_F32, columns, columns, out.data(), NULL, NULL};
    cr_assert_eq(attention_ref(NULL, &op), OK);
    return out;
}

static void check_case(const AttentionCase *one, KvKind kind) {
    Paged paged;
    paged_open(&paged, &one->shape, kind, one->window, one->sequences, one->sequence_count, 11);
    paged_fill(&paged, 12);
    PagedOnDevice d = paged_on_device(&paged, 0xff); // stale bytes are NaN
    paged_fill_on_device(&d, &paged, 12);
    uint32_t columns = one->shape.head_count * one->shape.head_dim;
    float *q = random_floats((size_t)paged.rows.row_count * (columns + 4), 0.5f, 13);
    std::vector<float> wanted = reference(&paged, q, one->window);
    std::vector<float> got = run(d.cache, d.rows, q, one->window);
    assert_near(got.data(), wanted.data(), got.size(), TOLERANCE_ATTENTION, one->name, kind);
    free(q);
    paged_off_device(&d);
    paged_close(&paged);
}

Test(attention, every_kind_of_page_equals_the_reference) {
    open_context(1, false);
    for (size_t i = 0; i < ATTENTION_CASES; i++) {
        for (int kind = 0; kind < KV_KIND_COUNT; kind++) {
            check_case(&attention_cases[i], (KvKind)kind);
        }
    }
    close_context();
}

// ---- rope_table, rope_append --------------------------------------------------------------------

static void check_table(uint32_t pair_count, const std::vector<uint32_t> &positions,
                        const float *frequencies) {
    size_t count = positions.size() * pair_count;
    std::vector<float> cosine(count), sine(count), got_cosine(count), got_sine(count);
    OpRopeTable op = {(uint32_t)positions.size(),
                      positions.data(),
                      pair_count,
                      frequencies,
                      cosine.data(),
                      sine.data()};
    cr_assert_eq(rope_table_ref(NULL, &op), OK);
    std::vector<void *> memory;
    op.positions =
        (const uint32_t *)device_copy(positions.data(), positions.size() * 4, 0, &memory);
    op.inverse_frequency = (const float *)device_copy(frequencies, pair_count * 4, 0, &memory);
    op.cosine = (float *)device_copy(NULL, count * 4, 0xff, &memory);
    op.sine = (float *)device_copy(NULL, count * 4, 0xff, &memory);
    cr_assert_eq(cuda_rope_table(&context, &op), OK, "%s", simt_fault());
    device_read(got_cosine.data(), op.cosine, count * 4);
    device_read(got_sine.data(), op.sine, count * 4);
    // Both round a double of 52 good bits to 24: the same number.
    cr_assert_arr_eq(got_cosine.data(), cosine.data(), count * 4);
    cr_assert_arr_eq(got_sine.data(), sine.data(), count * 4);
    for (void *pointer : memory) {
        cudaFree(pointer);
    }
}

Test(rope_table, has_the_bits_of_the_reference_up_to_the_longest_context) {
    open_context(2, false);
    std::vector<uint32_t> positions = {0, 1, 2, 3, 1023, 1024, 65535, 131071, 262143, 1048575};
    for (uint32_t i = 0; i < 50; i++) {
        positions.push_back(i * 5237 % 262144);
    }
    float *frequencies = random_floats(128, 0.5f, 4);
    for (uint32_t j = 0; j < 128; j++) {
        frequencies[j] = j >= 96 ? 0.0f : j == 0 ? 1.0f : fabsf(frequencies[j]);
    }
    check_table(128, positions, frequencies);
    check_table(32, {7}, frequencies);
    free(frequencies);
    close_context();
}

static void check_append(const LayerShape *shape, KvKind kind) {
    uint32_t pairs = shape->head_dim / 2, stride = gemma4_qkv_rows(shape) + 5;
    Paged wanted;
    paged_open(&wanted, shape, kind, 1024, rope_sequences, ROPE_SEQUENCES, 5);
    PagedOnDevice d = paged_on_device(&wanted, 0);
    uint32_t rows = wanted.rows.row_count;
    size_t count = (size_t)rows * stride;
    float *norm = random_floats(2 * shape->head_dim, 1.0f, 3);
    float *qkv = random_floats(count, 3.0f, 6);
    float *angles = random_floats((size_t)rows * pairs, 3.0f, 4);
    std::vector<float> cosine((size_t)rows * pairs), sine((size_t)rows * pairs), got(count);
    for (size_t i = 0; i < cosine.size(); i++) {
        cosine[i] = cosf(angles[i]);
        sine[i] = sinf(angles[i]);
    }
    std::vector<void *> memory;
    OpRopeAppend op = {};
    op.qkv = (float *)device_copy(qkv, count * 4, 0, &memory);
    op.qkv_stride = stride;
    op.q_norm = (const float *)device_copy(norm, shape->head_dim * 4, 0, &memory);
    op.k_norm = (const float *)device_copy(norm + shape->head_dim, shape->head_dim * 4, 0, &memory);
    op.eps = 1e-6f;
    op.cosine = (const float *)device_copy(cosine.data(), cosine.size() * 4, 0, &memory);
    op.sine = (const float *)device_copy(sine.data(), sine.size() * 4, 0, &memory);
    op.cache = d.cache;
    op.rows = d.rows;
    cr_assert_eq(cuda_rope_append(&context, &op), OK, "%s", simt_fault());
    device_read(got.data(), op.qkv, count * 4);
    OpRopeAppend host = {qkv,        stride,        norm,        norm + shape->head_dim,
                         1e-6f,      cosine.data(), sine.data(), wanted.cache,
                         wanted.rows};
    cr_assert_eq(rope_append_ref(NULL, &host), OK);
    for (uint32_t r = 0; r < rows; r++) {
        assert_near(got.data() + (size_t)r * stride, qkv + (size_t)r * stride,
                    (size_t)shape->head_count * shape->head_dim, TOLERANCE_ROPE, "q", kind);
    }
    size_t cached;
    float *numbers = paged_numbers(&wanted, &cached);
    std::vector<float> got_numbers = paged_numbers_on_device(&d, &wanted);
    cr_assert_eq(got_numbers.size(), cached);
    assert_near(got_numbers.data(), numbers, cached, TOLERANCE_CACHE[kind], "cache", kind);
    for (void *pointer : memory) {
        cudaFree(pointer);
    }
    free(numbers);
    free(norm);
    free(qkv);
    free(angles);
    paged_off_device(&d);
    paged_close(&wanted);
}

Test(rope_append, every_kind_of_page_equals_the_reference) {
    open_context(3, false);
    for (size_t i = 0; i < ROPE_SHAPES; i++) {
        for (int kind = 0; kind < KV_KIND_COUNT; kind++) {
            check_append(&rope_shapes[i], (KvKind)kind);
        }
    }
    close_context();
}

// ---- copy_pages ---------------------------------------------------------------------------------

Test(copy_pages, copies_every_layer_of_the_kind_and_nothing_else) {
    enum { LAYERS = 3, PAGES = 300, COPIES = 140 }; // more copies than a launch takes
    open_context(4, false);
    LayerShape shape = {LAYER_FULL, 2, 1, 16, true};
    size_t bytes = kv_layout_page_bytes(KV_BF16, 1, 16);
    KvLayer layers[LAYERS];
    std::vector<void *> memory;
    std::vector<unsigned char> before(PAGES * bytes), after(PAGES * bytes);
    uint32_t from[COPIES], to[COPIES];
    for (uint32_t i = 0; i < COPIES; i++) {
        from[i] = 2 * i;
        to[i] = 2 * ((i + 7) % COPIES) + 1;
    }
    for (size_t i = 0; i < before.size(); i++) {
        before[i] = (unsigned char)(i * 2654435761u >> 13);
    }
    for (KvLayer &layer : layers) {
        layer = {KV_BF16, shape, bytes, device_copy(before.data(), before.size(), 0, &memory)};
    }
    OpCopyPages op = {layers, LAYERS, COPIES, from, to};
    cr_assert_eq(cuda_copy_pages(&context, &op), OK, "%s", simt_fault());
    std::vector<unsigned char> wanted = before;
    for (uint32_t i = 0; i < COPIES; i++) {
        memcpy(wanted.data() + to[i] * bytes, before.data() + from[i] * bytes, bytes);
    }
    for (KvLayer &layer : layers) {
        device_read(after.data(), layer.pages, after.size());
        cr_assert_arr_eq(after.data(), wanted.data(), after.size());
    }
    for (void *pointer : memory) {
        cudaFree(pointer);
    }
    close_context();
}
