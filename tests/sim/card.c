// SPDX-License-Identifier: Apache-2.0
// The figures follow from data sheets: memory 1,008 and 360 GB/s, dense int8 661 and 102 Tops; 7.14
// GB of weights, 21.8 Gflop a token, 16 KiB of keys and values a position in all full layers and
// 320 KiB in all sliding ones.
#include "tests/sim/card.h"

const Card card_4090 = {"RTX 4090, predicted", 7.08, 10.9 / 330};
const Card card_3060 = {"RTX 3060, predicted", 19.8, 70.6 / 330};

double card_step_ms(const Card *card, const Batch *batch) {
    const double weight_bytes = 7.14e9, full_bytes = 16384, sliding_bytes = 327680;
    double bytes = weight_bytes;
    for (uint32_t i = 0; i < batch->sequence_count; i++) {
        const BatchSequence *q = &batch->sequences[i];
        bytes += KV_PAGE_TOKENS * (q->page_count[PAGE_FULL] * full_bytes +
                                   q->page_count[PAGE_SLIDING] * sliding_bytes);
    }
    double read_ms = card->weights_ms * bytes / weight_bytes;
    double compute_ms = card->row_ms * batch->row_count;
    return read_ms > compute_ms ? read_ms : compute_ms;
}
