// SPDX-License-Identifier: Apache-2.0
// See fixture.h. The arrays are read in place: all parts are 4 bytes wide, so they are aligned.
#include "ops/fixture.h"

#include "base/file.h"

#include <criterion/criterion.h>
#include <stdio.h>

Fixture fixture_open(const char *path_below_golden) {
    char path[1024];
    snprintf(path, sizeof path, "%s/tests/golden/%s", TEST_ROOT, path_below_golden);
    Fixture fixture = {0};
    Error error;
    cr_assert_eq(file_read(path, 1 << 24, &fixture.bytes, &error), OK, "%s", error.text);
    return fixture;
}

void fixture_close(Fixture *fixture) {
    cr_assert_eq(fixture->at, fixture->bytes.length, "the fixture has more than was read");
    buffer_free(&fixture->bytes);
}

static const void *take(Fixture *fixture, size_t count) {
    const void *here = fixture->bytes.data + fixture->at;
    fixture->at += count * 4;
    cr_assert_leq(fixture->at, fixture->bytes.length, "the fixture is too short");
    return here;
}

uint32_t fixture_u32(Fixture *fixture) {
    return *fixture_u32s(fixture, 1);
}

const uint32_t *fixture_u32s(Fixture *fixture, size_t count) {
    return take(fixture, count);
}

const float *fixture_f32s(Fixture *fixture, size_t count) {
    return take(fixture, count);
}

const uint8_t *fixture_u8s(Fixture *fixture, size_t count) {
    cr_assert_eq(count % 4, 0);
    return take(fixture, count / 4);
}
