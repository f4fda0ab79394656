// SPDX-License-Identifier: Apache-2.0
// The signals of the server, from its first line to its last.
//
//   STARTING (the model opens) -> SERVING (a loop runs) -> ENDED
//   SIGHUP            remembered           wakes the loop       ignored
//   SIGTERM, SIGINT   end the process      wake the loop        ignored
//                     at once, status 0
//
// A SIGINT that is ignored when the process begins stays so: its parent wants it to go on at Ctrl-C
// (a job that a script starts with &). SIGHUP is handled even then (nohup): it asks for new users.
#ifndef HOST_SERVER_SIGNALS_H
#define HOST_SERVER_SIGNALS_H

#include <stdbool.h>

void signals_begin(void);

// From now on `wake` is called, inside the signal handler, when something has come; once for what
// came before.
void signals_serve(void (*wake)(void *context), void *context);

bool signals_take_reload(void); // was there a SIGHUP since the last call
int signals_take_end(void);     // the next SIGTERM or SIGINT, one by one; 0 = none

void signals_end(void);

#endif
