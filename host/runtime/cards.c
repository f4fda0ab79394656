// SPDX-License-Identifier: Apache-2.0
#include "host/runtime/cards.h"

#include <string.h>

const Card cards[] = {
#define CARD(id, name, driver, compute, memory, bandwidth, multiprocessors, bf16, int8, kept)      \
    {#id, name, driver, compute, memory, bandwidth, multiprocessors, bf16, int8, kept},
#include "host/runtime/cards.def"
#undef CARD
};
const uint32_t card_count = sizeof cards / sizeof cards[0];

const Card *card_of(const char *id) {
    for (uint32_t i = 0; i < card_count; i++) {
        if (strcmp(cards[i].id, id) == 0) {
            return &cards[i];
        }
    }
    return NULL;
}

static uint64_t card_memory_bytes(void *context) {
    const Card *card = context;
    return (uint64_t)((card->memory_gib - card->kept_gib) * 0x1p30) - CUDA_SCRATCH_BYTES;
}

static uint64_t card_memory_bytes_cublaslt(void *context) {
    return card_memory_bytes(context) - CUDA_LIBRARY_BYTES;
}

#define DEVICE(driver, sm, memory)                                                                 \
    {                                                                                              \
        .name = "cuda sm_" #sm " " driver, .scans = true, .kv_page_bytes = cuda_page_bytes,        \
        .memory_bytes = (memory)                                                                   \
    }

Backend card_backend(const Card *card, bool cublaslt) {
    static const DeviceTable devices[][2] = {
#define CARD(id, text, driver, sm, ...)                                                            \
    {DEVICE(driver, sm, card_memory_bytes), DEVICE(driver, sm, card_memory_bytes_cublaslt)},
#include "host/runtime/cards.def"
#undef CARD
    };
    return (Backend){.device = &devices[card - cards][cublaslt], .context = (void *)card};
}
