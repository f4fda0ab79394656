// SPDX-License-Identifier: Apache-2.0
// The reference against transformers (tests/golden/ops/make_ops.py): masks, RoPE with its norms,
// and the patch embedder. Everything else in this folder is measured against the reference.
#include "cpu/kv_page.h"
#include "ops/fixture.h"
#include "ops/isa.h"
#include "ops/paged.h"

#include <stdlib.h>
#include <string.h>

static void fill_cache(Paged *paged, const float *k, const float *v) {
    const LayerShape *shape = &paged->shape;
    for (uint32_t r = 0; r < paged->rows.row_count; r++) {
        void *page = kv_page_at(&paged->cache, &paged->rows, &paged->sequences[0], r);
        for (uint32_t h = 0; h < shape->kv_head_count; h++) {
            kv_store(KV_F32, shape, page, KV_KEYS, h, r % KV_PAGE_TOKENS, k);
            kv_store(KV_F32, shape, page, KV_VALUES, h, r % KV_PAGE_TOKENS, v);
            k += shape->head_dim;
            v += shape->head_dim;
        }
    }
}

Test(golden, attention_sees_what_the_masks_of_transformers_allow) {
    Fixture fixture = fixture_open("ops/attention.bin");
    uint32_t rows = fixture_u32(&fixture), heads = fixture_u32(&fixture);
    uint32_t kv_heads = fixture_u32(&fixture), head_dim = fixture_u32(&fixture);
    uint32_t window = fixture_u32(&fixture), columns = heads * head_dim;
    const uint32_t *sliding_end = fixture_u32s(&fixture, rows);
    const float *q = fixture_f32s(&fixture, (size_t)rows * columns);
    const float *k = fixture_f32s(&fixture, (size_t)rows * kv_heads * head_dim);
    const float *v = fixture_f32s(&fixture, (size_t)rows * kv_heads * head_dim);
    Backend backend = isa_open(CPU_ISA_REFERENCE, 1);
    static const LayerKind kinds[] = {LAYER_FULL, LAYER_SLIDING};
    for (int i = 0; i < 2; i++) {
        LayerShape shape = {kinds[i], heads, kv_heads, head_dim, false, head_dim / 2};
        Paged paged;
        paged_open(&paged,
                   &(PagedSpec){shape, KV_F32, window, &(PagedSequence){0, rows, 0, 0}, 1, 9});
        memcpy(paged.sliding_end, sliding_end, rows * sizeof *sliding_end);
        fill_cache(&paged, k, v);
        float *scratch = malloc((size_t)rows * columns * sizeof *scratch);
        Activation out = activation_open(ACTIVATION_F32, rows, columns);
        OpAttention op = {q, columns, paged.cache, paged.rows, window, scratch, out};
        cr_assert_eq(backend.ops->attention(backend.context, &op), OK);
        assert_close(out.values, fixture_f32s(&fixture, (size_t)rows * columns),
                     (size_t)rows * columns, TOLERANCE_ATTENTION_GOLDEN,
                     i == 0 ? "full" : "sliding");
        activation_close(&out);
        free(scratch);
        paged_close(&paged);
    }
    backend.close(backend.context);
    fixture_close(&fixture);
}

// Rows of q, k and v: one q head, whose numbers k has too, and one kv head.
static float *qkv_rows(const float *raw, const float *raw_v, uint32_t rows, uint32_t head_dim) {
    float *qkv = calloc((size_t)rows * 3 * head_dim, sizeof *qkv);
    for (uint32_t r = 0; r < rows; r++) {
        float *row = qkv + (size_t)r * 3 * head_dim;
        memcpy(row, raw + (size_t)r * head_dim, head_dim * sizeof(float));
        memcpy(row + head_dim, raw + (size_t)r * head_dim, head_dim * sizeof(float));
        memcpy(row + 2 * head_dim, raw_v + (size_t)r * head_dim, head_dim * sizeof(float));
    }
    return qkv;
}

