// SPDX-License-Identifier: Apache-2.0
#include "host/runtime/device.h"

#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "cpu/cpu.h"
#include "host/runtime/cards.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool device_kernels_path(const char *card, char out[DEVICE_PATH_MAX]) {
    char name[128], file[256];
    size_t length = 0;
    for (; card[length] != '\0' && length < sizeof name - 1; length++) {
        char c = card[length];
        bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        name[length] = plain ? c : c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : '-';
    }
    name[length] = '\0';
    snprintf(file, sizeof file, "kernels-%s-%s.txt", name, TESSERA_VERSION);
    return cache_path(file, out);
}

#ifdef TESSERA_CUDA
#include "cuda/cuda.h"
#include "cuda/gpus.h"

enum { COMPUTE_MAJOR_LEAST = 8 };

static Status choose_cuda(bool only_if_there, DeviceChoice *out, Error *error) {
    GpuInfo gpu;
    uint32_t count;
    TRY(gpus_list(&gpu, 1, &count, error));
    bool fits = count > 0 && gpu.compute_major >= COMPUTE_MAJOR_LEAST;
    *out = fits ? DEVICE_CUDA : DEVICE_CPU;
    if (fits || only_if_there) {
        return OK;
    }
    if (count == 0) {
        return error_set(error, E_NOT_FOUND,
                         "--device cuda: no NVIDIA GPU is seen; use --device cpu");
    }
    return error_set(error, E_UNSUPPORTED,
                     "--device cuda: %s is sm_%d%d, and the kernels need sm_80 or newer; use "
                     "--device cpu",
                     gpu.name, gpu.compute_major, gpu.compute_minor);
}

static Status open_cuda(const DeviceOptions *options, Backend *out, Error *error) {
    GpuInfo gpu;
    uint32_t count;
    char kept[DEVICE_PATH_MAX];
    const char *file = options->kernels;
    TRY(gpus_list(&gpu, 1, &count, error));
    if (file == NULL && count > 0 && device_kernels_path(gpu.name, kept) && file_exists(kept)) {
        file = kept;
    }
    log_event(LOG_INFO, "kernels", "choices=%s bf16_products=%s", file != NULL ? file : "by rule",
              options->cublaslt ? "cublaslt" : "ours");
    return cuda_open(&(CudaOptions){.kernels = file, .cublaslt = options->cublaslt}, out, error);
}
#else
static Status choose_cuda(bool only_if_there, DeviceChoice *out, Error *error) {
    *out = DEVICE_CPU;
    return only_if_there ? OK
                         : error_set(error, E_UNSUPPORTED,
                                     "--device cuda: this program was built without the CUDA part; "
                                     "build it with the preset cuda, which needs nvcc, or use "
                                     "--device cpu");
}

static Status open_cuda(const DeviceOptions *options, Backend *out, Error *error) {
    (void)options;
    (void)out;
    return error_set(error, E_UNSUPPORTED, "this program was built without the CUDA part");
}
#endif

Status device_choose(const char *name, DeviceChoice *out, Error *error) {
    *out = DEVICE_CPU;
    return strcmp(name, "cpu") == 0 ? OK : choose_cuda(strcmp(name, "auto") == 0, out, error);
}

Status device_isa(const char *name, int *out, Error *error) {
    CpuIsa isa;
    TRY(cpu_isa_parse(name, &isa, error));
    *out = (int)isa;
    return OK;
}

static Status device_no_memory(Error *error) {
    return error_set(error, E_MEMORY, "no memory for a device");
}

Status device_open(const DeviceOptions *options, Backend **out, Error *error) {
    Backend *backend = calloc(1, sizeof *backend);
    if (backend == NULL) {
        return device_no_memory(error);
    }
    const CpuOptions cpu = {
        .isa = (CpuIsa)options->isa,
        .threads = options->threads,
        .niceness = options->niceness,
    };
    Status status = options->choice == DEVICE_CUDA ? open_cuda(options, backend, error)
                                                   : cpu_open(&cpu, backend, error);
    if (status != OK) {
        free(backend);
        return status;
    }
    *out = backend;
    return OK;
}

Status device_open_card(const Card *card, bool cublaslt, Backend **out, Error *error) {
    *out = calloc(1, sizeof **out);
    if (*out == NULL) {
        return device_no_memory(error);
    }
    **out = card_backend(card, cublaslt);
    return OK;
}

void device_close(Backend *backend) {
    if (backend != NULL && backend->close != NULL) {
        backend->close(backend->context);
    }
    free(backend);
}

const char *device_name(const Backend *backend) {
    return backend->device->name;
}

uint64_t device_memory_bytes(const Backend *backend) {
    return backend->device->memory_bytes(backend->context);
}
