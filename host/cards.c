// SPDX-License-Identifier: Apache-2.0
#include "host/cards.h"

#include <string.h>

const Card cards[] = {
#define CARD(id, name, driver, compute, memory, bandwidth, multiprocessors, bf16, int8, kept)      \
    {#id, name, driver, compute, memory, bandwidth, multiprocessors, bf16, int8, kept},
#include "host/cards.def"
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
