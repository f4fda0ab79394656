// SPDX-License-Identifier: Apache-2.0
// Panels into the order of weight_layout.h. Whatever the level, a group of units is a fixed
// permutation of the 4-byte words of as many contiguous bytes of the host panel, so a table of
// source words is made once per matrix and walked.
#include "cuda/weight_layout.h"

#include <string.h>

enum { UNIT_WORDS = WEIGHT_UNIT_BYTES / 4, TABLE_WORDS = 2 * UNIT_WORDS };

// What differs by level.
typedef struct Permutation {
    uint32_t words; // of a period: one unit, for bf16 two
    uint32_t mask;  // offset codes to two's complement
    uint16_t source[TABLE_WORDS];
} Permutation;

size_t cuda_weight_panel_codes(const Matrix *matrix) {
    return matrix_codes_bytes(matrix->level, MATRIX_PANEL, cuda_weight_columns(matrix));
}

size_t cuda_weight_panel_scales(const Matrix *matrix) {
    return matrix_scales_bytes(matrix->level, MATRIX_PANEL, cuda_weight_columns(matrix),
                               matrix->group);
}

static size_t image_codes(const Matrix *matrix) {
    return num_round_up(cuda_weight_panels(matrix) * cuda_weight_panel_codes(matrix),
                        WEIGHT_IMAGE_ALIGN);
}

size_t cuda_weight_bytes(const Matrix *matrix) {
    return image_codes(matrix) + cuda_weight_panels(matrix) * cuda_weight_panel_scales(matrix);
}

// The host's word of (row c of the panel, columns of block b) is word 16 b + c; a block is the
// columns that share a word: 8 of int4, 4 of int8, 2 of bf16.
static Permutation permutation_of(WeightLevel level) {
    Permutation p = {UNIT_WORDS, 0, {0}};
    if (level == LEVEL_BF16) {
        p.words = 2 * UNIT_WORDS;
    }
    p.mask = level == LEVEL_INT4 ? 0x88888888u : level == LEVEL_INT8 ? 0x80808080u : 0u;
    for (uint32_t i = 0; i < p.words; i++) {
        uint32_t w = i % 4, t = i / 4 % 4, g = i / 16 % 8, unit = i / UNIT_WORDS;
        uint32_t block = level == LEVEL_INT4   ? 4 * (w / 2) + t
                         : level == LEVEL_INT8 ? 2 * t + w / 2
                                               : 4 * t + 2 * unit + w / 2;
        p.source[i] = (uint16_t)(block * MATRIX_PANEL + g + 8 * (w % 2));
    }
    return p;
}

// A period that the host has whole, which is nearly all of them.
static void permute_whole(const Permutation *p, const unsigned char *from, unsigned char *to) {
    for (uint32_t i = 0; i < p->words; i++) {
        uint32_t word;
        memcpy(&word, from + (size_t)p->source[i] * 4, sizeof word);
        word ^= p->mask;
        memcpy(to + (size_t)i * 4, &word, sizeof word);
    }
}

// One panel of `host_bytes`; words beyond the host's columns are 0.
static void permute_codes(const Permutation *p, const unsigned char *from, size_t host_bytes,
                          unsigned char *to, size_t to_bytes) {
    size_t period = (size_t)p->words * 4;
    for (size_t at = 0; at < to_bytes; at += period) {
        size_t there = at < host_bytes ? num_min(period, host_bytes - at) / 4 : 0;
        if (there == p->words) {
            permute_whole(p, from + at, to + at);
            continue;
        }
        for (uint32_t i = 0; i < p->words; i++) {
            uint32_t word = 0;
            if (p->source[i] < there) {
                memcpy(&word, from + at + (size_t)p->source[i] * 4, sizeof word);
                word ^= p->mask;
            }
            memcpy(to + at + (size_t)i * 4, &word, sizeof word);
        }
    }
}

static void permute_scales(const uint16_t *from, size_t host_groups, uint16_t *to, size_t groups) {
    for (size_t i = 0; i < groups * MATRIX_PANEL; i++) {
        size_t group = i / MATRIX_PANEL, g = i % MATRIX_PANEL / 2, half = i % 2;
        to[i] = group < host_groups ? from[group * MATRIX_PANEL + g + 8 * half] : (uint16_t)0;
    }
}

void cuda_weight_permute(const Matrix *host, uint32_t first, uint32_t count, unsigned char *codes,
                         unsigned char *scales) {
    size_t host_bytes = matrix_codes_bytes(host->level, MATRIX_PANEL, host->padded_columns);
    size_t bytes = cuda_weight_panel_codes(host);
    const unsigned char *from = (const unsigned char *)host->codes + first * host_bytes;
    if (host->level == LEVEL_F32) {
        memcpy(codes, from, count * bytes);
        return;
    }
    Permutation p = permutation_of(host->level);
    for (uint32_t i = 0; i < count; i++) {
        permute_codes(&p, from + i * host_bytes, host_bytes, codes + i * bytes, bytes);
    }
    if (host->scales == NULL) {
        return;
    }
    size_t host_groups = host->padded_columns / host->group;
    size_t groups = cuda_weight_columns(host) / host->group;
    for (uint32_t i = 0; i < count; i++) {
        permute_scales(host->scales + (first + i) * host_groups * MATRIX_PANEL, host_groups,
                       (uint16_t *)scales + i * groups * MATRIX_PANEL, groups);
    }
}

void cuda_weight_rows(const Matrix *host, uint32_t first, uint32_t count, uint16_t *rows) {
    size_t columns = cuda_weight_columns(host), host_columns = host->padded_columns;
    const uint16_t *from = (const uint16_t *)host->codes + first * host_columns * MATRIX_PANEL;
    memset(rows, 0, count * columns * MATRIX_PANEL * sizeof *rows);
    for (size_t panel = 0; panel < count; panel++) {
        const uint16_t *pairs = from + panel * host_columns * MATRIX_PANEL;
        for (size_t c = 0; c < MATRIX_PANEL; c++) {
            uint16_t *row = rows + (panel * MATRIX_PANEL + c) * columns;
            for (size_t k = 0; k < host_columns; k += 2) {
                memcpy(row + k, pairs + (k / 2 * MATRIX_PANEL + c) * 2, 2 * sizeof *row);
            }
        }
    }
}

Matrix cuda_weight_placed(const Matrix *host, const void *image) {
    Matrix placed = *host;
    placed.codes = image;
    placed.scales = cuda_weight_panel_scales(host) > 0
                        ? (const uint16_t *)((const unsigned char *)image + image_codes(host))
                        : NULL;
    return placed;
}
