// SPDX-License-Identifier: Apache-2.0
// The workspace: buffers that live at the same time never overlap, whatever the shape, and nothing
// reaches beyond the bytes the plan names.
#include "base/prng.h"
#include "fake_backend.h"
#include "model/workspace.h"

#include <criterion/criterion.h>

#include <stdlib.h>

typedef struct Piece {
    const void *at;
    size_t bytes;
    unsigned phases; // bit per phase: 1 vision, 2 decoder, 4 head
} Piece;

static Piece floats(const float *at, size_t rows, size_t columns, unsigned phases) {
    return (Piece){at, rows * columns * sizeof(float), phases};
}

static void check(const Weights *weights, const Backend *backend, const EngineOptions *options) {
    const Gemma4Config *config = &weights->config;
    WorkspaceShape shape = workspace_shape(weights, backend, options);
    size_t bytes = workspace_lay_out(&shape, config, NULL).bytes;
    unsigned char *base = aligned_alloc(64, bytes);
    cr_assert_not_null(base);
    Workspace w = workspace_lay_out(&shape, config, base);
    cr_assert_eq(w.bytes, bytes);
    size_t rows = options->rows_max;
    size_t activation = (size_t)precision_stride(256) * activation_value_bytes(shape.activation);
    size_t patch = activation_value_bytes(shape.vision);
    Piece pieces[] = {
        {w.drawn, 2 * shape.sequences * sizeof(int32_t), 7},
        {w.results, shape.sequences * sizeof(StepSample), 7},
        {w.step, w.step_bytes, 7},
        floats(w.h, rows, config->hidden, 7),
        {w.activation.values, rows * activation, 7},
        {w.activation.scales, rows * 4, 7},
        {w.activation.block_sums, rows * activation_parts(shape.activation) * 8 * 4, 7},
        {w.pixels, rows * config->patch_values, 1},
        {w.patch_normed.values, rows * precision_stride(config->patch_values) * patch, 1},
        floats(w.patch_dense, rows, config->vision_hidden, 1),
        {w.patch_finished.values, rows * precision_stride(config->vision_hidden) * patch, 1},
        floats(w.samples, rows, config->audio_frame, 1),
        {w.frame_normed.values,
         rows * precision_stride(config->audio_frame) * activation_value_bytes(shape.audio), 1},
        floats(w.cosine[0], rows, 16, 2),
        floats(w.sine[0], rows, 16, 2),
        floats(w.cosine[1], rows, 32, 2),
        floats(w.sine[1], rows, 32, 2),
        floats(w.wide, rows, 320, 2),
        floats(w.attention, rows, 256, 2),
        floats(w.branch, rows, config->hidden, 2),
        floats(w.logits, shape.logits_rows, config->vocab_count, 4),
        {w.suppressed, shape.scans ? 512 / 8 : 0, 7},
        floats(w.chunks, shape.logits_rows, shape.scans ? 3 * 512 / 32 : 0, 4),
    };
    size_t count = sizeof pieces / sizeof pieces[0];
    for (size_t i = 0; i < count; i++) {
        const unsigned char *at = pieces[i].at;
        cr_assert_eq((uintptr_t)at % 64, 0);
        cr_assert(at >= base && at + pieces[i].bytes <= base + bytes, "piece %zu", i);
        for (size_t j = 0; j < i; j++) {
            const unsigned char *other = pieces[j].at;
            bool together = (pieces[i].phases & pieces[j].phases) != 0;
            bool apart = at + pieces[i].bytes <= other || other + pieces[j].bytes <= at;
            cr_assert(!together || apart, "pieces %zu and %zu overlap", i, j);
        }
    }
    free(base);
}

Test(workspace, living_buffers_never_overlap) {
    Weights *weights = fake_weights();
    FakeBackend fake;
    fake_backend_open(&fake);
    for (uint64_t i = 0; i < 50; i++) {
        fake.device.scans = i % 4 == 1;
        EngineOptions options = {.activation = (EngineActivation)(i % ENGINE_ACTIVATION_COUNT),
                                 .rows_max = 1 + (uint32_t)(prng_u64(11, 0, i) % 300),
                                 .sequences_max = 1 + (uint32_t)(prng_u64(11, 1, i) % 40),
                                 .logits_rows_max = (uint32_t)(prng_u64(11, 2, i) % 9),
                                 .pages = {1 + (uint32_t)(prng_u64(11, 3, i) % 100), 9}};
        check(weights, &fake.backend, &options);
    }
    weights_close(weights);
}

Test(workspace, tables_are_bounded_by_pages_and_positions) {
    Weights *weights = fake_weights();
    FakeBackend fake;
    fake_backend_open(&fake);
    EngineOptions options = {.rows_max = 8, .sequences_max = 5, .pages = {10, 100000}};
    WorkspaceShape shape = workspace_shape(weights, &fake.backend, &options);
    cr_assert_eq(shape.page_entries[PAGE_SLIDING], 50);
    cr_assert_eq(shape.page_entries[PAGE_FULL], 5 * 8192 / 16);
    cr_assert_eq(shape.logits_rows, 5);
    weights_close(weights);
}
