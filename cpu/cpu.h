// SPDX-License-Identifier: Apache-2.0
// The CPU backend: a plain reference of every op, which defines truth, and fast paths chosen once
// at open by what the processor has. Only boot code, tests and benches include this.
#ifndef CPU_CPU_H
#define CPU_CPU_H

#include "model/ops.h"

typedef enum CpuIsa {
    CPU_ISA_AUTO,      // the best this processor has
    CPU_ISA_REFERENCE, // plain loops, double accumulation where it defines truth, one thread
    CPU_ISA_SCALAR,    // portable fast path
    CPU_ISA_AVX2,      // AVX2, FMA, F16C
    CPU_ISA_AVX512,    // AVX-512 F, BW, VL, DQ, VNNI and BF16
} CpuIsa;

typedef struct CpuOptions {
    CpuIsa isa;
    uint32_t threads; // 0 = one per processor this process may use
    int niceness;     // steps by which they stand back behind the caller's other threads
} CpuOptions;

// E_UNSUPPORTED names the missing processor feature; E_MEMORY.
Status cpu_open(const CpuOptions *options, Backend *out, Error *error);

bool cpu_isa_available(CpuIsa isa);
// For tests and benches.
const char *cpu_isa_name(CpuIsa isa);
Status cpu_isa_parse(const char *name, CpuIsa *out,
                     Error *error); // "auto", "reference", "avx2", ...

#endif
