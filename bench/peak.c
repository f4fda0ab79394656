// SPDX-License-Identifier: Apache-2.0
#include "bench/peak.h"

#include "base/check.h"
#include "base/clock.h"
#include "cpu/cpu.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// Short runs of arithmetic, so that some fall between two disturbances.
enum { COMPUTE_RUNS = 200, ROUNDS = 250000, READ_RUNS = 192, READ_TASKS = 16, WORKERS_MAX = 256 };
// A run reads the next 64 MiB of 1 GiB, in tasks of 4 MiB: short enough to fall between two
// disturbances, and no run finds in a cache what one before has read.
enum { READ_PARTS = 16 };
static const size_t READ_WORDS = (size_t)1 << 19; // of one task

typedef struct PeakTask {
    void (*compute)(uint64_t rounds);
    uint64_t (*read)(const uint64_t *from, size_t words);
    const uint64_t *memory;
    size_t part; // that this run reads
    uint64_t sums[WORKERS_MAX];
} PeakTask;

static void compute_task(void *argument, uint32_t task, uint32_t worker) {
    (void)task;
    (void)worker;
    PeakTask *peak = argument;
    peak->compute(ROUNDS);
}

static uint64_t read_words(const uint64_t *from, size_t words) {
    uint64_t sums[8] = {0};
    for (size_t i = 0; i < words; i += 8) {
        for (int j = 0; j < 8; j++) {
            sums[j] += from[i + (size_t)j];
        }
    }
    return sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
}

static void read_task(void *argument, uint32_t task, uint32_t worker) {
    PeakTask *peak = argument;
    peak->sums[worker] +=
        peak->read(peak->memory + (peak->part * READ_TASKS + task) * READ_WORDS, READ_WORDS);
}

// The best of `runs` runs, in seconds.
static double best_seconds(int runs, Pool *pool, uint32_t tasks, PoolTask *task, PeakTask *peak) {
    double best = INFINITY;
    for (int run = 0; run < runs; run++) {
        peak->part = (size_t)run % READ_PARTS;
        uint64_t begin = clock_ns();
        pool_run(pool, tasks, task, peak);
        best = fmin(best, (double)(clock_ns() - begin) * 1e-9);
    }
    return best;
}

static double compute_gops(Pool *pool, void (*compute)(uint64_t), uint32_t operations) {
    PeakTask peak = {.compute = compute};
    double all = (double)operations * PEAK_CHAINS * ROUNDS * pool_thread_count(pool);
    return all / best_seconds(COMPUTE_RUNS, pool, pool_thread_count(pool), compute_task, &peak) *
           1e-9;
}

// NULL: the instruction set has none, or the machine not the instruction set.
static const PeakLoops *choose_loops(CpuIsa isa) {
    if ((isa == CPU_ISA_AUTO || isa == CPU_ISA_AVX512) && cpu_isa_available(CPU_ISA_AVX512)) {
        return &peak_loops_avx512;
    }
    bool avx2 = isa == CPU_ISA_AUTO || isa == CPU_ISA_AVX2;
    return avx2 && cpu_isa_available(CPU_ISA_AVX2) ? &peak_loops_avx2 : NULL;
}

Status peak_measure(Pool *pool, CpuIsa isa, Peak *out, Error *error) {
    REQUIRE(pool_thread_count(pool) <= WORKERS_MAX);
    *out = (Peak){NAN, NAN, NAN, NAN};
    PeakTask peak = {.read = read_words};
    const PeakLoops *loops = choose_loops(isa);
    if (loops != NULL) {
        peak.read = loops->read;
        out->int8_gops = compute_gops(pool, loops->int8, loops->int8_operations);
        out->bf16_gops = compute_gops(pool, loops->bf16, loops->bf16_operations);
        out->f32_gops = compute_gops(pool, loops->f32, loops->f32_operations);
    }
    size_t bytes = READ_TASKS * READ_WORDS * sizeof(uint64_t);
    uint64_t *memory = aligned_alloc(4096, READ_PARTS * bytes);
    if (memory == NULL) {
        return error_set(error, E_MEMORY, "there is no 1 GiB to measure the bandwidth with");
    }
    memset(memory, 1, READ_PARTS * bytes); // so that every page is there
    peak.memory = memory;
    out->read_gbs =
        (double)bytes / best_seconds(READ_RUNS, pool, READ_TASKS, read_task, &peak) * 1e-9;
    free(memory);
    return OK;
}
