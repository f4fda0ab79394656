// SPDX-License-Identifier: Apache-2.0
// What every op of the CPU backend is handed as `context`, and the names of all op implementations.
// An op X has the plain truth X_ref (one thread, plain loops, double where it defines truth) and
// may have faster variants: X_scalar (portable, threaded), X_avx2, X_avx512. cpu.c picks one per
// instruction set: the best variant that exists, never the reference silently (a missing variant
// falls back to X_scalar).
#ifndef CPU_CONTEXT_H
#define CPU_CONTEXT_H

#include "cpu/cpu.h"
#include "cpu/pool.h"

enum { CPU_SCRATCH_BYTES = 4 * 1024 * 1024 }; // per worker

typedef struct CpuContext {
    CpuIsa isa;
    Pool *pool;
    uint32_t thread_count;
    unsigned char **scratch; // [thread_count] of CPU_SCRATCH_BYTES, 64-byte aligned
} CpuContext;

// Reference implementations: one for every row of ops.def.
#define OP(name, arguments, text) Status name##_ref(void *context, const arguments *op);
#include "model/ops.def"
#undef OP

// The variants that variants.def names (the references once more, where an op has no variant yet).
#define VARIANTS(name, arguments, scalar, avx2, avx512)                                            \
    Status name##_##scalar(void *context, const arguments *op);                                    \
    Status name##_##avx2(void *context, const arguments *op);                                      \
    Status name##_##avx512(void *context, const arguments *op);
#include "cpu/variants.def"
#undef VARIANTS

#endif
