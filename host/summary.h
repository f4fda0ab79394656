// SPDX-License-Identifier: Apache-2.0
// What a command did, left out and failed at, as the last thing it says: one line on stderr, in the
// same form for every command.
//
//   24 of 26 pictures: 22 captioned, 2 errors, 4 of them by an earlier run; left out: 3 .gif, 1
//   hidden; 3.21 s, 6.23 pictures/s
//
// 24 were taken on, of 26 that were named: an interruption leaves the difference.
#ifndef HOST_SUMMARY_H
#define HOST_SUMMARY_H

#include "base/bytes.h"

typedef struct Summary {
    const char *things; // "pictures"
    const char *done;   // "captioned"
    uint64_t all, good, errors;
    uint64_t earlier;     // of good and errors, those that an earlier run had
    const char *left_out; // as "3 .gif, 2 hidden"; empty or NULL: nothing
    double seconds;
    const char *more; // figures as "6.23 pictures/s"; empty or NULL: none
} Summary;

void summary_text(const Summary *summary, Buffer *out); // without a newline
void summary_print(const Summary *summary);             // as a line to stderr

#endif
