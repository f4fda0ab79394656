// SPDX-License-Identifier: Apache-2.0
// A session between a client that says anything and a service that answers at odd moments. The
// first byte's lowest bit: hello has been said already. Then, byte by byte:
//   0..127    the next 1..128 bytes come from the client
//   128..255  the service, the socket or the clock does one of the things below
// Besides not crashing: everything written is whole messages of the protocol; every request is
// answered at most once, every stream has at most one `done` and no token after it; memory stays
// inside the stated bounds; a cancelled stream is reported once.
#include "base/check.h"
#include "rpc/msg.h"
#include "rpc/session.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CALLS_MAX = 64, OUTBOX_HARD = 60000, MEMORY_MAX = 2 * OUTBOX_HARD + 2 * 70000 + 40000 };

typedef struct Held {
    Call *call;
    bool accepted, cancelled, done;
} Held;

typedef struct World {
    Session *session;
    Held held[CALLS_MAX];
    uint32_t count;
    uint64_t now_ms;
    Buffer written;
    Frame frame;
} World;

static Status world_authenticate(void *context, Bytes token, SessionUser *out, Error *error) {
    (void)context;
    if (token.length > 0 && token.data[0] == 'x') {
        return error_set(error, E_AUTH, "the token is not known here");
    }
    *out = (SessionUser){.number = 1, .name = "fuzz"};
    return OK;
}

static void world_call(void *context, Session *session, Call *call) {
    World *world = context;
    if (world->count == CALLS_MAX) {
        session_error(session, call->ticket, E_BUSY, NULL, 10);
        call_free(call);
        return;
    }
    world->held[world->count++] = (Held){.call = call};
}

static void world_cancel(void *context, Session *session, uint64_t tag) {
    World *world = context;
    (void)session;
    REQUIRE(tag < world->count && world->held[tag].accepted);
    REQUIRE(!world->held[tag].cancelled && !world->held[tag].done);
    world->held[tag].cancelled = true;
}

// Everything the session writes can be read back.
static void world_read_back(World *world) {
    size_t length = 0;
    while (world->written.length > 0) {
        Bytes all = {world->written.data, world->written.length};
        Msg msg;
        REQUIRE(frame_next(&world->frame, all, &length, NULL) == OK);
        if (length == 0) {
            return;
        }
        REQUIRE(msg_open((Bytes){all.data, length}, &msg, NULL) == OK);
        REQUIRE(msg.kind != MSG_REQUEST);
        msg_close(&msg);
        memmove(world->written.data, world->written.data + length, all.length - length);
        world->written.length -= length;
    }
}

static void world_write(World *world, size_t most) {
    Bytes out = session_output(world->session);
    size_t count = out.length < most ? out.length : most;
    if (out.length > 0) {
        buffer_append(&world->written, out.data, count);
        session_written(world->session, count, world->now_ms);
        world_read_back(world);
    }
}

static void world_answer(World *world, Held *held, uint32_t choice, uint64_t tag) {
    uint8_t empty_map[] = {0x80};
    const Buffer result = {.data = empty_map, .length = sizeof empty_map, .failed = choice == 2};
    if (held->call->method == METHOD_GENERATE && choice != 0) {
        held->accepted = true;
        session_accept(world->session, held->call, tag);
    } else if (choice == 1) {
        session_error(world->session, held->call->ticket, E_CONTEXT, "too long \xff", 0);
    } else {
        session_result(world->session, held->call->ticket, &result);
    }
}

static void world_token(World *world, const Held *held, uint32_t choice) {
    static const char text[] = "some words of an answer that is not short at all";
    const int32_t ids[] = {1, 200000, 7};
    const ChoiceEvent choice_event = {.id = 1, .text = bytes_of_text("\xc3"), .logprob = -1.5};
    const LogprobEvent logprob = {choice_event, &choice_event, 1};
    const TokenEvent event = {
        .index = choice % held->call->generate.samples,
        .text = {(const uint8_t *)text, choice % sizeof text},
        .thoughts = {(const uint8_t *)text, choice % 3},
        .id = ids,
        .id_count = choice == 5 ? 3 : 1,
        .logprobs = choice == 4 ? &logprob : NULL,
    };
    session_token(world->session, held->call->ticket, &event);
}

static void world_done(World *world, Held *held, uint32_t choice) {
    DoneEvent event = {.status = choice == 2 ? E_DEVICE : OK, .total_ms = 1.0};
    for (uint32_t i = 0; i < held->call->generate.samples; i++) {
        event.reasons[i] = held->cancelled ? DONE_CANCEL : choice == 2 ? DONE_ERROR : DONE_STOP;
    }
    event.status = held->cancelled ? OK : event.status;
    bool first = !held->done;
    held->done = true;
    session_done(world->session, held->call->ticket, &event);
    if (first && choice == 3) { // a service that says it twice changes nothing
        session_done(world->session, held->call->ticket, &event);
    }
}

static void world_act(World *world, uint8_t op) {
    uint32_t choice = op & 7;
    uint32_t which = (op >> 3 & 7) % (world->count > 0 ? world->count : 1);
    Held *held = world->count > 0 ? &world->held[world->count - 1 - which] : NULL;
    bool over = session_state(world->session) == SESSION_ENDING ||
                session_state(world->session) == SESSION_DEAD;
    if (op >= 0xf8) {
        world->now_ms += (uint64_t)1 << (choice * 3);
        session_tick(world->session, world->now_ms);
    } else if (op >= 0xf0) {
        world_write(world, choice == 0 ? SIZE_MAX : choice);
    } else if (op >= 0xec) {
        session_end(world->session, E_DRAIN, NULL);
    } else if (held == NULL || over) {
        return;
    } else if (!held->accepted && op < 0xb0) {
        world_answer(world, held, choice, world->count - 1 - which);
    } else if (held->accepted && op < 0xd8) {
        world_token(world, held, choice);
    } else if (held->accepted) {
        world_done(world, held, choice);
    }
}

static void world_hello(World *world) {
    Buffer out = {0};
    msg_put_request(&out, 1, "hello");
    msg_put_map(&out, 1);
    msg_pair_uint(&out, "version", 1);
    session_receive(world->session, (Bytes){out.data, out.length}, 0);
    buffer_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    SessionLimits limits = session_limits_default();
    limits.frame.message_bytes_max = 70000;
    limits.in_flight_max = 20;
    limits.credit_first = 3;
    limits.stream_bytes_max = 2000;
    limits.outbox_high = 4000;
    limits.outbox_hard = OUTBOX_HARD;
    const SessionHandler handler = {
        .authenticate = world_authenticate, .call = world_call, .cancel = world_cancel};
    World world = {0};
    const FrameLimits written = frame_limits_default();
    frame_open(&world.frame, &written);
    if (session_open(&limits, &handler, &world, 0, &world.session, NULL) != OK) {
        return 0;
    }
    if (size > 0 && (data[0] & 1) != 0) {
        world_hello(&world);
    }
    for (size_t at = 1; at < size;) {
        uint8_t op = data[at++];
        if (op < 128) {
            size_t count = op + 1u < size - at ? op + 1u : size - at;
            session_turn(world.session, world.now_ms);
            session_receive(world.session, (Bytes){data + at, count}, world.now_ms);
            at += count;
        } else {
            world_act(&world, op);
        }
        REQUIRE(session_bytes(world.session) <= MEMORY_MAX);
        REQUIRE(session_in_flight(world.session) <= limits.in_flight_max);
    }
    session_close(world.session);
    for (uint32_t i = 0; i < world.count; i++) {
        call_free(world.held[i].call);
    }
    buffer_free(&world.written);
    return 0;
}
