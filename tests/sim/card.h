// SPDX-License-Identifier: Apache-2.0
// How long a step would take on a card that reaches its roofline: a prediction, for the simulator's
// clock only. Weights of 4.5 bits a value with an int8 head, int8 products, bf16 keys and values.
#ifndef TESTS_SIM_CARD_H
#define TESTS_SIM_CARD_H

#include "scheduler/batch.h"

typedef struct Card {
    const char *name;
    double weights_ms; // to read every weight once: the floor of a step
    double row_ms;     // arithmetic of one row
} Card;

extern const Card card_4090, card_3060;

// The longer of reading (weights, and the keys and values in sight) and computing.
double card_step_ms(const Card *card, const Batch *batch);

#endif
