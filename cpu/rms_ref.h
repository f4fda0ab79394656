// SPDX-License-Identifier: Apache-2.0
// What the references of the norms share: the factor of an RMS norm, in double.
#ifndef CPU_RMS_REF_H
#define CPU_RMS_REF_H

#include <math.h>
#include <stdint.h>

// (mean(x^2) + eps)^(-1/2) of x[count].
static inline double rms_factor_ref(const float *x, uint32_t count, float eps) {
    double sum = 0.0;
    for (uint32_t i = 0; i < count; i++) {
        sum += (double)x[i] * (double)x[i];
    }
    return 1.0 / sqrt(sum / count + (double)eps);
}

#endif
