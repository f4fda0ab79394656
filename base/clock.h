// SPDX-License-Identifier: Apache-2.0
// The only door to the time. Pure code (scheduler/) never calls it: it is told the time.
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

uint64_t clock_ns(void);        // monotonic
uint64_t clock_thread_ns(void); // processor time that the calling thread has used
// Processor time that a process has used; false when there is none of that number.
bool clock_process_ns(int process, uint64_t *ns);
uint64_t clock_utc_ns(void);       // since 1970, as files are stamped
void clock_utc_text(char out[32]); // "2026-11-24T20:15:03Z"

#endif
