// SPDX-License-Identifier: Apache-2.0
// A paged cache and a step over it, made from a short description: several sequences, scrambled
// page tables, pages that have left the window, images, both layer kinds.
#ifndef TESTS_OPS_PAGED_H
#define TESTS_OPS_PAGED_H

#include "model/ops.h"

enum { PAGED_SEQUENCES_MAX = 8, PAGED_HEAD_MAX = 512 };

typedef struct PagedSequence {
    uint32_t cached;                   // tokens before this step
    uint32_t rows;                     // tokens of this step
    uint32_t image_first, image_count; // soft tokens among the rows, relative to the first
} PagedSequence;

typedef struct Paged {
    LayerShape shape;
    KvLayer cache;
    PagedRows rows;
    uint32_t *positions, *sliding_end, *row_sequence;
    uint32_t *page_table;
    uint32_t page_count;
    BatchSequence sequences[PAGED_SEQUENCES_MAX];
    unsigned char *pages;
} Paged;

typedef struct PagedSpec {
    LayerShape shape;
    KvKind kind;
    uint32_t window; // decides which leading pages of a sliding layer are gone
    const PagedSequence *sequences;
    uint32_t count;
    uint64_t seed; // order of the pages
} PagedSpec;

// The cache is zero. A Paged points into itself and is not copied.
void paged_open(Paged *paged, const PagedSpec *spec);
void paged_close(Paged *paged);

// Keys and values of every position a table reaches, from the seed: a position of a sequence gets
// the same ones whatever the table.
void paged_fill(Paged *paged, uint64_t seed);

typedef struct PagedHead {
    uint64_t seed, tag; // of the sequence
    uint32_t position, head;
} PagedHead;

// What paged_fill gives one head of one position: k[head_dim], v[head_dim], in [-1, 1]. Where the
// value is the key, they are the same numbers but for those that RoPE turns (k_norm is with q).
void paged_head(const LayerShape *shape, PagedHead of, float *k, float *v);

// Every number of the pages, widened: [page][kv head][token][keys, values][head_dim].
float *paged_numbers(const Paged *paged, size_t *count);

// The rows [first, first + count) of one sequence as a step of their own, in the same cache.
PagedRows paged_part(const Paged *paged, uint32_t sequence, uint32_t first, uint32_t count,
                     BatchSequence *part);

float *random_floats(size_t count, float scale, uint64_t seed);
Activation activation_open(ActivationKind kind, uint32_t rows, uint32_t columns);
void activation_close(Activation *activation);

#endif
