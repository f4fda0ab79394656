// SPDX-License-Identifier: Apache-2.0
// What the tests of this folder share: the files under tests/golden/media and the helpers that
// make_media.py has too.
#ifndef TESTS_UNIT_MEDIA_FIXTURE_H
#define TESTS_UNIT_MEDIA_FIXTURE_H

#include "base/bytes.h"
#include "base/json.h"
#include "host/media/media.h"

#define MEDIA_GOLDEN TEST_ROOT "/tests/golden/media"

// Polynomial hash, see make_media.py.
uint64_t fixture_fingerprint(const uint8_t *data, size_t length);

// The whole of tests/golden/media/<name>; the caller frees. Fails the test when it is not there.
Buffer fixture_read(const char *name);

// A byte of the picture that make_media.py's draw() draws.
uint8_t fixture_drawn_byte(uint32_t x, uint32_t y, uint32_t c);

// expected.json; the caller gives it back with json_decref.
json_t *fixture_expected(void);
const char *fixture_text(json_t *row, const char *key);
uint32_t fixture_number(json_t *row, const char *key);
uint64_t fixture_hex(json_t *row, const char *key);

// Of the test's process, so that thousands of pictures need one decoder.
MediaScratch *fixture_scratch(void);

Bytes fixture_bytes(const Buffer *buffer);

#endif
