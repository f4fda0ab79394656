// SPDX-License-Identifier: Apache-2.0
#include "host/step/step_pace.h"

#include "base/num.h"

static uint32_t step_pace_size(uint32_t rows) {
    uint32_t size = 0;
    for (; rows > 1; rows /= 2) {
        size++;
    }
    return size;
}

void step_pace_note(StepPace *pace, uint32_t rows, uint64_t ns) {
    StepSeen *seen = pace->seen[step_pace_size(rows)];
    seen[1] = seen[0];
    seen[0] = (StepSeen){rows, ns};
}

uint64_t step_pace_wait_ns(const StepPace *pace, uint32_t rows) {
    const StepSeen *seen = pace->seen[step_pace_size(rows)];
    uint64_t least_ns = UINT64_MAX;
    for (int i = 0; i < STEP_PACE_KEPT; i++) {
        if (seen[i].rows == 0) {
            return 0;
        }
        uint64_t ns = rows < seen[i].rows ? seen[i].ns / seen[i].rows * rows : seen[i].ns;
        least_ns = num_min(least_ns, ns);
    }
    return least_ns / 4 * 3;
}
