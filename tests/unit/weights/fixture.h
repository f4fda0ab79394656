// SPDX-License-Identifier: Apache-2.0
// A copy of a fixture folder in the temporary folder, to be damaged by a test.
#ifndef TESTS_UNIT_WEIGHTS_FIXTURE_H
#define TESTS_UNIT_WEIGHTS_FIXTURE_H

#include "base/bytes.h"
#include "weights/manifest.h"

typedef struct Fixture {
    char folder[256];
} Fixture;

Fixture fixture_open(const char *source);
void fixture_close(Fixture *fixture); // removes the copy

void fixture_remove(Fixture *fixture, const char *file);
void fixture_write(Fixture *fixture, const char *file, const char *text);  // anew or over it
void fixture_take(Fixture *fixture, const char *file, const char *source); // a copy of SOURCE/file
void fixture_link(Fixture *fixture, const char *file, const char *target); // in its place

// Replaces the first occurrence of `from` in a text file, which must be there.
void fixture_edit(Fixture *fixture, const char *file, const char *from, const char *to);

// The same in the header of model.safetensors, whose length is set anew; offsets stay.
void fixture_replace(Fixture *fixture, const char *from, const char *to);
void fixture_replace_all(Fixture *fixture, const char *from, const char *to);

void fixture_cut(Fixture *fixture, size_t bytes); // off the end of model.safetensors

// Sets one element of a tensor, whatever its type and its file.
void fixture_set(Fixture *fixture, const char *tensor, uint64_t index, float value);

// Changes the lowest bit of one byte of a tensor.
void fixture_flip(Fixture *fixture, const char *tensor, uint64_t byte);

// A fixture folder packed, with the bytes of the file to be changed and written again.
enum { PACKED_SECTIONS = 10 };

typedef struct Packed {
    char path[64];
    Buffer bytes;
    size_t section_at[PACKED_SECTIONS], section_bytes[PACKED_SECTIONS];
} Packed;

Packed packed_open(const char *folder, WeightLevel level);
int packed_data(SectionKind kind); // its number among the sections of the file

// Puts the checksums of one section and of the header right, and writes the file.
void packed_write(Packed *packed, int section);
void packed_close(Packed *packed);

#endif
