// SPDX-License-Identifier: Apache-2.0
// The promises about serving that can be measured from outside a running server.
#ifndef BENCH_SERVE_BARS_H
#define BENCH_SERVE_BARS_H

#include "bench/load.h"

// One bar by its name, or E_ARGUMENT; `load` says server, pictures and users, `pid` is the server's
// process (0: not known). *good says whether the bar is met.
Status serve_bar(const char *name, const LoadOptions *load, int pid, bool *good, Error *error);

#endif
