// SPDX-License-Identifier: Apache-2.0
// Numbers that somebody else quantized: codes of 4 or 8 bits and one scale for a group of columns,
//
//   value(row, column) = q * scale + bias,   q = stored - zero
//
// described where they lie in a file, so that matrix_pack.h can take codes and scales over as they
// are. The forms are those of GGUF's blocks, of compressed-tensors and of MLX; scales may lie
// between the codes or apart. Plain data: a format fills it in after it checked every bound.
#ifndef WEIGHTS_GROUP_CODES_H
#define WEIGHTS_GROUP_CODES_H

#include "weights/element.h"
#include "weights/matrix.h"

typedef enum CodeForm {
    CODES_INT8,   // a signed byte for each column
    CODES_UINT8,  // an unsigned byte for each column
    CODES_PAIRS,  // byte i of a group: column 2i in the low nibble, 2i + 1 in the high one
    CODES_HALVES, // byte i of a group: column i in the low nibble, i + group / 2 in the high one
} CodeForm;

typedef struct GroupCodes {
    CodeForm form;
    int32_t zero;   // 0 to 255
    uint32_t group; // columns of one scale; even where two share a byte

    const uint8_t *codes;      // of row 0 and group 0
    uint64_t code_row_bytes;   // from a row to the next
    uint64_t code_group_bytes; // from a group of a row to the next

    ElementType scale_type;     // F32, BF16 or F16
    const uint8_t *scales;      // of row 0 and group 0, any alignment
    const uint8_t *biases;      // as the scales; NULL: all are 0
    uint64_t scale_row_bytes;   // from a row to the next
    uint64_t scale_group_bytes; // from a group of a row to the next
} GroupCodes;

// Some columns of a row: `count` from `begin` on.
typedef struct CodeRun {
    uint64_t row, begin;
    size_t count;
} CodeRun;

// q of a run whose columns are all of one group.
void group_codes_read(const GroupCodes *codes, const CodeRun *run, int16_t *q);

// The values of a run, into out[i * stride].
void group_codes_to_f32(const GroupCodes *codes, const CodeRun *run, size_t stride, float *out);

typedef enum CodePass {
    PASS_EXACT,         // the same values
    PASS_SCALE_ROUNDED, // the same codes, the scale rounded to the 11 bits of an f16
    PASS_NONE,          // neither: the values must be decoded and rounded again
} CodePass;

enum { GROUP_CODES_PASS_MAX = 128 };

// A run of at most GROUP_CODES_PASS_MAX columns as codes of LEVEL_INT8 or LEVEL_INT4 and one f16
// scale. It does not pass when its columns are of several groups, when a code is outside the level,
// when the bias is no whole multiple of the scale, and when f16 has no 11 bits for the scale.
CodePass group_codes_pass(const GroupCodes *codes, const CodeRun *run, WeightLevel level, int8_t *q,
                          uint16_t *scale);

// How the runs of a matrix' groups passed.
typedef struct CodeCounts {
    uint64_t runs[PASS_NONE + 1]; // by CodePass
} CodeCounts;

#endif
