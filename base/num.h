// SPDX-License-Identifier: Apache-2.0
// Checked arithmetic for every number that comes from outside, and the small integer helpers that
// everybody would otherwise write again. The checked forms return false on overflow and leave *out
// undefined.
#ifndef BASE_NUM_H
#define BASE_NUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool num_add(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_add_overflow(a, b, out);
}

static inline bool num_mul(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}

// Product of `count` factors; false on overflow. An empty product is 1.
static inline bool num_product(const uint64_t *factors, size_t count, uint64_t *out) {
    uint64_t product = 1;
    for (size_t i = 0; i < count; i++) {
        if (!num_mul(product, factors[i], &product)) {
            return false;
        }
    }
    *out = product;
    return true;
}

// True when [offset, offset + length) lies inside [0, total).
static inline bool num_in_range(uint64_t offset, uint64_t length, uint64_t total) {
    return offset <= total && length <= total - offset;
}

static inline size_t num_ceil_div(size_t a, size_t b) {
    return (a + b - 1) / b;
}

static inline size_t num_round_up(size_t a, size_t multiple) {
    return num_ceil_div(a, multiple) * multiple;
}

static inline size_t num_min(size_t a, size_t b) {
    return a < b ? a : b;
}

static inline size_t num_max(size_t a, size_t b) {
    return a > b ? a : b;
}

#endif
