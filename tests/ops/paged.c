// SPDX-License-Identifier: Apache-2.0
// See paged.h.
#include "ops/paged.h"

#include "base/num.h"
#include "base/prng.h"
#include "cpu/kv_page.h"

#include <criterion/criterion.h>
#include <stdlib.h>

// A permutation of [0, count) from the seed (Fisher and Yates).
static uint32_t *scrambled(uint32_t count, uint64_t seed) {
    uint32_t *order = malloc((count + 1) * sizeof *order);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t j = (uint32_t)(prng_u64(seed, 1, i) % (i + 1));
        order[i] = order[j];
        order[j] = i;
    }
    return order;
}

void paged_open(Paged *paged, const PagedSpec *spec) {
    const LayerShape *shape = &spec->shape;
    const PagedSequence *sequences = spec->sequences;
    *paged = (Paged){.shape = *shape};
    PageKind page_kind = (PageKind)shape->kind;
    uint32_t row_count = 0;
    for (uint32_t s = 0; s < spec->count; s++) {
        uint32_t end = sequences[s].cached + sequences[s].rows;
        uint32_t gone = 0;
        if (shape->kind == LAYER_SLIDING && sequences[s].cached + 1 > spec->window) {
            gone = (sequences[s].cached + 1 - spec->window) / KV_PAGE_TOKENS;
        }
        BatchSequence *sequence = &paged->sequences[s];
        *sequence = (BatchSequence){.row_first = row_count,
                                    .row_count = sequences[s].rows,
                                    .position_first = sequences[s].cached,
                                    .tag = s};
        sequence->page_first[page_kind] = paged->page_count;
        sequence->page_skip[page_kind] = gone;
        sequence->page_count[page_kind] = (uint32_t)num_ceil_div(end, KV_PAGE_TOKENS) - gone;
        paged->page_count += sequence->page_count[page_kind];
        row_count += sequences[s].rows;
    }
    paged->page_table = scrambled(paged->page_count, spec->seed);
    paged->positions = malloc(row_count * sizeof(uint32_t));
    paged->sliding_end = malloc(row_count * sizeof(uint32_t));
    paged->row_sequence = malloc(row_count * sizeof(uint32_t));
    paged->rows = (PagedRows){.row_count = row_count,
                              .positions = paged->positions,
                              .sliding_end = paged->sliding_end,
                              .row_sequence = paged->row_sequence,
                              .sequence_count = spec->count,
                              .sequences = paged->sequences};
    paged->rows.pages[page_kind] = paged->page_table;
    for (uint32_t s = 0, r = 0; s < spec->count; s++) {
        uint32_t cached = sequences[s].cached;
        uint32_t image_end = sequences[s].image_first + sequences[s].image_count;
        for (uint32_t i = 0; i < sequences[s].rows; i++, r++) {
            bool image = i >= sequences[s].image_first && i < image_end;
            paged->positions[r] = cached + i;
            paged->sliding_end[r] = cached + (image ? image_end : i + 1);
            paged->row_sequence[r] = s;
        }
        paged->rows.kv_length_max =
            (uint32_t)num_max(paged->rows.kv_length_max, cached + sequences[s].rows);
    }
    paged->cache = (KvLayer){
        .kind = spec->kind, .shape = *shape, .page_bytes = kv_page_bytes(spec->kind, shape)};
    paged->pages = calloc(paged->page_count + 1, paged->cache.page_bytes);
    paged->cache.pages = paged->pages;
    cr_assert(paged->pages != NULL);
}

void paged_close(Paged *paged) {
    free(paged->pages);
    free(paged->page_table);
    free(paged->positions);
    free(paged->sliding_end);
    free(paged->row_sequence);
}

