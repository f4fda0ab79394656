// SPDX-License-Identifier: Apache-2.0
// `tessera bench gpu`: its arguments, and its parts in order.
#include "base/check.h"
#include "base/file.h"
#include "bench/arguments.h"
#include "bench/bench.h"
#include "bench/gpu/gpu.h"
#include "cuda/cuda.h"
#include "host/runtime/device.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct GpuOptions {
    const GpuPlan *plan;
    bool kernels, captions, tune;
    double seconds;
    const char *table; // file of kernel choices
} GpuOptions;

static bool read_part(const char *value, void *at) {
    GpuOptions *out = at;
    bool all = strcmp(value, "all") == 0;
    out->kernels = all || strcmp(value, "kernels") == 0;
    out->captions = all || strcmp(value, "captions") == 0;
    return out->kernels || out->captions || strcmp(value, "none") == 0;
}

static bool read_plan(const char *value, void *at) {
    const GpuPlan **out = at;
    *out = strcmp(value, gpu_plan_tiny.name) == 0 ? &gpu_plan_tiny : &gpu_plan_12b;
    return strcmp(value, (*out)->name) == 0;
}

static bool read_table(const char *value, void *at) {
    const char **out = at;
    *out = value;
    return *value != '\0';
}

// ARGUMENTS_GO_ON or the exit status.
static int read_options(int argc, char **argv, GpuOptions *out) {
    *out = (GpuOptions){.plan = &gpu_plan_12b, .kernels = true, .captions = true, .seconds = 150};
    const Argument rows[] = {
        ROW_READ("--plan", "NAME", "12b or tiny (default 12b)", read_plan, &out->plan),
        ROW_READ("--part", "NAME", "all, kernels, captions or none (default all)", read_part, out),
        ROW_REAL("--seconds", "S", "after them no wave of captions is begun (default 150)",
                 &out->seconds, DBL_MIN, 1e9),
        ROW_FLAG("--tune", "first measures every kernel of linear at every shape", &out->tune),
        ROW_READ("--kernels", "FILE", "the choices: --tune writes them, without it they are used",
                 read_table, &out->table),
    };
    const Arguments arguments = {
        .bench = "gpu",
        .operands = "",
        .about = "On the first NVIDIA GPU. kernels: copy bandwidth and mma peaks, linear and\n"
                 "attention as shares of them, cuBLAS beside. captions: captioning end to end at\n"
                 "several batch sizes, and what a step takes beyond its kernels. FILE is by\n"
                 "default where tessera looks for the choices of this card.\n",
        .rows = rows,
        .row_count = sizeof rows / sizeof rows[0],
    };
    return arguments_read(&arguments, argc, argv);
}

// ---- The file of kernel choices -----------------------------------------------------------------

// Where this card's are kept. False: nowhere, because there is no home folder.
static Status kept_path(char out[DEVICE_PATH_MAX], bool *known, Error *error) {
    Backend cuda;
    TRY(cuda_open(&(CudaOptions){0}, &cuda, error));
    *known = device_kernels_path(gpu_card_name(cuda.device->name), out);
    cuda.close(cuda.context);
    return OK;
}

// The folders of a path, as far as they are missing; what cannot be made shows when the file is
// written.
static void make_folders(const char *path) {
    char folder[DEVICE_PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    for (char *slash = strchr(folder + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(folder, 0777);
        *slash = '/';
    }
}

// Sets options->table to what is to be used from here on, measured anew with --tune.
static Status prepare_table(GpuOptions *options, char kept[DEVICE_PATH_MAX], Error *error) {
    if (options->table == NULL) {
        bool known = false;
        TRY(kept_path(kept, &known, error));
        options->table = known && (options->tune || file_exists(kept)) ? kept : NULL;
    }
    if (!options->tune) {
        return OK;
    }
    if (options->table == NULL) {
        return error_set(error, E_ARGUMENT, "there is no home folder; name a file with --kernels");
    }
    GpuBench *bench;
    TRY(gpu_bench_open(options->plan, NULL, &bench, error));
    make_folders(options->table);
    Status status = gpu_tune(bench, options->table, error);
    gpu_bench_close(bench);
    return status;
}

// ---- Parts --------------------------------------------------------------------------------------

static Status run_kernels(const GpuOptions *options, Error *error) {
    GpuBench *bench;
    TRY(gpu_bench_open(options->plan, options->table, &bench, error));
    Status status = gpu_measure_ceilings(bench, error);
    status = status == OK ? gpu_measure_linear(bench, error) : status;
    status = status == OK ? gpu_measure_attention(bench, error) : status;
    gpu_bench_close(bench);
    return status;
}

int bench_gpu(int argc, char **argv) {
    GpuOptions options;
    Error error = {0};
    int wrong = read_options(argc, argv, &options);
    if (wrong != ARGUMENTS_GO_ON) {
        return wrong;
    }
    char kept[DEVICE_PATH_MAX];
    Status status = prepare_table(&options, kept, &error);
    if (status == OK && options.kernels) {
        status = run_kernels(&options, &error);
    }
    if (status == OK && options.captions) {
        status = gpu_measure_captions(options.plan, options.table, options.seconds, &error);
    }
    if (status != OK) {
        fprintf(stderr, "tessera bench gpu: %s\n", error.text);
    }
    return status == OK ? 0 : 1;
}
