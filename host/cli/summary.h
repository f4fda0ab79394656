// SPDX-License-Identifier: Apache-2.0
// What a command did, left out and failed at, as the last thing it says: one line on stderr, in the
// same form for every command.
//
//   N of ALL pictures: GOOD captioned, ERRORS errors, CUT cut at --max-tokens, EARLIER of them by
//   an earlier run; left out: LEFT OUT; SECONDS s, MORE
//
// N is good and errors together; an interruption leaves the difference to all.
#ifndef HOST_CLI_SUMMARY_H
#define HOST_CLI_SUMMARY_H

#include "base/bytes.h"

typedef struct Summary {
    const char *things; // "pictures"
    const char *done;   // "captioned"
    uint64_t all, good, errors;
    uint64_t cut;         // of good, those that this run ended at --max-tokens
    uint64_t earlier;     // of good and errors, those that an earlier run had
    const char *left_out; // as "3 .gif, 2 hidden"; empty or NULL: nothing
    double seconds;
    const char *more; // figures as "6.23 pictures/s"; empty or NULL: none
} Summary;

void summary_text(const Summary *summary, Buffer *out); // without a newline
void summary_print(const Summary *summary);             // as a line to stderr

// Of a command about one file, which is `done` ("written") or an error.
void summary_print_file(const char *done, bool good, double seconds, const char *more);

#endif
