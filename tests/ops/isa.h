// SPDX-License-Identifier: Apache-2.0
// Backends for op tests: the reference, and every instruction set this machine has.
#ifndef TESTS_OPS_ISA_H
#define TESTS_OPS_ISA_H

#include "cpu/cpu.h"
#include "ops/tolerance.h"

#include <criterion/criterion.h>
#include <math.h>

static inline Backend isa_open(CpuIsa isa, uint32_t threads) {
    Backend backend;
    Error error;
    cr_assert_eq(cpu_open(&(CpuOptions){.isa = isa, .threads = threads}, &backend, &error), OK,
                 "%s", error.text);
    return backend;
}

// for EACH_ISA(isa): the fast ones that are available.
#define EACH_ISA(isa)                                                                              \
    (CpuIsa isa = CPU_ISA_SCALAR; isa <= CPU_ISA_AVX512;                                           \
     isa = (CpuIsa)(isa + 1)) if (cpu_isa_available(isa))

static inline void assert_close(const float *got, const float *wanted, size_t count,
                                Tolerance tolerance, const char *what) {
    for (size_t i = 0; i < count; i++) {
        double difference = fabs((double)got[i] - (double)wanted[i]);
        double allowed = tolerance.absolute + tolerance.relative * fabs((double)wanted[i]);
        cr_assert(difference <= allowed, "%s: value %zu is %.9g, wanted %.9g (off by %.3g)", what,
                  i, (double)got[i], (double)wanted[i], difference);
    }
}

#endif
