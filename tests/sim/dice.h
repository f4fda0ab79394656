// SPDX-License-Identifier: Apache-2.0
// Random choices of one simulated run: all follow from its seed.
#ifndef TESTS_SIM_DICE_H
#define TESTS_SIM_DICE_H

#include "base/prng.h"

#include <stdbool.h>

typedef struct Dice {
    uint64_t seed, thrown;
} Dice;

static inline uint32_t dice_below(Dice *dice, uint32_t n) {
    return (uint32_t)(prng_u64(dice->seed, 0, dice->thrown++) % n);
}

static inline uint32_t dice_between(Dice *dice, uint32_t low, uint32_t high) { // both included
    return low + dice_below(dice, high - low + 1);
}

static inline bool dice_once_in(Dice *dice, uint32_t n) {
    return dice_below(dice, n) == 0;
}

static inline double dice_uniform(Dice *dice) {
    return prng_uniform(dice->seed, 0, dice->thrown++);
}

#endif
