// SPDX-License-Identifier: Apache-2.0
// A strict reader of Prometheus' text format 0.0.4 for the tests. It refuses what the original
// client refuses (tests/golden/metrics) and more: a sample before its TYPE, families that are not
// in one block, a series twice, histograms whose buckets, sum and count do not fit together.
#ifndef TESTS_UNIT_SERVER_EXPOSITION_H
#define TESTS_UNIT_SERVER_EXPOSITION_H

#include <stdbool.h>
#include <stddef.h>

enum { EXPOSITION_SAMPLES_MAX = 4096, EXPOSITION_SERIES_MAX = 256 };

typedef struct ExpositionSample {
    char series[EXPOSITION_SERIES_MAX]; // name{label="value",...} with the values unescaped
    double value;
} ExpositionSample;

typedef struct Exposition {
    ExpositionSample samples[EXPOSITION_SAMPLES_MAX];
    size_t count;
    size_t families;
    const char *fault; // NULL: the page is good
    int line;          // of the fault
} Exposition;

// Zero-terminated `text`; false when it is refused. `strict` asks for more than the original does.
bool exposition_read(const char *text, bool strict, Exposition *out);

const ExpositionSample *exposition_find(const Exposition *page, const char *series);

#endif
