// SPDX-License-Identifier: Apache-2.0
// NVIDIA cards as rated numbers: for predictions about machines that are not here.
#ifndef HOST_RUNTIME_CARDS_H
#define HOST_RUNTIME_CARDS_H

#include "cuda/plan.h"

typedef struct Card {
    const char *id, *name;
    const char *driver_name; // as cudaGetDeviceProperties and nvidia-smi have it
    int compute;
    double memory_gib, memory_gbs;
    int multiprocessors;
    double bf16_tflops, int8_tops; // dense, by mma
    double kept_gib;               // driver context, display
} Card;

extern const Card cards[];
extern const uint32_t card_count;
const Card *card_of(const char *id); // NULL: there is none

// The CUDA backend on this card as far as memory is planned with it (engine_plan): its pages and
// what it has free before an engine is opened, with bf16 products by cuBLASLt or not. Nothing can
// be computed or taken; close is NULL.
Backend card_backend(const Card *card, bool cublaslt);

#endif
