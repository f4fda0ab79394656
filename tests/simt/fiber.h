// SPDX-License-Identifier: Apache-2.0
// Fibers: stacks with a hand-written switch, because a block has up to 1,024 threads that meet at
// every mma and ucontext's switch makes two system calls. x86-64 System V only (the emulator runs
// in CI and on developers' machines). AddressSanitizer is told about every switch.
#ifndef TESTS_SIMT_FIBER_H
#define TESTS_SIMT_FIBER_H

#include <stddef.h>

enum { FIBER_STACK_BYTES = 128 * 1024 };

typedef struct Fiber {
    void *stack_pointer;
    unsigned char *stack; // lowest address; one guard page lies below it
    void *fake_stack;     // AddressSanitizer's
} Fiber;

// Makes `count` stacks once; fibers are used again and again.
void fiber_stacks_open(Fiber *fibers, int count);

// Prepares a fiber to run entry(argument) at its next resume. `entry` must not return: it ends by
// fiber_leave(..., true).
void fiber_start(Fiber *fiber, void (*entry)(void *argument), void *argument);

// From the scheduler into a fiber, and back. `ends`: the fiber will not be resumed where it is.
void fiber_resume(Fiber *fiber);
void fiber_leave(Fiber *fiber, bool ends);

#endif
