// SPDX-License-Identifier: Apache-2.0
// What the program `fake_decoder` can be asked for instead of a codec.
#ifndef TESTS_LIVE_FAKE_DECODER_H
#define TESTS_LIVE_FAKE_DECODER_H

#include "host/decoder/call.h"

// Started with less memory it ends before it says anything, with that number as its status; with
// this much, by a signal.
enum { FAKE_MEMORY_TRAPS = 256 };

enum {
    FAKE_ANSWERS = 100, // that all is well; it looks at nothing
    FAKE_ANSWERS_SHORT,
    FAKE_ANSWERS_NONSENSE,
    FAKE_SLEEPS,
    FAKE_CRASHES,
    FAKE_IS_KILLED,
    FAKE_ENDS, // with status 0; with 1 for the next number, and so on
};

#endif
