// SPDX-License-Identifier: Apache-2.0
// What this machine can do at best, measured: the ceilings that the rows of the benches are shares
// of. All threads of the pool work at once; the best of several runs counts.
#ifndef BENCH_PEAK_H
#define BENCH_PEAK_H

#include "cpu/cpu.h"
#include "cpu/pool.h"

#include <stddef.h>

typedef struct Peak {
    // 10^9 operations per second (a multiply and an add are two) of dot products on registers, by
    // the instructions of PeakLoops. NAN on an instruction set without loops.
    double int8_gops, bf16_gops, f32_gops;
    double read_gbs; // 10^9 bytes per second of reads from memory, all threads, 4 MiB at a time
} Peak;

// With the best instruction set up to `isa` (auto: the best there is). Takes about three seconds
// and 1 GiB. E_MEMORY.
Status peak_measure(Pool *pool, CpuIsa isa, Peak *out, Error *error);

// One thread's share: `rounds` times PEAK_CHAINS independent dot products of one register each,
// `*_operations` operations per dot product.
//             AVX-512      AVX2
//   int8      VPDPBUSD     VPMADDUBSW, VPMADDWD by ones, VPADDD: the same sum in three steps
//   bf16      VDPBF16PS    f32 FMA: bf16 has no arithmetic there
//   f32       FMA          FMA
enum { PEAK_CHAINS = 12 };
typedef struct PeakLoops {
    void (*int8)(uint64_t rounds);
    void (*bf16)(uint64_t rounds);
    void (*f32)(uint64_t rounds);
    uint32_t int8_operations, bf16_operations, f32_operations;
    uint64_t (*read)(const uint64_t *from, size_t words); // a sum, so that the reads happen
} PeakLoops;

// Compiled for their instruction set; only called where it is there.
extern const PeakLoops peak_loops_avx2;
extern const PeakLoops peak_loops_avx512;

#endif
