// SPDX-License-Identifier: Apache-2.0
// How a weight matrix lies on the GPU: one order for every kernel of a level, made from the panels
// of weights/matrix.h at upload by moving 4-byte words.
//
// A lane of a warp (g = lane / 4, t = lane % 4) holds rows g and g + 8 of a panel and, in every 32
// columns, the 8 columns 8t .. 8t + 7. So the fragments of mma.m16n8k32 (s8) and of two
// mma.m16n8k16 (bf16) are whole words of 16 bytes that one lane reads at once, the 32 columns of a
// group of 32 belong to one mma, and activations stay in their natural order: a lane's share of a
// row is 8 neighbours too. Columns are padded to 64 with the value 0 (f32: not at all); C below is
// the padded number.
//
// Codes of a panel are units of 512 bytes, ascending in k; lane l owns bytes 16 l .. 16 l + 15 of a
// unit, as words w = 0..3. In unit j of panel p, byte i of word w of lane (g, t) is
//   int4  64 columns   row 16p + g + 8 (w % 2), column 64j + 32 (w / 2) + 8t + i in the low nibble,
//                      the column 4 further in the high one; two's complement
//   int8  32 columns   row 16p + g + 8 (w % 2), column 32j + 8t + 4 (w / 2) + i; two's complement
//   bf16  16 columns   row 16p + g + 8 (w % 2),
//                      column 32 (j / 2) + 8t + 4 (j % 2) + 2 (w / 2) + i / 2
//   f32                the panel as matrix.h has it: float [k][16]
// Scales, f16: [panel][C / group][g][2], the second for row g + 8: a lane's two in one word.
//
// The image of a matrix is all its codes, then all its scales.
#ifndef CUDA_WEIGHT_LAYOUT_H
#define CUDA_WEIGHT_LAYOUT_H

#ifdef __cplusplus
extern "C" {
#endif

#include "weights/matrix.h"

enum { WEIGHT_COLUMN_ALIGN = 64, WEIGHT_UNIT_BYTES = 512, WEIGHT_IMAGE_ALIGN = 256 };

// Columns of the device form.
static inline uint32_t cuda_weight_columns(const Matrix *matrix) {
    return matrix->level == LEVEL_F32
               ? matrix->padded_columns
               : (uint32_t)num_round_up(matrix->padded_columns, WEIGHT_COLUMN_ALIGN);
}

static inline uint32_t cuda_weight_panels(const Matrix *matrix) {
    return matrix_padded_rows(matrix->rows) / MATRIX_PANEL;
}

// Bytes of the codes and of the scales of one panel.
size_t cuda_weight_panel_codes(const Matrix *matrix);
size_t cuda_weight_panel_scales(const Matrix *matrix);

// Bytes of the image.
size_t cuda_weight_bytes(const Matrix *matrix);

// Panels [first, first + count) of `host` in device order: their codes to codes[count][panel codes]
// and their scales to scales[count][panel scales] (unused for f32 and bf16).
void cuda_weight_permute(const Matrix *host, uint32_t first, uint32_t count, unsigned char *codes,
                         unsigned char *scales);

// The same panels of a matrix of bf16 as plain rows for a library: to rows[16 count][C]. As many
// bytes, so that image and views are the same but for the order inside.
void cuda_weight_rows(const Matrix *host, uint32_t first, uint32_t count, uint16_t *rows);

// The matrix whose image lies at `image` (aligned to WEIGHT_IMAGE_ALIGN); `host` only tells its
// shape.
Matrix cuda_weight_placed(const Matrix *host, const void *image);

#ifdef __cplusplus
}
#endif

#endif
