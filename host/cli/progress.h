// SPDX-License-Identifier: Apache-2.0
// How far a run has come, on stderr: a bar on a terminal, otherwise a plain line now and then. The
// rate and the time left count what this run did, not what an earlier one had done.
#ifndef HOST_CLI_PROGRESS_H
#define HOST_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Progress {
    bool enabled, on_terminal, bar_shown;
    uint64_t total, done, skipped, errors; // done counts all three kinds
    uint64_t begin_ns, drawn_ns;
} Progress;

void progress_begin(Progress *progress, uint64_t total, bool enabled);
void progress_tick(Progress *progress);  // draws when it is time to
void progress_clear(Progress *progress); // takes the bar away, before other output
void progress_end(Progress *progress);
double progress_seconds(const Progress *progress); // since begin

// "1:02:03", "2:03", "0:05"
void progress_time_text(double seconds, char out[24]);

#endif
