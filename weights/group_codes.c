// SPDX-License-Identifier: Apache-2.0
#include "weights/group_codes.h"

#include "base/check.h"
#include "base/f16.h"
#include "base/num.h"

#include <math.h>
#include <stdbool.h>

static const float F16_HALF_STEP = 0x1p-11f; // relative, of a number that is not subnormal

static float element_of(const GroupCodes *codes, const uint8_t *first, uint64_t row,
                        uint64_t column) {
    float value;
    const uint8_t *at =
        first + row * codes->scale_row_bytes + column / codes->group * codes->scale_group_bytes;
    element_to_f32(codes->scale_type, at, 1, 1, &value);
    return value;
}

static float scale_of(const GroupCodes *codes, uint64_t row, uint64_t column) {
    return element_of(codes, codes->scales, row, column);
}

static float bias_of(const GroupCodes *codes, uint64_t row, uint64_t column) {
    return codes->biases != NULL ? element_of(codes, codes->biases, row, column) : 0.0f;
}

// Stored codes of columns [first, first + count) of the group whose codes begin at `data`. Each
// form has a loop of its own: a switch for each column is slower.
static void codes_load(const GroupCodes *codes, const uint8_t *data, size_t first, size_t count,
                       int16_t *out) {
    size_t half = codes->group / 2;
    switch (codes->form) {
    case CODES_INT8:
        for (size_t i = 0; i < count; i++) {
            out[i] = (int16_t)((data[first + i] ^ 0x80) - 0x80); // the sign of a byte
        }
        break;
    case CODES_UINT8:
        for (size_t i = 0; i < count; i++) {
            out[i] = data[first + i];
        }
        break;
    case CODES_PAIRS:
        for (size_t i = 0; i < count; i++) {
            size_t k = first + i;
            out[i] = (data[k / 2] >> k % 2 * 4) & 15;
        }
        break;
    default:
        for (size_t i = 0; i < count; i++) {
            size_t k = first + i;
            out[i] = k < half ? data[k] & 15 : data[k - half] >> 4;
        }
        break;
    }
}

void group_codes_read(const GroupCodes *codes, const CodeRun *run, int16_t *q) {
    const uint8_t *data = codes->codes + run->row * codes->code_row_bytes +
                          run->begin / codes->group * codes->code_group_bytes;
    size_t first = run->begin % codes->group;
    REQUIRE(first + run->count <= codes->group);
    codes_load(codes, data, first, run->count, q);
    for (size_t i = 0; i < run->count; i++) {
        q[i] = (int16_t)(q[i] - codes->zero);
    }
}

void group_codes_to_f32(const GroupCodes *codes, const CodeRun *run, size_t stride, float *out) {
    enum { PART_MAX = 32 };
    int16_t q[PART_MAX];
    for (size_t done = 0; done < run->count;) {
        CodeRun part = {.row = run->row, .begin = run->begin + done};
        part.count = num_min(codes->group - part.begin % codes->group, run->count - done);
        part.count = num_min(part.count, PART_MAX);
        float scale = scale_of(codes, part.row, part.begin);
        float bias = bias_of(codes, part.row, part.begin);
        group_codes_read(codes, &part, q);
        for (size_t i = 0; i < part.count; i++) {
            float value = (float)q[i] * scale; // -0 stays -0 where there is no bias
            out[(done + i) * stride] = codes->biases != NULL ? value + bias : value;
        }
        done += part.count;
    }
}

// The number that added to every code does what the bias does; false when there is none.
static bool bias_as_code(float scale, float bias, int *out) {
    float shift = bias != 0 ? rintf(bias / scale) : 0;
    *out = fabsf(shift) < 256 ? (int)shift : 0; // false for NaN
    return (float)*out * scale == bias;
}

// False when a code is outside.
static bool codes_narrow(const int16_t *from, size_t count, int shift, WeightLevel level,
                         int8_t *out) {
    int low = level == LEVEL_INT4 ? -8 : -127, high = level == LEVEL_INT4 ? 7 : 127;
    int outside = 0;
    for (size_t i = 0; i < count; i++) {
        int q = from[i] + shift;
        outside |= (q < low) | (q > high);
        out[i] = (int8_t)q;
    }
    return outside == 0;
}

CodePass group_codes_pass(const GroupCodes *codes, const CodeRun *run, WeightLevel level, int8_t *q,
                          uint16_t *scale) {
    int16_t wide[GROUP_CODES_PASS_MAX];
    int shift;
    REQUIRE(run->count <= GROUP_CODES_PASS_MAX);
    if (run->begin % codes->group + run->count > codes->group) {
        return PASS_NONE;
    }
    float stored = scale_of(codes, run->row, run->begin);
    float bias = bias_of(codes, run->row, run->begin);
    *scale = f16_from_f32(stored);
    float kept = f16_to_f32(*scale);
    if (!isfinite(kept) || fabsf(kept - stored) > fabsf(stored) * F16_HALF_STEP ||
        !bias_as_code(stored, bias, &shift)) {
        return PASS_NONE;
    }
    group_codes_read(codes, run, wide);
    if (!codes_narrow(wide, run->count, shift, level, q)) {
        return PASS_NONE;
    }
    return kept == stored ? PASS_EXACT : PASS_SCALE_ROUNDED;
}
