// SPDX-License-Identifier: Apache-2.0
// What this machine can do at best, measured: the ceilings that the rows of the benches are shares
// of. All threads of the pool work at once; the best of several runs counts.
#ifndef BENCH_PEAK_H
#define BENCH_PEAK_H

#include "cpu/pool.h"

#include <stddef.h>

typedef struct Peak {
    // 10^9 operations per second (a multiply and an add are two) of dot products on registers:
    // VPDPBUSD, VDPBF16PS, f32 FMA. NAN without AVX-512 VNNI and BF16.
    double int8_gops, bf16_gops, f32_gops;
    double read_gbs; // 10^9 bytes per second of reads from memory, all threads, 4 MiB at a time
} Peak;

// Takes about three seconds and 1 GiB. E_MEMORY.
Status peak_measure(Pool *pool, Peak *out, Error *error);

// One thread's share of the arithmetic: `rounds` times 12 independent dot products of one 512-bit
// register each. Compiled for AVX-512; only called where it is there.
enum { PEAK_CHAINS = 12 };
void peak_int8_avx512(uint64_t rounds);
void peak_bf16_avx512(uint64_t rounds);
void peak_f32_avx512(uint64_t rounds);
uint64_t peak_read_avx512(const uint64_t *from, size_t words); // a sum, so that the reads happen

#endif
