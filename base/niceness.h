// SPDX-License-Identifier: Apache-2.0
// How much a thread stands back behind others when there are fewer processors than threads that
// want one: steps of Unix niceness, of which each gives about 1.25 times the share of the next.
#ifndef BASE_NICENESS_H
#define BASE_NICENESS_H

// Of the calling thread alone, and for good: without privileges there is no way back. What it
// starts later inherits it. Nothing happens for 0 steps, and where a thread has no niceness of its
// own (outside Linux).
void niceness_add(int steps);

int niceness_get(void); // of the calling thread

#endif
