// SPDX-License-Identifier: Apache-2.0
// linear: the truth. out = x W^T (+ bias), soft capped or not, or gelu_tanh(gate) * up, from
// matrix_value alone.
// Float activations: products and sums in double. Integer activations against int8 or int4 weights:
// exact int32 sums per group (128 columns of 16319 * 128 at most), the group's scale and the sum
// over groups in double, the row's scale once at the end. Integer activations against f32 or bf16
// weights: as floats.
#include "base/check.h"
#include "cpu/activation.h"
#include "cpu/linear.h"

#include <stdlib.h>

// Row `row` of the weights, decoded: floats, or integer codes and scales.
typedef struct WeightRow {
    float *values;  // [columns]
    int32_t *codes; // [columns], NULL for float levels
    float *scales;  // [groups]
} WeightRow;

// The code is recovered from the definition: value / scale, exact because |q| <= 128.
static void decode_row(const Matrix *weight, uint32_t row, const WeightRow *out) {
    for (uint32_t k = 0; k < weight->columns; k++) {
        out->values[k] = matrix_value(weight, row, k);
    }
    if (out->codes == NULL) {
        return;
    }
    uint32_t groups = weight->padded_columns / weight->group;
    size_t panel = row / MATRIX_PANEL;
    for (uint32_t g = 0; g < groups; g++) {
        out->scales[g] =
            f16_to_f32(weight->scales[(panel * groups + g) * MATRIX_PANEL + row % MATRIX_PANEL]);
    }
    for (uint32_t k = 0; k < weight->columns; k++) {
        float scale = out->scales[k / weight->group];
        out->codes[k] = scale == 0.0f ? 0 : (int32_t)rintf(out->values[k] / scale);
    }
}

static double input_value(const Activation *in, uint32_t row, uint32_t k) {
    switch (in->kind) {
    case ACTIVATION_F32:
        return (double)activation_f32(in, row)[k];
    case ACTIVATION_BF16:
        return (double)bf16_to_f32(activation_bf16(in, row)[k]);
    default:
        return (double)activation_integer(in, row, k) * (double)in->scales[row];
    }
}

static double dot(const Activation *in, uint32_t row, const Matrix *weight, const WeightRow *w) {
    double sum = 0.0;
    if (!activation_is_integer(in->kind) || w->codes == NULL) {
        for (uint32_t k = 0; k < weight->columns; k++) {
            sum += input_value(in, row, k) * (double)w->values[k];
        }
        return sum;
    }
    for (uint32_t g = 0; g * weight->group < weight->columns; g++) {
        int32_t exact = 0;
        for (uint32_t k = g * weight->group; k < (g + 1) * weight->group && k < weight->columns;
             k++) {
            exact += activation_integer(in, row, k) * w->codes[k];
        }
        sum += (double)exact * (double)w->scales[g];
    }
    return sum * (double)in->scales[row];
}

static double gelu_tanh(double x) {
    return 0.5 * x * (1.0 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}

static void plain_column(const OpLinear *op, uint32_t column, const WeightRow *w) {
    decode_row(&op->weight, column, w);
    double bias = op->bias != NULL ? (double)op->bias[column] : 0.0;
    for (uint32_t r = 0; r < op->row_count; r++) {
        double value = dot(&op->in, r, &op->weight, w) + bias, cap = (double)op->softcap;
        linear_out(op, r)[column] = (float)(op->softcap == 0.0f ? value : cap * tanh(value / cap));
    }
}

// Column j reads gate row and up row: panels 2 (j / 16) and the one after it.
static void gelu_column(const OpLinear *op, uint32_t column, const WeightRow *w, double *gates) {
    uint32_t gate = column / MATRIX_PANEL * 2 * MATRIX_PANEL + column % MATRIX_PANEL;
    decode_row(&op->weight, gate, w);
    for (uint32_t r = 0; r < op->row_count; r++) {
        gates[r] = gelu_tanh(dot(&op->in, r, &op->weight, w));
    }
    decode_row(&op->weight, gate + MATRIX_PANEL, w);
    for (uint32_t r = 0; r < op->row_count; r++) {
        linear_out(op, r)[column] = (float)(gates[r] * dot(&op->in, r, &op->weight, w));
    }
}

Status linear_ref(void *context, const OpLinear *op) {
    (void)context;
    const Matrix *weight = &op->weight;
    REQUIRE(op->in.columns == weight->columns);
    REQUIRE(op->epilogue == LINEAR_PLAIN || (op->bias == NULL && op->softcap == 0.0f));
    bool codes = weight->level >= LEVEL_INT8;
    size_t groups = codes ? weight->padded_columns / weight->group : 0;
    WeightRow w = {
        .values = malloc(weight->columns * sizeof *w.values),
        .codes = codes ? malloc(weight->columns * sizeof *w.codes) : NULL,
        .scales = codes ? malloc(groups * sizeof *w.scales) : NULL,
    };
    double *gates = malloc(op->row_count * sizeof *gates);
    bool enough =
        w.values != NULL && gates != NULL && (!codes || (w.codes != NULL && w.scales != NULL));
    for (uint32_t column = 0; enough && column < op->out_columns; column++) {
        if (op->epilogue == LINEAR_PLAIN) {
            plain_column(op, column, &w);
        } else {
            gelu_column(op, column, &w, gates);
        }
    }
    free(w.values);
    free(w.codes);
    free(w.scales);
    free(gates);
    return enough ? OK : E_MEMORY;
}
