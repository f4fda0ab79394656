// SPDX-License-Identifier: Apache-2.0
// Which backend computes: --device auto|cpu|cuda. auto is the first NVIDIA GPU that the kernels run
// on, where this build has the CUDA part and such a GPU is seen; else the CPU.
#ifndef HOST_RUNTIME_DEVICE_H
#define HOST_RUNTIME_DEVICE_H

#include "base/cache.h"
#include "base/status.h"

struct Backend; // model/ops.h; who only opens and closes it need not see inside
struct Card;

typedef enum DeviceChoice { DEVICE_CPU, DEVICE_CUDA } DeviceChoice;

typedef struct DeviceOptions {
    DeviceChoice choice;
    // The CPU
    int isa;          // of device_isa; 0 = the best there is
    uint32_t threads; // 0 = one per processor
    int niceness;     // steps by which the threads stand back behind the caller's other threads
    // The GPU
    const char *kernels; // file of kernel choices (cuda/ktable.h); NULL: the one kept for the card,
                         // if there is one
    bool cublaslt;       // bf16 products by cuBLASLt
} DeviceOptions;

// What "auto", "cpu" or "cuda" means here. E_UNSUPPORTED: a build without CUDA, or a
// GPU that is too old; E_NOT_FOUND: no GPU; E_DEVICE: the driver fails.
Status device_choose(const char *name, DeviceChoice *out, Error *error);

// The number of an instruction set by its name: "auto", "reference", "avx2", ... E_ARGUMENT.
Status device_isa(const char *name, int *out, Error *error);

// Opens what was chosen. The backend is freed by device_close.
Status device_open(const DeviceOptions *options, struct Backend **out, Error *error);
// What stands for a card that is not here (host/runtime/cards.h): memory can be planned with it.
Status device_open_card(const struct Card *card, bool cublaslt, struct Backend **out, Error *error);
void device_close(struct Backend *backend); // NULL is fine
const char *device_name(const struct Backend *backend);
uint64_t device_memory_bytes(const struct Backend *backend); // free now; 0 = unknown

enum { DEVICE_PATH_MAX = CACHE_PATH_MAX };

// Where this version keeps the kernel choices of a card, by its name: kernels-CARD-VERSION.txt in
// the user's cache folder (base/cache.h). False: there is no such folder to be named.
bool device_kernels_path(const char *card, char out[DEVICE_PATH_MAX]);

#endif
