// SPDX-License-Identifier: Apache-2.0
// rope_table on all threads; a task is a row. Once per step and layer kind, so libm is fast enough;
// pairs that do not turn are not handed to it. The same bits as rope_table_ref.
#include "cpu/context.h"

#include <math.h>

static void rope_table_row(void *argument, uint32_t row, uint32_t worker) {
    (void)worker;
    const OpRopeTable *op = argument;
    float *cosine = op->cosine + (size_t)row * op->pair_count;
    float *sine = op->sine + (size_t)row * op->pair_count;
    float position = (float)op->positions[row];
    for (uint32_t j = 0; j < op->pair_count; j++) {
        cosine[j] = 1.0f;
        sine[j] = 0.0f;
        if (op->inverse_frequency[j] != 0.0f) {
            double angle = (double)(position * op->inverse_frequency[j]);
            cosine[j] = (float)cos(angle);
            sine[j] = (float)sin(angle);
        }
    }
}

Status rope_table_scalar(void *context, const OpRopeTable *op) {
    OpRopeTable copy = *op;
    pool_run(((CpuContext *)context)->pool, op->row_count, rope_table_row, &copy);
    return OK;
}
