// SPDX-License-Identifier: Apache-2.0
// The accepted sockets between libuv and the service. All memory is taken at the start, so that a
// connection costs no allocation: whoever comes is accepted, and closed at once when there is no
// place for him. Lives on the loop thread.
#ifndef HOST_SERVER_PEERS_H
#define HOST_SERVER_PEERS_H

#include "host/server/service.h"

#include <uv.h>

typedef struct Peers Peers;

// Sockets there may be beyond `connections_max`: those that are being refused.
enum { PEERS_REFUSED = 64 };

// Also lets the loop's table of descriptors grow to its final size: libuv ends the process when it
// has no memory for that later. E_MEMORY, E_IO.
Status peers_open(uv_loop_t *loop, uint32_t connections_max, Peers **out, Error *error);
void peers_free(Peers *peers); // all are closed; NULL is fine

// What `listener` accepts is served from now on; returns what uv_listen returns. At most
// PEERS_LISTENERS of them.
enum { PEERS_LISTENERS = 2 };
int peers_listen(Peers *peers, Service *service, uv_stream_t *listener);
void peers_stop_listening(Peers *peers); // the listeners are being closed

// The service's output port; `context` is a Peers.
void peers_output(void *context, uint32_t connection);

// Closes the peers that have lingered long enough or have gone; with `all` every peer.
void peers_tick(Peers *peers, bool all, uint64_t now_ms);

#endif
