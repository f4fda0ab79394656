// SPDX-License-Identifier: Apache-2.0
// A backend that computes nothing and remembers everything: which ops were called in which order,
// what was taken and given back. Any op or the wait can be made to fail.
#ifndef TESTS_UNIT_MODEL_FAKE_BACKEND_H
#define TESTS_UNIT_MODEL_FAKE_BACKEND_H

#include "model/ops.h"

typedef enum FakeOp {
#define OP(name, arguments, text) FAKE_##name,
#include "model/ops.def"
#undef OP
    FAKE_OP_COUNT
} FakeOp;

enum { FAKE_CALLS_MAX = 512 };

typedef struct FakeBackend {
    Backend backend;
    DeviceTable device; // the backend's; a test may change it before it opens an engine
    FakeOp calls[FAKE_CALLS_MAX];
    uint32_t call_count;
    uint32_t fail_at; // index of the call that fails; UINT32_MAX = none
    Status fail_with;
    bool wait_fails;
    uint32_t waits;        // for everything
    bool nothing_left;     // to draw, in any row
    uint32_t taken, given; // device allocations
    uint32_t take_limit;   // takes beyond it find no memory
    uint64_t host_bytes;   // of the host, taken for the device
    uint64_t free_bytes;   // what memory_bytes says
    uint32_t upload_count;
    uint32_t linear_rows[FAKE_CALLS_MAX]; // row_count of every linear call
    LogitScan linear_scans[FAKE_CALLS_MAX];
    uint32_t linear_count;
    uint32_t sampled;      // sequences given to `sample`, over all calls
    LogitScan sample_scan; // of the last call
} FakeBackend;

void fake_backend_open(FakeBackend *fake);
uint32_t fake_backend_count(const FakeBackend *fake, FakeOp op); // calls of one op

// The synthetic tiny model in bf16: hidden 128, 4 heads; 2 sliding layers with 2 kv heads of 32,
// then a full one with 1 kv head of 64; vocabulary 512.
Weights *fake_weights(void); // weights_close it

#endif
