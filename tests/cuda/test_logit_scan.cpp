// SPDX-License-Identifier: Apache-2.0
// What the finish of lm_head leaves for the sampler, by every kernel that can compute lm_head: the
// numbers of the plain scan, and the logits that there are without one.
#include "cuda/kernels/linear.h"
#include "cuda/linear_case.h"
#include "cuda/paged_case.h"
#include "cuda/scan_case.h"
#include "tests/cuda/open.h"

#include <float.h>
#include <math.h>

static CudaContext context;

static std::vector<float> launched(const LinearVariant *v, const LinearOnDevice *d) {
    linear_clear(d);
    LinearArgs args = linear_args(&d->op);
    cr_assert_eq(v->launch(&context, &args), cudaSuccess, "%s: %s", v->name, simt_fault());
    cr_assert_str_empty(simt_fault(), "%s", simt_fault());
    return linear_result(d);
}

// The case's rows in reverse order.
static void send_rows(const LinearCase *c, LinearOnDevice *d) {
    std::vector<uint32_t> to(c->shape.m);
    for (uint32_t r = 0; r < c->shape.m; r++) {
        to[r] = c->shape.m - 1 - r;
    }
    d->op.out_rows = (const uint32_t *)device_copy(to.data(), c->shape.m * 4, 0, &d->memory);
}

// And back: `sent` logits in the order of their tokens.
static std::vector<float> by_token(const std::vector<float> &logits, const LinearCase *c,
                                   bool sent) {
    size_t stride = c->op.out_stride, m = c->shape.m;
    std::vector<float> result = logits;
    for (size_t r = 0; r < m && sent; r++) {
        std::copy(&logits[r * stride], &logits[r * stride] + stride, &result[(m - 1 - r) * stride]);
    }
    return result;
}

static std::vector<float> inverse_temperatures(uint32_t rows) {
    std::vector<float> inverse_temperature(rows);
    for (uint32_t r = 0; r < rows; r++) {
        inverse_temperature[r] = r % 3 == 0 ? 1.0f : 1.0f / (0.2f + 0.3f * (float)r);
    }
    return inverse_temperature;
}

// With the scan: the logits of a run without, but for the suppressed ones, and the plain scan.
static void check_scan(const LinearVariant *v, const LinearCase *c, LinearOnDevice *d, bool sent) {
    std::vector<int32_t> suppress = {0, 7, 33, (int32_t)c->shape.rows - 1};
    for (int32_t column = 32; column < 64 && c->shape.m % 2 == 0; column++) {
        suppress.push_back(column); // a chunk with nothing left
    }
    ScanCase scan = scan_case(c->shape.rows, inverse_temperatures(c->shape.m), suppress.data(),
                              (uint32_t)suppress.size());
    std::vector<float> wanted = by_token(launched(v, d), c, sent);
    scan_case_fill(&scan, wanted.data(), c->op.out_stride);
    d->op.scan = scan_on_device(&scan, true, &d->memory);
    std::vector<float> got = by_token(launched(v, d), c, sent);
    cr_assert_eq(memcmp(got.data(), wanted.data(), got.size() * sizeof(float)), 0, "%s: logits",
                 v->name);
    assert_scanned(&scan, &d->op.scan, v->name);
}

// Two tiles of outputs but for a ragged end, tokens beyond one tile of the narrow kernels.
static void check_variant(const LinearVariant *v, ActivationKind kind, bool sent) {
    uint32_t m = v->tokens > 16 ? 5 : v->tokens + 2, group = v->group != 0 ? v->group : 32;
    LinearShape shape = {v->level, kind, group, v->outputs + 21, 128, m, LINEAR_PLAIN, sent};
    LinearCase c = linear_case_open(shape);
    c.op.softcap = 3.0f;
    LinearOnDevice d = linear_on_device(&c);
    if (sent) {
        send_rows(&c, &d);
    }
    check_scan(v, &c, &d, sent);
    linear_off_device(&d);
    linear_case_close(&c);
}

Test(logit_scan, every_kernel_leaves_what_the_plain_scan_finds) {
    context = open_context(simt_seeded(1));
    for (uint32_t i = 0; i < linear_variant_count; i++) {
        const LinearVariant *v = &linear_variants[i];
        if (v->level == LEVEL_INT4) {
            continue; // the embedding is int8 at least
        }
        bool pairs = v->kind == ACTIVATION_INT8 && i % 2 == 1;
        check_variant(v, pairs ? ACTIVATION_INT8X2 : v->kind, i % 3 == 1);
    }
    check_variant(&linear_plain_variant, ACTIVATION_F32, false);
    check_variant(&linear_plain_variant, ACTIVATION_INT8X2, true);
    close_context(&context);
}

// One column of weights is the logits; the last chunk is damaged from end to end.
Test(logit_scan, damaged_logits_are_passed_over) {
    enum { COUNT = 96 };
    context = open_context(simt_seeded(2));
    LinearShape shape = {LEVEL_F32, ACTIVATION_F32, 0, COUNT, 1, 1, LINEAR_PLAIN, false};
    LinearCase c = linear_case_open(shape);
    float *x = (float *)c.weight.codes; // [panel][padded columns][16]
    for (uint32_t i = 0; i < COUNT; i++) {
        float *at = x + (size_t)(i / 16) * c.weight.padded_columns * 16 + i % 16;
        *at = i == 3 ? NAN : i == 40 ? INFINITY : i == 41 ? -INFINITY : i >= 64 ? NAN : *at;
    }
    activation_f32(&c.in, 0)[0] = 1.0f;
    LinearOnDevice d = linear_on_device(&c);
    std::vector<float> logits = launched(&linear_plain_variant, &d);
    ScanCase scan = scan_case(COUNT, {0.5f}, NULL, 0);
    scan_case_fill(&scan, logits.data(), c.op.out_stride);
    d.op.scan = scan_on_device(&scan, true, &d.memory);
    launched(&linear_plain_variant, &d);
    assert_scanned(&scan, &d.op.scan, "damaged");
    cr_assert_eq(scan.sums[1], FLT_MAX);
    cr_assert_eq(scan.sums[2], -INFINITY);
    linear_off_device(&d);
    linear_case_close(&c);
    close_context(&context);
}
