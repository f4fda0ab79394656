// SPDX-License-Identifier: Apache-2.0
// norm and residual_norm, written once over Lanes; a task is a row, which stays in L1 from its sum
// of squares to the activation. The sum runs in four chains of lanes that are folded in a fixed
// order, so it depends on the row alone.
#ifndef CPU_NORM_LANES_H
#define CPU_NORM_LANES_H

#include "base/check.h"
#include "cpu/activation_lanes.h"
#include "cpu/context.h"

enum { NORM_CHAINS = 4 };

// (mean(x^2) + eps)^(-1/2)
LANES_INLINE float norm_factor(const float *x, uint32_t columns, float eps) {
    Lanes sums[NORM_CHAINS];
    for (uint32_t j = 0; j < NORM_CHAINS; j++) {
        sums[j] = lanes_set(0.0f);
    }
    for (uint32_t i = 0; i < columns; i += LANES * NORM_CHAINS) {
        for (uint32_t j = 0; j < NORM_CHAINS && i + j * LANES < columns; j++) {
            Lanes value = lanes_load_first(x + i + j * LANES, columns - i - j * LANES);
            sums[j] = lanes_fma(value, value, sums[j]);
        }
    }
    float sum = lanes_sum(lanes_add(lanes_add(sums[0], sums[1]), lanes_add(sums[2], sums[3])));
    return (float)(1.0 / sqrt((double)sum / columns + (double)eps));
}

LANES_INLINE void lanes_store_first(float *to, Lanes x, uint32_t count) {
    if (count >= LANES) {
        lanes_store(to, x);
        return;
    }
    float all[LANES];
    lanes_store(all, x);
    memcpy(to, all, count * sizeof *all);
}

// x * factor * weight of sixteen columns from i on; no weight is one of 1.
LANES_INLINE Lanes normed_columns(const float *x, const float *weight, Lanes factor, uint32_t i,
                                  uint32_t columns) {
    Lanes normed = lanes_mul(lanes_load_first(x + i, columns - i), factor);
    return weight == NULL ? normed : lanes_mul(normed, lanes_load_first(weight + i, columns - i));
}

LANES_INLINE void norm_into(const Activation *out, uint32_t row, const float *x, uint32_t columns,
                            const float *weight, float eps, float *normed) {
    Lanes factor = lanes_set(norm_factor(x, columns, eps));
    for (uint32_t i = 0; i < columns; i += LANES) {
        lanes_store_first(normed + i, normed_columns(x, weight, factor, i, columns), columns - i);
    }
    activation_store_lanes(out, row, normed);
}

typedef struct NormWork {
    CpuContext *context;
    const OpNorm *norm;
    const OpResidualNorm *residual;
} NormWork;

static void norm_row(void *argument, uint32_t row, uint32_t worker) {
    const NormWork *work = argument;
    const OpNorm *op = work->norm;
    size_t from = op->rows != NULL ? op->rows[row] : row;
    norm_into(&op->out, row, op->in + from * op->columns, op->columns, op->weight, op->eps,
              (float *)work->context->scratch[worker]);
}

static void residual_row(void *argument, uint32_t row, uint32_t worker) {
    const NormWork *work = argument;
    const OpResidualNorm *op = work->residual;
    uint32_t columns = op->columns;
    float *h = op->h + (size_t)row * columns;
    const float *x = op->x + (size_t)row * columns;
    Lanes factor = lanes_set(norm_factor(x, columns, op->eps));
    Lanes scalar = lanes_set(op->scalar);
    for (uint32_t i = 0; i < columns; i += LANES) {
        Lanes branch = normed_columns(x, op->post_norm, factor, i, columns);
        Lanes sum = lanes_add(lanes_load_first(h + i, columns - i), branch);
        lanes_store_first(h + i, lanes_mul(sum, scalar), columns - i);
    }
    if (op->next_norm != NULL) {
        norm_into(&op->out, row, h, columns, op->next_norm, op->eps,
                  (float *)work->context->scratch[worker]);
    }
}

LANES_INLINE Status norm_run(void *context, const OpNorm *op) {
    NormWork work = {.context = context, .norm = op};
    REQUIRE((size_t)op->columns * sizeof(float) <= CPU_SCRATCH_BYTES);
    pool_run(work.context->pool, op->row_count, norm_row, &work);
    return OK;
}

LANES_INLINE Status residual_norm_run(void *context, const OpResidualNorm *op) {
    NormWork work = {.context = context, .residual = op};
    REQUIRE((size_t)op->columns * sizeof(float) <= CPU_SCRATCH_BYTES);
    pool_run(work.context->pool, op->row_count, residual_row, &work);
    return OK;
}

#endif