Test(golden, rope_turns_the_pairs_transformers_turns) {
    Fixture fixture = fixture_open("ops/rope.bin");
    uint32_t rows = fixture_u32(&fixture);
    const uint32_t *positions = fixture_u32s(&fixture, rows);
    Backend backend = isa_open(CPU_ISA_REFERENCE, 1);
    for (int kind = LAYER_SLIDING; kind <= LAYER_FULL; kind++) {
        uint32_t head_dim = fixture_u32(&fixture), pairs = head_dim / 2;
        const float *frequencies = fixture_f32s(&fixture, pairs);
        const float *cosine = fixture_f32s(&fixture, (size_t)rows * pairs);
        const float *sine = fixture_f32s(&fixture, (size_t)rows * pairs);
        const float *weight = fixture_f32s(&fixture, head_dim);
        const float *raw = fixture_f32s(&fixture, (size_t)rows * head_dim);
        const float *raw_v = fixture_f32s(&fixture, (size_t)rows * head_dim);
        const float *turned = fixture_f32s(&fixture, (size_t)rows * head_dim);
        const float *value = fixture_f32s(&fixture, (size_t)rows * head_dim);
        if (kind == LAYER_FULL) { // model.md 1.3: the denominator is the whole head_dim
            cr_assert_float_eq((double)frequencies[63], 0.0333762, 5e-7);
            cr_assert_eq(frequencies[64], 0.0f);
        }
        float *got_cosine = malloc((size_t)rows * pairs * sizeof(float));
        float *got_sine = malloc((size_t)rows * pairs * sizeof(float));
        OpRopeTable table = {rows, positions, pairs, frequencies, got_cosine, got_sine};
        cr_assert_eq(backend.ops->rope_table(backend.context, &table), OK);
        assert_close(got_cosine, cosine, (size_t)rows * pairs, TOLERANCE_ROPE_GOLDEN, "cos");
        assert_close(got_sine, sine, (size_t)rows * pairs, TOLERANCE_ROPE_GOLDEN, "sin");

        // The positions of the step are only 0.., the angles are not.
        bool full = kind == LAYER_FULL;
        LayerShape shape = {(LayerKind)kind, 1,    1,
                            head_dim,        full, full ? head_dim / 8 : head_dim / 2};
        Paged paged;
        paged_open(&paged,
                   &(PagedSpec){shape, KV_F32, 1024, &(PagedSequence){0, rows, 0, 0}, 1, 9});
        float *qkv = qkv_rows(raw, raw_v, rows, head_dim);
        OpRopeAppend op = {qkv,        3 * head_dim, weight,      weight,    1e-6f,
                           got_cosine, got_sine,     paged.cache, paged.rows};
        cr_assert_eq(backend.ops->rope_append(backend.context, &op), OK);
        for (uint32_t r = 0; r < rows; r++) {
            const float *page = (float *)kv_page_at(&paged.cache, &paged.rows, paged.sequences, r);
            float key[512], kept[512];
            for (uint32_t d = 0; d < head_dim; d++) {
                key[d] = page[kv_key_offset(KV_F32, &shape, 0, r, d)];
                kept[d] = page[kv_value_offset(&shape, 0, r, d)];
            }
            assert_close(qkv + (size_t)r * 3 * head_dim, turned + (size_t)r * head_dim, head_dim,
                         TOLERANCE_ROPE_GOLDEN, "q");
            assert_close(key, turned + (size_t)r * head_dim, head_dim, TOLERANCE_ROPE_GOLDEN, "k");
            assert_close(kept, value + (size_t)r * head_dim, head_dim, TOLERANCE_ROPE_GOLDEN, "v");
        }
        free(qkv);
        free(got_cosine);
        free(got_sine);
        paged_close(&paged);
    }
    backend.close(backend.context);
    fixture_close(&fixture);
}

// f32 panels of a row-major matrix (weights/matrix.h).
static Matrix panels_of(const float *values, uint32_t rows, uint32_t columns) {
    Matrix matrix = {.level = LEVEL_F32,
                     .rows = rows,
                     .columns = columns,
                     .padded_columns = matrix_padded_columns(LEVEL_F32, columns, 0)};
    size_t bytes = matrix_codes_bytes(LEVEL_F32, rows, matrix.padded_columns);
    float *codes = aligned_alloc(MATRIX_BYTES_ALIGN, bytes);
    memset(codes, 0, bytes);
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t k = 0; k < columns; k++) {
            size_t panel = r / MATRIX_PANEL;
            codes[(panel * matrix.padded_columns + k) * MATRIX_PANEL + r % MATRIX_PANEL] =
                values[(size_t)r * columns + k];
        }
    }
    matrix.codes = codes;
    return matrix;
}

// Runs the op on one instruction set; `wanted` are the soft tokens in the order of the patches.
static void check_patches_isa(CpuIsa isa, OpPatchEmbed op, const float *wanted) {
    Backend backend = isa_open(isa, 2);
    uint32_t count = op.patch_count, hidden = op.config->hidden, width = op.config->vision_hidden;
    op.normed = activation_open(ACTIVATION_F32, count, op.config->patch_values);
    op.dense = calloc((size_t)count * width, sizeof(float));
    op.finished = activation_open(ACTIVATION_F32, count, width);
    op.out = calloc((size_t)count * 2 * hidden, sizeof *op.out);
    cr_assert_eq(backend.ops->patch_embed(backend.context, &op), OK);
    for (uint32_t i = 0; i < count; i++) {
        const float *row = op.out + (size_t)op.out_rows[i] * hidden;
        assert_close(row, wanted + (size_t)i * hidden, hidden, TOLERANCE_PATCH, cpu_isa_name(isa));
        cr_assert_eq(row[hidden], 0.0f, "a row between was written");
    }
    activation_close(&op.normed);
    activation_close(&op.finished);
    free(op.dense);
    free(op.out);
    backend.close(backend.context);
}

