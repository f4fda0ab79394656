// SPDX-License-Identifier: Apache-2.0
// PEAK_LOOP(name, type, first, step): a function that repeats `step` on PEAK_CHAINS registers
// acc[i] of `type`, which begin as first(i). The empty asm keeps the compiler from folding the
// rounds, and different first values keep it from seeing twelve equal chains.
#ifndef BENCH_PEAK_LOOP_H
#define BENCH_PEAK_LOOP_H

#include "bench/peak.h"

#define PEAK_LOOP(name, type, first, step)                                                         \
    static void name(uint64_t rounds) {                                                            \
        type acc[PEAK_CHAINS];                                                                     \
        _Pragma("GCC unroll 12") for (int i = 0; i < PEAK_CHAINS; i++) {                           \
            acc[i] = first(i);                                                                     \
        }                                                                                          \
        for (uint64_t round = 0; round < rounds; round++) {                                        \
            _Pragma("GCC unroll 12") for (int i = 0; i < PEAK_CHAINS; i++) {                       \
                acc[i] = step;                                                                     \
            }                                                                                      \
            __asm__ volatile("" : "+v"(acc[0]));                                                   \
        }                                                                                          \
        _Pragma("GCC unroll 12") for (int i = 0; i < PEAK_CHAINS; i++) {                           \
            __asm__ volatile("" ::"v"(acc[i]));                                                    \
        }                                                                                          \
    }

#endif
