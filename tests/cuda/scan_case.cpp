// SPDX-License-Identifier: Apache-2.0
#include "cuda/scan_case.h"

#include "cuda/paged_case.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>

ScanCase scan_case(uint32_t vocab, const std::vector<float> &inverse_temperature,
                   const int32_t *suppress, uint32_t suppress_count) {
    ScanCase c = {};
    c.rows = (uint32_t)inverse_temperature.size();
    c.vocab = vocab;
    c.chunks = logit_chunks(vocab);
    c.inverse_temperature = inverse_temperature;
    c.suppressed.resize(c.chunks);
    for (uint32_t i = 0; i < suppress_count; i++) {
        if (suppress[i] >= 0 && (uint32_t)suppress[i] < vocab) {
            c.suppressed[(uint32_t)suppress[i] / 32] |= 1u << suppress[i] % 32;
        }
    }
    c.sums.resize((size_t)c.rows * LOGIT_SUM_COUNT * c.chunks);
    return c;
}

bool scan_case_suppresses(const ScanCase *c, uint32_t column) {
    return (c->suppressed[column / 32] >> column % 32 & 1) != 0;
}

static void fill_chunk(ScanCase *c, const float *logits, uint32_t row, uint32_t chunk) {
    float x[LOGIT_CHUNK], top = -INFINITY;
    for (uint32_t i = 0; i < LOGIT_CHUNK; i++) {
        uint32_t column = chunk * LOGIT_CHUNK + i;
        float logit = column < c->vocab ? logits[column] : -INFINITY;
        x[i] = std::isnan(logit) ? -INFINITY : fminf(logit, FLT_MAX);
        top = fmaxf(top, x[i]);
    }
    double mass = 0.0, tempered = 0.0;
    for (uint32_t i = 0; i < LOGIT_CHUNK && top > -INFINITY; i++) {
        double below = (double)x[i] - (double)top;
        mass += exp(below);
        tempered += exp(below * (double)c->inverse_temperature[row]);
    }
    float *to = &c->sums[(size_t)row * LOGIT_SUM_COUNT * c->chunks + chunk];
    to[LOGIT_MAXIMA * c->chunks] = top;
    to[LOGIT_MASS * c->chunks] = (float)mass;
    to[LOGIT_TEMPERED_MASS * c->chunks] = (float)tempered;
}

void scan_case_fill(ScanCase *c, float *logits, size_t stride) {
    for (uint32_t row = 0; row < c->rows; row++) {
        for (uint32_t column = 0; column < c->vocab; column++) {
            float *logit = logits + row * stride + column;
            *logit = scan_case_suppresses(c, column) ? -INFINITY : *logit;
        }
        for (uint32_t chunk = 0; chunk < c->chunks; chunk++) {
            fill_chunk(c, logits + row * stride, row, chunk);
        }
    }
}

LogitScan scan_on_device(const ScanCase *c, bool empty, std::vector<void *> *memory) {
    std::vector<float> sums = empty ? std::vector<float>(c->sums.size(), SCAN_GUARD) : c->sums;
    LogitScan scan = {};
    scan.suppressed = (const uint32_t *)device_copy(c->suppressed.data(), c->chunks * 4, 0, memory);
    scan.inverse_temperature =
        (const float *)device_copy(c->inverse_temperature.data(), c->rows * 4, 0, memory);
    scan.chunks = (float *)device_copy(sums.data(), sums.size() * 4, 0, memory);
    return scan;
}

// A weight exp(-d) carries the rounding of d, at most 2 * 2^-24 d exp(-d) < 2^-24, and the 2 units
// of the exponential; adding 32 rounds 5 times. All of it is below 16 * 2^-24 of the sum.
void assert_scanned(const ScanCase *c, const LogitScan *scan, const char *what) {
    std::vector<float> sums(c->sums.size());
    device_read(sums.data(), scan->chunks, sums.size() * sizeof(float));
    for (size_t i = 0; i < sums.size(); i++) {
        uint32_t sum = (uint32_t)(i / c->chunks % LOGIT_SUM_COUNT);
        double allowed = sum == LOGIT_MAXIMA ? 0.0 : 16 * 0x1p-24 * (double)c->sums[i];
        cr_assert(sums[i] == c->sums[i] || // also -inf
                      fabs((double)sums[i] - (double)c->sums[i]) <= allowed,
                  "%s: row %zu, sum %u, chunk %zu is %.9g, not %.9g", what,
                  i / c->chunks / LOGIT_SUM_COUNT, sum, i % c->chunks, (double)sums[i],
                  (double)c->sums[i]);
    }
}
