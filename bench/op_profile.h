// SPDX-License-Identifier: Apache-2.0
// A backend in front of another one that measures where a step's time goes, op by op. The engine
// does not know; results are the same.
#ifndef BENCH_OP_PROFILE_H
#define BENCH_OP_PROFILE_H

#include "model/ops.h"

typedef enum ProfileOp {
#define OP(name, arguments, text) PROFILE_##name,
#include "model/ops.def"
#undef OP
    PROFILE_head, // the linear whose rows are the vocabulary
    PROFILE_OP_COUNT
} ProfileOp;

typedef struct OpProfile {
    Backend inner;
    uint32_t vocab_count;
    uint64_t spent_ns[PROFILE_OP_COUNT];
} OpProfile;

// Fills `profile` and returns the backend to open the engine with; `inner` stays the caller's.
Backend op_profile_wrap(OpProfile *profile, const Backend *inner, uint32_t vocab_count);
void op_profile_reset(OpProfile *profile);
const char *op_profile_name(ProfileOp op);

#endif
