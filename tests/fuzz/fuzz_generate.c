// SPDX-License-Identifier: Apache-2.0
// A client's message to the server's parser. A generate call that is taken can be written again,
// and what was written is read and written as the same bytes.
#include "base/check.h"
#include "rpc/calls.h"
#include "rpc/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// The call that the bytes are, or NULL.
static Call *open_call(Bytes bytes) {
    FrameLimits limits = frame_limits_default();
    Frame frame;
    size_t length = 0;
    Call *call = NULL;
    Error error;
    frame_open(&frame, &limits);
    if (frame_next(&frame, bytes, &length, NULL) != OK || length == 0) {
        return NULL;
    }
    Buffer message = {0};
    buffer_append(&message, bytes.data, length);
    if (call_open(&message, &call, &error) != OK) {
        call_free(call);
        return NULL;
    }
    return call;
}

static Buffer written(const Call *call) {
    Buffer message = {0};
    msg_put_request(&message, call->id, "generate");
    generate_put(&message, &call->generate);
    return message;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Call *call = open_call((Bytes){data, size});
    if (call != NULL && call->method == METHOD_GENERATE) {
        Buffer once = written(call);
        Call *again = open_call((Bytes){once.data, once.length});
        REQUIRE(again != NULL);
        Buffer twice = written(again);
        REQUIRE(bytes_equal((Bytes){once.data, once.length}, (Bytes){twice.data, twice.length}));
        buffer_free(&once);
        buffer_free(&twice);
        call_free(again);
    }
    call_free(call);
    return 0;
}
