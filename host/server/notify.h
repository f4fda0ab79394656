// SPDX-License-Identifier: Apache-2.0
// What the service manager is told (Type=notify, sd_notify(3)): a datagram to the socket that
// NOTIFY_SOCKET names. Without the variable nothing is said; what cannot be sent is nobody's loss.
#ifndef HOST_SERVER_NOTIFY_H
#define HOST_SERVER_NOTIFY_H

void notify_send(const char *state); // "READY=1", "RELOADING=1", "STOPPING=1"

#endif
