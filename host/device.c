// SPDX-License-Identifier: Apache-2.0
#include "host/device.h"

#include "base/check.h"

#include <string.h>

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

static Status open_cuda(Backend *out, Error *error) {
    return cuda_open(&(CudaOptions){.device = 0}, out, error);
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

static Status open_cuda(Backend *out, Error *error) {
    (void)out;
    return error_set(error, E_UNSUPPORTED, "This program was built without the CUDA part.");
}
#endif

Status device_choose(const char *name, DeviceChoice *out, Error *error) {
    *out = DEVICE_CPU;
    return strcmp(name, "cpu") == 0 ? OK : choose_cuda(strcmp(name, "auto") == 0, out, error);
}

Status device_open(DeviceChoice choice, const CpuOptions *cpu, Backend *out, Error *error) {
    return choice == DEVICE_CUDA ? open_cuda(out, error) : cpu_open(cpu, out, error);
}
