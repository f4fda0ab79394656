// SPDX-License-Identifier: Apache-2.0
#include "tests/simt/fiber.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifndef __x86_64__
#error "the fiber switch is written for x86-64"
#endif

// Saves the callee-saved registers on the old stack, stores its pointer, takes the new one.
extern "C" void fiber_switch(void **save, void *load);
__asm__(".text\n"
        ".globl fiber_switch\n"
        ".type fiber_switch, @function\n"
        "fiber_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size fiber_switch, .-fiber_switch\n"
        ".section .note.GNU-stack,\"\",@progbits\n"
        ".text\n");

static void *scheduler_pointer;
static void (*start_entry)(void *);
static void *start_argument;
#if defined(__SANITIZE_ADDRESS__)
static const void *scheduler_bottom;
static size_t scheduler_bytes;
static void *scheduler_fake;
#endif

void fiber_stacks_open(Fiber *fibers, int count) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t each = FIBER_STACK_BYTES + page;
    void *memory = mmap(NULL, each * (size_t)count, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        perror("simt: no memory for fiber stacks");
        exit(1);
    }
    for (int i = 0; i < count; i++) {
        unsigned char *base = (unsigned char *)memory + each * (size_t)i;
        mprotect(base, page, PROT_NONE);
        fibers[i] = {nullptr, base + page, nullptr};
    }
}

static void fiber_first(void) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_bottom, &scheduler_bytes);
#endif
    start_entry(start_argument);
    abort(); // an entry that returns is a mistake of the emulator
}

void fiber_start(Fiber *fiber, void (*entry)(void *), void *argument) {
    start_entry = entry; // the same for all fibers of a launch
    start_argument = argument;
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(fiber->stack, FIBER_STACK_BYTES);
    fiber->fake_stack = nullptr;
#endif
    void **top = (void **)(fiber->stack + FIBER_STACK_BYTES);
    *--top = nullptr; // keeps the stack 16-byte aligned at the call boundary
    *--top = (void *)fiber_first;
    for (int i = 0; i < 6; i++) {
        *--top = nullptr;
    }
    fiber->stack_pointer = top;
}

void fiber_resume(Fiber *fiber) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&scheduler_fake, fiber->stack, FIBER_STACK_BYTES);
#endif
    fiber_switch(&scheduler_pointer, fiber->stack_pointer);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(scheduler_fake, nullptr, nullptr);
#endif
}

void fiber_leave(Fiber *fiber, bool ends) {
    (void)ends;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(ends ? nullptr : &fiber->fake_stack, scheduler_bottom,
                                   scheduler_bytes);
#endif
    fiber_switch(&fiber->stack_pointer, scheduler_pointer);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fiber->fake_stack, &scheduler_bottom, &scheduler_bytes);
#endif
}
