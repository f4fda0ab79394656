// SPDX-License-Identifier: Apache-2.0
#include "bench/op_profile.h"

#include "base/clock.h"

#include <string.h>

#define OP(name, arguments, text)                                                                  \
    static Status profile_##name(void *context, const arguments *op) {                             \
        OpProfile *profile = context;                                                              \
        uint64_t start = clock_ns();                                                               \
        Status status = profile->inner.ops->name(profile->inner.context, op);                      \
        profile->spent_ns[PROFILE_##name] += clock_ns() - start;                                   \
        return status;                                                                             \
    }
#include "model/ops.def"
#undef OP

static Status profile_any_linear(void *context, const OpLinear *op) {
    OpProfile *profile = context;
    uint64_t before = profile->spent_ns[PROFILE_linear];
    Status status = profile_linear(context, op);
    if (op->out_columns == profile->vocab_count) {
        profile->spent_ns[PROFILE_head] += profile->spent_ns[PROFILE_linear] - before;
        profile->spent_ns[PROFILE_linear] = before;
    }
    return status;
}

static const Backend *inner_of(void *context) {
    return &((OpProfile *)context)->inner;
}

static void *forward_take(void *context, size_t bytes) {
    const Backend *inner = inner_of(context);
    return inner->device->take(inner->context, bytes);
}

static void forward_give(void *context, void *memory) {
    const Backend *inner = inner_of(context);
    inner->device->give(inner->context, memory);
}

static void *forward_take_host(void *context, size_t bytes) {
    const Backend *inner = inner_of(context);
    return inner->device->take_host(inner->context, bytes);
}

static void forward_give_host(void *context, void *memory) {
    const Backend *inner = inner_of(context);
    inner->device->give_host(inner->context, memory);
}

static Status forward_upload(void *context, void *to, const void *from, size_t bytes) {
    const Backend *inner = inner_of(context);
    return inner->device->upload(inner->context, to, from, bytes);
}

static Status forward_download(void *context, void *to, const void *from, size_t bytes) {
    const Backend *inner = inner_of(context);
    return inner->device->download(inner->context, to, from, bytes);
}

static Status forward_wait(void *context, Error *error) {
    const Backend *inner = inner_of(context);
    return inner->device->wait(inner->context, error);
}

static Status forward_mark(void *context, uint32_t mark) {
    const Backend *inner = inner_of(context);
    return inner->device->mark(inner->context, mark);
}

static Status forward_reach(void *context, uint32_t mark) {
    const Backend *inner = inner_of(context);
    return inner->device->reach(inner->context, mark);
}

static Status forward_place_matrix(void *context, const Matrix *host, Matrix *out) {
    const Backend *inner = inner_of(context);
    return inner->device->place_matrix(inner->context, host, out);
}

static Status forward_place_floats(void *context, const float *host, size_t count,
                                   const float **out) {
    const Backend *inner = inner_of(context);
    return inner->device->place_floats(inner->context, host, count, out);
}

static uint64_t forward_memory_bytes(void *context) {
    const Backend *inner = inner_of(context);
    return inner->device->memory_bytes(inner->context);
}

static const OpTable profile_ops = {
#define OP(name, arguments, text) .name = profile_##name,
#include "model/ops.def"
#undef OP
};

Backend op_profile_wrap(OpProfile *profile, const Backend *inner, uint32_t vocab_count) {
    static OpTable ops;
    static DeviceTable device;
    ops = profile_ops;
    ops.linear = profile_any_linear;
    device = (DeviceTable){.name = inner->device->name,
                           .scans = inner->device->scans,
                           .take = forward_take,
                           .give = forward_give,
                           .take_host = forward_take_host,
                           .give_host = forward_give_host,
                           .upload = forward_upload,
                           .download = forward_download,
                           .wait = forward_wait,
                           .mark = forward_mark,
                           .reach = forward_reach,
                           .kv_page_bytes = inner->device->kv_page_bytes,
                           .place_matrix = forward_place_matrix,
                           .place_floats = forward_place_floats,
                           .memory_bytes = forward_memory_bytes};
    *profile = (OpProfile){.inner = *inner, .vocab_count = vocab_count};
    return (Backend){.ops = &ops, .device = &device, .context = profile};
}

void op_profile_reset(OpProfile *profile) {
    memset(profile->spent_ns, 0, sizeof profile->spent_ns);
}

const char *op_profile_name(ProfileOp op) {
    static const char *const names[PROFILE_OP_COUNT] = {
#define OP(name, arguments, text) [PROFILE_##name] = #name,
#include "model/ops.def"
#undef OP
        [PROFILE_head] = "lm_head",
    };
    return names[op];
}
