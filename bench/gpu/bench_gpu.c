// SPDX-License-Identifier: Apache-2.0
// `tessera bench gpu`: its arguments, and its parts in order.
#include "base/check.h"
#include "bench/bench.h"
#include "bench/gpu/gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct GpuOptions {
    const GpuPlan *plan;
    bool kernels, captions;
    double seconds;
} GpuOptions;

static int usage(FILE *out) {
    fprintf(out,
            "usage: tessera bench gpu [--plan 12b|tiny] [--part all|kernels|captions] "
            "[--seconds 150]\n\n"
            "On the first NVIDIA GPU: copy bandwidth and mma peaks, linear and attention as shares "
            "of them with\ncuBLAS beside (kernels); captioning end to end at several batch sizes, "
            "and what a step takes beyond\nits kernels (captions), which stops beginning waves "
            "after --seconds.\n");
    return out == stdout ? 0 : 2;
}

static bool read_options(int argc, char **argv, GpuOptions *out) {
    *out = (GpuOptions){.plan = &gpu_plan_12b, .kernels = true, .captions = true, .seconds = 150};
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        bool good = false;
        if (strcmp(name, "--plan") == 0) {
            out->plan = strcmp(value, gpu_plan_tiny.name) == 0 ? &gpu_plan_tiny : &gpu_plan_12b;
            good = strcmp(value, out->plan->name) == 0;
        } else if (strcmp(name, "--part") == 0) {
            out->kernels = strcmp(value, "captions") != 0;
            out->captions = strcmp(value, "kernels") != 0;
            good = !out->kernels || !out->captions || strcmp(value, "all") == 0;
        } else if (strcmp(name, "--seconds") == 0) {
            char *end;
            out->seconds = strtod(value, &end);
            good = *value != '\0' && *end == '\0' && out->seconds > 0;
        }
        if (!good) {
            fprintf(stderr, "tessera bench gpu: '%s %s' is not understood\n", name, value);
            return false;
        }
    }
    return argc % 2 == 1;
}

static Status run_kernels(const GpuOptions *options, Error *error) {
    GpuBench *bench;
    TRY(gpu_bench_open(options->plan, &bench, error));
    Status status = gpu_measure_ceilings(bench, error);
    status = status == OK ? gpu_measure_linear(bench, error) : status;
    status = status == OK ? gpu_measure_attention(bench, error) : status;
    gpu_bench_close(bench);
    return status;
}

int bench_gpu(int argc, char **argv) {
    GpuOptions options;
    Error error = {0};
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        return usage(stdout);
    }
    if (!read_options(argc, argv, &options)) {
        return usage(stderr);
    }
    Status status = options.kernels ? run_kernels(&options, &error) : OK;
    if (status == OK && options.captions) {
        status = gpu_measure_captions(options.plan, options.seconds, &error);
    }
    if (status != OK) {
        fprintf(stderr, "tessera bench gpu: %s\n", error.text);
    }
    return status == OK ? 0 : 1;
}
