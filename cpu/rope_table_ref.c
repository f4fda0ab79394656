// SPDX-License-Identifier: Apache-2.0
// rope_table: the angle is the f32 product of position and inverse frequency, as transformers
// computes it; its cosine and sine are correctly rounded. A zero frequency gives exactly 1 and 0.
#include "cpu/context.h"

#include <math.h>

Status rope_table_ref(void *context, const OpRopeTable *op) {
    (void)context;
    for (uint32_t r = 0; r < op->row_count; r++) {
        float *cosine = op->cosine + (size_t)r * op->pair_count;
        float *sine = op->sine + (size_t)r * op->pair_count;
        for (uint32_t j = 0; j < op->pair_count; j++) {
            float angle = (float)op->positions[r] * op->inverse_frequency[j];
            cosine[j] = (float)cos((double)angle);
            sine[j] = (float)sin((double)angle);
        }
    }
    return OK;
}
