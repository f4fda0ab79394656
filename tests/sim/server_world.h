// SPDX-License-Identifier: Apache-2.0
// One simulated run of the whole server but its sockets: sessions, service, stepper and scheduler
// as they are, real prompts and pictures, random clients that behave badly in every way they can, a
// virtual clock and an engine of hashes. What must hold whatever they do: a request that was
// accepted ends exactly once, with the tokens it gets alone; the one who sends rubbish harms
// nobody; a connection's end frees all it had; at the end nothing is held. What is wrong stops the
// program; sim.c prints the seed.
#ifndef TESTS_SIM_SERVER_WORLD_H
#define TESTS_SIM_SERVER_WORLD_H

#include "host/runtime/runtime.h"

typedef struct ServerReport {
    uint64_t connections, cut;                                               // cut by the server
    uint64_t asked, answered, refused, cancelled, expired, failed, orphaned; // of generate calls
    uint64_t tokens, steps, pictures;
    uint64_t held_most; // percent of the memory that the server may hold for clients
    double virtual_ms;
} ServerReport;

// `model` gives the tokenizer and the config; it is only read.
void server_world_run(uint64_t seed, const Runtime *model, const Bytes *pictures,
                      uint32_t picture_count, ServerReport *report);

#endif
