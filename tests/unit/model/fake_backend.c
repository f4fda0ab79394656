// SPDX-License-Identifier: Apache-2.0
#include "fake_backend.h"

#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

static Status record(FakeBackend *fake, FakeOp op) {
    cr_assert_lt(fake->call_count, FAKE_CALLS_MAX);
    uint32_t index = fake->call_count++;
    fake->calls[index] = op;
    return index == fake->fail_at ? fake->fail_with : OK;
}

#define OP(name, arguments, text)                                                                  \
    static Status plain_##name(void *context, const arguments *op) {                               \
        (void)op;                                                                                  \
        return record(context, FAKE_##name);                                                       \
    }
#include "model/ops.def"
#undef OP

static Status fake_linear(void *context, const OpLinear *op) {
    FakeBackend *fake = context;
    fake->linear_scans[fake->linear_count] = op->scan;
    fake->linear_rows[fake->linear_count++] = op->row_count;
    return plain_linear(context, op);
}

static Status fake_sample(void *context, const OpSample *op) {
    FakeBackend *fake = context;
    for (uint32_t i = 0; i < op->count; i++) {
        op->drawn[i] = fake->nothing_left ? -1 : 0;
        op->out[i] = (StepSample){.chosen = {.token = op->drawn[i]}};
    }
    fake->sampled += op->count;
    fake->sample_scan = op->scan;
    return plain_sample(context, op);
}

static void *fake_take(void *context, size_t bytes) {
    FakeBackend *fake = context;
    if (fake->taken >= fake->take_limit) {
        return NULL;
    }
    fake->taken++;
    return calloc(1, bytes == 0 ? 1 : bytes);
}

static void fake_give(void *context, void *memory) {
    FakeBackend *fake = context;
    fake->given++;
    free(memory);
}

static Status fake_copy(void *context, void *to, const void *from, size_t bytes) {
    ((FakeBackend *)context)->upload_count++;
    memcpy(to, from, bytes);
    return OK;
}

static void *fake_take_host(void *context, size_t bytes) {
    ((FakeBackend *)context)->host_bytes += bytes;
    return fake_take(context, bytes);
}

static Status fake_download(void *context, void *to, const void *from, size_t bytes) {
    (void)context;
    memcpy(to, from, bytes);
    return OK;
}

static Status fake_wait(void *context, Error *error) {
    ((FakeBackend *)context)->waits++;
    return ((FakeBackend *)context)->wait_fails
               ? error_set(error, E_INTERNAL, "the fake device fell over")
               : OK;
}

static Status fake_mark(void *context, uint32_t mark) {
    (void)context;
    cr_assert_lt(mark, DEVICE_MARKS);
    return OK;
}

static Status fake_reach(void *context, uint32_t mark) {
    (void)mark;
    return ((FakeBackend *)context)->wait_fails ? E_INTERNAL : OK;
}

static size_t fake_page_bytes(KvKind kind, const LayerShape *shape) {
    return (size_t)2 * KV_PAGE_TOKENS * shape->kv_head_count * shape->head_dim *
           (kind == KV_F32    ? 4
            : kind == KV_BF16 ? 2
                              : 1);
}

static Status fake_place_matrix(void *context, const Matrix *host, Matrix *out) {
    (void)context;
    *out = *host;
    return OK;
}

static Status fake_place_floats(void *context, const float *host, size_t count, const float **out) {
    (void)context;
    (void)count;
    *out = host;
    return OK;
}

static uint64_t fake_memory_bytes(void *context) {
    return ((FakeBackend *)context)->free_bytes;
}

static const DeviceTable fake_device = {.name = "fake",
                                        .take = fake_take,
                                        .give = fake_give,
                                        .take_host = fake_take_host,
                                        .give_host = fake_give,
                                        .upload = fake_copy,
                                        .download = fake_download,
                                        .wait = fake_wait,
                                        .mark = fake_mark,
                                        .reach = fake_reach,
                                        .kv_page_bytes = fake_page_bytes,
                                        .place_matrix = fake_place_matrix,
                                        .place_floats = fake_place_floats,
                                        .memory_bytes = fake_memory_bytes};

static OpTable fake_ops = {
#define OP(name, arguments, text) .name = plain_##name,
#include "model/ops.def"
#undef OP
};

void fake_backend_open(FakeBackend *fake) {
    *fake = (FakeBackend){.fail_at = UINT32_MAX, .take_limit = UINT32_MAX};
    fake_ops.linear = fake_linear;
    fake_ops.sample = fake_sample;
    fake->device = fake_device;
    fake->backend = (Backend){.ops = &fake_ops, .device = &fake->device, .context = fake};
}

uint32_t fake_backend_count(const FakeBackend *fake, FakeOp op) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < fake->call_count; i++) {
        count += fake->calls[i] == op;
    }
    return count;
}

Weights *fake_weights(void) {
    Weights *weights;
    Error error;
    WeightsOptions options = {.level = LEVEL_BF16, .threads = 1};
    cr_assert_eq(weights_open("synthetic:tiny", &options, &weights, &error), OK, "%s", error.text);
    return weights;
}
