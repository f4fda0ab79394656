// SPDX-License-Identifier: Apache-2.0
// When the step behind the one under way should be planned. Planned too early, requests that come
// meanwhile miss it and wait for a whole step more; too late, the device waits. So: three quarters
// of the way through the step under way, as far as the last steps tell how long it will take. Pure;
// the caller has the clock.
//
// A step's time grows with its rows, but not faster than they do. So one of fewer rows than a step
// that was seen takes at least its share of that one's time, and one of more rows at least that
// time. Of the last two steps of about as many rows the shorter counts: one slow step, as the first
// of its kind is, holds nothing up.
#ifndef HOST_STEP_STEP_PACE_H
#define HOST_STEP_STEP_PACE_H

#include <stdint.h>

enum { STEP_PACE_SIZES = 32, STEP_PACE_KEPT = 2 };

typedef struct StepSeen {
    uint32_t rows;
    uint64_t ns;
} StepSeen;

typedef struct StepPace {                           // zero: nothing was seen
    StepSeen seen[STEP_PACE_SIZES][STEP_PACE_KEPT]; // by the power of two of rows, last first
} StepPace;

void step_pace_note(StepPace *pace, uint32_t rows, uint64_t ns);

// From the beginning of a step of `rows` to the next plan. 0 where nothing is known: at once.
uint64_t step_pace_wait_ns(const StepPace *pace, uint32_t rows);

#endif
