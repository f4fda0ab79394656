// SPDX-License-Identifier: Apache-2.0
// The demo model as a started or only opened Runtime, for tests that need a real one.
#ifndef TESTS_UNIT_HOST_DEMO_H
#define TESTS_UNIT_HOST_DEMO_H

#include "host/request/question.h"
#include "host/runtime/runtime.h"

enum { DEMO_PICTURES = 4 };

extern const char *const demo_pictures[DEMO_PICTURES];

RuntimeOptions demo_options(const char *isa);
void demo_open(Runtime *runtime, const char *isa);
Question demo_question(const char *text); // greedy, budget 70, 40 tokens

#endif
