// SPDX-License-Identifier: Apache-2.0
// The card table as a command's choices and as something to plan memory for.
#include "host/cli/options.h"
#include "host/runtime/cards.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

Test(cards, info_offers_every_card_of_the_table) {
    char rule[1024] = "";
    for (uint32_t i = 0; i < card_count; i++) {
        size_t used = strlen(rule);
        snprintf(rule + used, sizeof rule - used, "%s%s", i > 0 ? "|" : "", cards[i].id);
    }
    cr_assert_str_eq(option_rows[OPT_GPU].rule, rule);
}

Test(cards, a_card_is_planned_for_with_the_pages_of_cuda) {
    const Card *card = card_of("rtx3060");
    Backend backend = card_backend(card, false);
    cr_assert_str_eq(backend.device->name, "cuda sm_86 NVIDIA GeForce RTX 3060");
    // 12 GiB, 1.3 of them kept, 32 MiB of scratch.
    cr_assert_eq(backend.device->memory_bytes(backend.context),
                 (uint64_t)(10.7 * 1024 * 1048576) - (32 << 20));
    Backend library = card_backend(card, true);
    cr_assert_str_eq(library.device->name, backend.device->name);
    cr_assert_eq(library.device->memory_bytes(library.context),
                 backend.device->memory_bytes(backend.context) - (96 << 20));
    const LayerShape sliding = {.kind = LAYER_SLIDING, .kv_head_count = 8, .head_dim = 256};
    // Keys and values of 16 tokens: 2 bytes a number, or 1 and a scale of 4 bytes a head.
    cr_assert_eq(backend.device->kv_page_bytes(KV_BF16, &sliding), 2 * 16 * 8 * 256 * 2);
    cr_assert_eq(backend.device->kv_page_bytes(KV_INT8, &sliding), 2 * 16 * 8 * (256 + 4));
    // Where the value is the key, a quarter of the key beside the value; in int8 all of it.
    const LayerShape full = {LAYER_FULL, 16, 1, 512, true, 64};
    cr_assert_eq(backend.device->kv_page_bytes(KV_BF16, &full), 16 * (512 + 128) * 2);
    cr_assert_eq(backend.device->kv_page_bytes(KV_INT8, &full), 2 * 16 * (512 + 4));
    cr_assert_null(card_of("rtx1080"));
}
