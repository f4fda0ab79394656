// SPDX-License-Identifier: Apache-2.0
// Standard input, output and error of a program. They are open from its first line on, so that no
// file of ours gets their numbers; and what was printed is known to have arrived, or not, at its
// end. Programs call standard_open first and standard_close last.
#ifndef BASE_STANDARD_H
#define BASE_STANDARD_H

#include "base/status.h"

#include <stddef.h>

// Opens /dev/null on those of the descriptors 0, 1 and 2 that are closed.
void standard_open(void);

// Prints to standard output and hands it on at once. False, now and ever after: not all that was
// printed has arrived, and the rest need not be made.
bool standard_print(const void *text, size_t length);

// Hands on what is left and closes standard output. E_IO: not all of it arrived.
Status standard_close(Error *error);

#endif
