// SPDX-License-Identifier: Apache-2.0
// Reading the small binary fixtures of tests/golden/: u32, f32 and u8 arrays one after another, in
// the order in which the Python script beside them wrote them.
#ifndef TESTS_OPS_FIXTURE_H
#define TESTS_OPS_FIXTURE_H

#include "base/bytes.h"

#include <stdint.h>

typedef struct Fixture {
    Buffer bytes;
    size_t at;
} Fixture;

Fixture fixture_open(const char *path_below_golden);
void fixture_close(Fixture *fixture); // and checks that all of it was read
uint32_t fixture_u32(Fixture *fixture);
const uint32_t *fixture_u32s(Fixture *fixture, size_t count);
const float *fixture_f32s(Fixture *fixture, size_t count);
const uint8_t *fixture_u8s(Fixture *fixture, size_t count); // a multiple of 4

#endif
