// SPDX-License-Identifier: Apache-2.0
// Symmetric quantization of tiles: q = round(w / scale), one f16 scale per row and group of
// columns, chosen by a search for the least mean square error. int4 uses q in [-8, 7] and therefore
// scales of either sign (the largest value may take the -8, as in ggml's Q4_0); int8 uses q in
// [-127, 127].
//
// A tile is [group][16] f32: the 16 rows of a panel side by side, so that every step of the search
// is one vector operation over 16 independent groups and no sum depends on a compiler's reordering.
#ifndef WEIGHTS_QUANT_H
#define WEIGHTS_QUANT_H

#include "weights/matrix.h"

#include <stdbool.h>

enum { QUANT_GROUP_MAX = 128 };

// Encodes tile [group][16] into the code bytes of one panel and group (matrix.h) and scales[16].
// group is 32, 64 or 128. A group of zeros gets scale 0 and q = 0. False when a value is not finite
// (codes and scales are then of no meaning). Values beyond f16's range of scales saturate.
bool quant_tile_int8(const float *tile, size_t group, uint8_t *codes, uint16_t *scales);
bool quant_tile_int4(const float *tile, size_t group, uint8_t *codes, uint16_t *scales);

// How far a matrix is from the values it was made of.
typedef struct QuantError {
    double mse;     // mean square error
    double power;   // mean square of the original
    double sqnr_db; // 10 log10(power / mse); infinite when exact
    double max_abs; // largest absolute error
} QuantError;

// `original` is [rows][columns] of the matrix, row-major.
// For tests until the quality report.
QuantError quant_error(const Matrix *matrix, const float *original);

#endif
