// SPDX-License-Identifier: Apache-2.0
// Frames and messages from anybody. Besides not crashing: a framed message is one that msgpack-c
// accepts whole, and scanning it byte by byte gives the same answer as scanning it at once.
#include "base/check.h"
#include "rpc/frame.h"
#include "rpc/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(const Msg *msg) {
    MsgReader reader = {0};
    if (msg->params == NULL) {
        return;
    }
    MsgMap map = msg_map(&reader, msg->params, "params");
    msg_int(&map, "n", -5, 5, 0);
    msg_real(&map, "t", 0, 2, 1);
    msg_text(&map, "s", 100, (Bytes){0});
    msg_binary(&map, "b", (Bytes){0});
    MsgArray array = msg_array(&map, "a", "params.a", 10);
    for (uint32_t i = 0; i < array.count; i++) {
        MsgMap item = msg_item_map(&array, i);
        msg_bool(&item, "x", false);
        msg_map_end(&item);
    }
    msg_map_end(&map);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    FrameLimits limits = frame_limits_default();
    Frame at_once, stepwise;
    frame_open(&at_once, &limits);
    frame_open(&stepwise, &limits);
    size_t length = 0, stepwise_length = 0;
    Status status = frame_next(&at_once, (Bytes){data, size}, &length, NULL);
    Status stepwise_status = OK;
    for (size_t have = 0; have <= size && stepwise_status == OK && stepwise_length == 0; have++) {
        stepwise_status = frame_next(&stepwise, (Bytes){data, have}, &stepwise_length, NULL);
    }
    REQUIRE(status == stepwise_status && length == stepwise_length);
    if (status == OK && length > 0) {
        Msg msg;
        Error error;
        if (msg_open((Bytes){data, length}, &msg, &error) == OK) {
            read_all(&msg);
            msg_close(&msg);
        } else {
            REQUIRE(error.status == E_MESSAGE);
        }
    }
    return 0;
}