void paged_head(const LayerShape *shape, PagedHead of, float *k, float *v) {
    for (uint32_t d = 0; d < shape->head_dim; d++) {
        uint64_t counter = (uint64_t)of.position * 65536 + of.head * shape->head_dim + d;
        uint64_t bits = prng_u64(of.seed, of.tag, counter);
        bool turned = d % (shape->head_dim / 2) < shape->rotated_pairs;
        v[d] = (float)(uint32_t)(bits >> 32) * 0x1p-31f - 1.0f;
        k[d] = shape->value_is_key && !turned ? v[d] : (float)(uint32_t)bits * 0x1p-31f - 1.0f;
    }
}

void paged_fill(Paged *paged, uint64_t seed) {
    const LayerShape *shape = &paged->shape;
    for (uint32_t s = 0; s < paged->rows.sequence_count; s++) {
        const BatchSequence *sequence = &paged->sequences[s];
        uint32_t first = sequence->page_skip[shape->kind] * KV_PAGE_TOKENS;
        uint32_t end = sequence->position_first + sequence->row_count;
        for (uint32_t p = first; p < end; p++) {
            void *page = kv_page_at(&paged->cache, &paged->rows, sequence, p);
            for (uint32_t head = 0; head < shape->kv_head_count; head++) {
                float k[PAGED_HEAD_MAX], v[PAGED_HEAD_MAX];
                paged_head(shape, (PagedHead){seed, sequence->tag, p, head}, k, v);
                uint32_t token = p % KV_PAGE_TOKENS;
                kv_store(paged->cache.kind, shape, page, KV_KEYS, head, token, k);
                kv_store(paged->cache.kind, shape, page, KV_VALUES, head, token, v);
            }
        }
    }
}

float *paged_numbers(const Paged *paged, size_t *count) {
    const LayerShape *shape = &paged->shape;
    *count = (size_t)paged->page_count * 2 * kv_side_count(shape);
    float *out = malloc(*count * sizeof *out), *next = out;
    for (uint32_t p = 0; p < paged->page_count; p++) {
        const unsigned char *page = paged->pages + p * paged->cache.page_bytes;
        for (uint32_t i = 0; i < 2 * shape->kv_head_count * KV_PAGE_TOKENS; i++) {
            KvSide side = (KvSide)(i % 2);
            uint32_t token = i / 2 % KV_PAGE_TOKENS, head = i / (2 * KV_PAGE_TOKENS);
            for (uint32_t d = 0; d < shape->head_dim; d++) {
                *next++ = kv_load(paged->cache.kind, shape, page, side, head, token, d);
            }
        }
    }
    return out;
}

PagedRows paged_part(const Paged *paged, uint32_t sequence, uint32_t first, uint32_t count,
                     BatchSequence *part) {
    static uint32_t zeros[65536];
    *part = paged->sequences[sequence];
    uint32_t row = part->row_first + first;
    part->row_first = 0;
    part->row_count = count;
    part->position_first += first;
    PagedRows rows = paged->rows;
    rows.row_count = count;
    rows.positions += row;
    rows.sliding_end += row;
    rows.row_sequence = zeros;
    rows.sequence_count = 1;
    rows.sequences = part;
    return rows;
}

float *random_floats(size_t count, float scale, uint64_t seed) {
    float *out = malloc((count + 1) * sizeof *out);
    for (size_t i = 0; i < count; i++) {
        out[i] = ((float)(prng_u64(seed, 7, i) >> 40) * 0x1p-23f - 1.0f) * scale;
    }
    return out;
}

Activation activation_open(ActivationKind kind, uint32_t rows, uint32_t columns) {
    Activation out = {.kind = kind, .columns = columns};
    out.stride = (uint32_t)num_round_up(columns, ACTIVATION_COLUMN_ALIGN);
    out.values = calloc((size_t)rows * out.stride + 1, sizeof(float));
    out.scales = calloc(rows + 1, sizeof(float));
    out.block_sums =
        calloc((size_t)rows * activation_parts(kind) * (out.stride / 32) + 1, sizeof(int32_t));
    return out;
}

void activation_close(Activation *activation) {
    free(activation->values);
    free(activation->scales);
    free(activation->block_sums);
}
