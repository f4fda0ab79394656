// SPDX-License-Identifier: Apache-2.0
// Where a program under test waits until the test lets it go on, so that work lasts as long as a
// test wants it to, on the fastest machine too. A gate is a fifo NAME in the folder that
// TESSERA_TEST_GATES names. A thread that comes to it adds a byte to the file NAME.came beside it.
// While the test has the fifo open for writing, each one that comes takes a byte out of it and
// waits until there is one; while nobody has, or there is no such fifo or folder, it goes on at
// once. So a test that ends leaves nobody waiting. The other side is `Gate` in live.py.
#ifndef TESTS_LIVE_GATE_H
#define TESTS_LIVE_GATE_H

void gate_pass(const char *name);

#endif
