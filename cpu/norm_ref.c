// SPDX-License-Identifier: Apache-2.0
// norm and residual_norm (model.md 1.2, 1.4): rms(x) = x * (mean(x^2) + eps)^(-1/2) * weight, all
// in double and rounded to f32 once.
#include "base/check.h"
#include "cpu/activation.h"
#include "cpu/context.h"
#include "cpu/rms_ref.h"

// The row of f32 between a norm and the activation it becomes.
static float *row_scratch(void *context, uint32_t columns) {
    CpuContext *cpu = context;
    REQUIRE((size_t)columns * sizeof(float) <= CPU_SCRATCH_BYTES);
    return (float *)cpu->scratch[0];
}

static void rms_norm(const float *x, uint32_t columns, const float *weight, float eps, float *out) {
    double factor = rms_factor_ref(x, columns, eps);
    for (uint32_t i = 0; i < columns; i++) {
        out[i] = (float)((double)x[i] * factor * (weight != NULL ? (double)weight[i] : 1.0));
    }
}

Status norm_ref(void *context, const OpNorm *op) {
    float *normed = row_scratch(context, op->columns);
    for (uint32_t r = 0; r < op->row_count; r++) {
        size_t from = op->rows != NULL ? op->rows[r] : r;
        rms_norm(op->in + from * op->columns, op->columns, op->weight, op->eps, normed);
        activation_store(&op->out, r, normed);
    }
    return OK;
}

Status residual_norm_ref(void *context, const OpResidualNorm *op) {
    float *normed = row_scratch(context, op->columns);
    for (uint32_t r = 0; r < op->row_count; r++) {
        float *h = op->h + (size_t)r * op->columns;
        const float *x = op->x + (size_t)r * op->columns;
        double factor = rms_factor_ref(x, op->columns, op->eps);
        for (uint32_t i = 0; i < op->columns; i++) {
            double branch = (double)x[i] * factor * (double)op->post_norm[i];
            h[i] = (float)(((double)h[i] + branch) * (double)op->scalar);
        }
        if (op->next_norm != NULL) {
            rms_norm(h, op->columns, op->next_norm, op->eps, normed);
            activation_store(&op->out, r, normed);
        }
    }
    return OK;
}