static void check_patches(const char *path) {
    Fixture fixture = fixture_open(path);
    uint32_t values = fixture_u32(&fixture), width = fixture_u32(&fixture);
    uint32_t hidden = fixture_u32(&fixture), table = fixture_u32(&fixture);
    uint32_t count = fixture_u32(&fixture);
    const uint8_t *pixels = fixture_u8s(&fixture, (size_t)count * values);
    uint16_t *positions = malloc((size_t)count * 2 * sizeof *positions);
    uint32_t *out_rows = malloc(count * sizeof *out_rows);
    const uint32_t *numbers = fixture_u32s(&fixture, (size_t)count * 2);
    for (uint32_t i = 0; i < count; i++) {
        positions[2 * i] = (uint16_t)numbers[2 * i];
        positions[2 * i + 1] = (uint16_t)numbers[2 * i + 1];
        out_rows[i] = 2 * (count - 1 - i); // any order, with gaps
    }
    VisionWeights vision = {.patch_norm_weight = fixture_f32s(&fixture, values),
                            .patch_norm_bias = fixture_f32s(&fixture, values)};
    vision.patch_dense = panels_of(fixture_f32s(&fixture, (size_t)width * values), width, values);
    vision.patch_dense_bias = fixture_f32s(&fixture, width);
    vision.dense_norm_weight = fixture_f32s(&fixture, width);
    vision.dense_norm_bias = fixture_f32s(&fixture, width);
    vision.positions = fixture_f32s(&fixture, (size_t)table * 2 * width);
    vision.position_norm_weight = fixture_f32s(&fixture, width);
    vision.position_norm_bias = fixture_f32s(&fixture, width);
    vision.projection = panels_of(fixture_f32s(&fixture, (size_t)hidden * width), hidden, width);
    const float *wanted = fixture_f32s(&fixture, (size_t)count * hidden);
    Gemma4Config config = {.hidden = hidden,
                           .patch_values = values,
                           .vision_hidden = width,
                           .position_count = table,
                           .vision_rms_eps = 1e-6f};
    OpPatchEmbed op = {.patch_count = count,
                       .pixels = pixels,
                       .positions = positions,
                       .out_rows = out_rows,
                       .weights = &vision,
                       .config = &config};
    for (CpuIsa isa = CPU_ISA_REFERENCE; isa <= CPU_ISA_AVX512; isa = (CpuIsa)(isa + 1)) {
        if (cpu_isa_available(isa)) {
            check_patches_isa(isa, op, wanted);
        }
    }
    free(positions);
    free(out_rows);
    free((void *)(uintptr_t)vision.patch_dense.codes);
    free((void *)(uintptr_t)vision.projection.codes);
    fixture_close(&fixture);
}

Test(golden, patches_become_soft_tokens_as_in_transformers) {
    check_patches("ops/patches.bin");
}

Test(golden, flat_and_nearly_flat_patches_become_soft_tokens_as_in_transformers) {
    check_patches("ops/surfaces.bin");
}

Test(golden, frames_of_audio_become_soft_tokens_as_in_transformers) {
    Fixture fixture = fixture_open("ops/frames.bin");
    uint32_t frame = fixture_u32(&fixture), hidden = fixture_u32(&fixture);
    uint32_t count = fixture_u32(&fixture);
    const float *samples = fixture_f32s(&fixture, (size_t)count * frame);
    Matrix projection = panels_of(fixture_f32s(&fixture, (size_t)hidden * frame), hidden, frame);
    const float *wanted = fixture_f32s(&fixture, (size_t)count * hidden);
    uint32_t out_rows[8];
    cr_assert_leq(count, 8);
    for (uint32_t i = 0; i < count; i++) {
        out_rows[i] = 2 * (count - 1 - i); // any order, with gaps
    }
    for (CpuIsa isa = CPU_ISA_REFERENCE; isa <= CPU_ISA_AVX512; isa = (CpuIsa)(isa + 1)) {
        if (!cpu_isa_available(isa)) {
            continue;
        }
        Backend backend = isa_open(isa, 2);
        float *out = calloc((size_t)count * 2 * hidden, sizeof *out);
        Activation normed = activation_open(ACTIVATION_F32, count, frame);
        OpNorm norm = {
            .row_count = count, .in = samples, .columns = frame, .eps = 1e-6f, .out = normed};
        OpLinear linear = {.row_count = count,
                           .in = normed,
                           .weight = projection,
                           .out_rows = out_rows,
                           .out = out,
                           .out_stride = hidden,
                           .out_columns = hidden};
        cr_assert_eq(backend.ops->norm(backend.context, &norm), OK);
        cr_assert_eq(backend.ops->linear(backend.context, &linear), OK);
        for (uint32_t i = 0; i < count; i++) {
            assert_close(out + (size_t)out_rows[i] * hidden, wanted + (size_t)i * hidden, hidden,
                         TOLERANCE_FRAME, cpu_isa_name(isa));
            cr_assert_eq(out[((size_t)out_rows[i] + 1) * hidden], 0.0f,
                         "a row between was written");
        }
        activation_close(&normed);
        free(out);
        backend.close(backend.context);
    }
    free((void *)(uintptr_t)projection.codes);
    fixture_close(&fixture);
}
