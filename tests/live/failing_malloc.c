// SPDX-License-Identifier: Apache-2.0
// A library for LD_PRELOAD under which one allocation of a program fails, as when memory is used
// up. TESSERA_TEST_ALLOCATIONS names a file of two numbers of 64 bits that the test and the program
// share: which allocation is to fail (0: none, and nothing is counted), and how many were counted.
// Every thread's count, and those of the libraries the program calls.
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct Control {
    _Atomic uint64_t fail_at, count;
} Control;

// The C library's own, under the names it keeps for this purpose.
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

static Control *control;

__attribute__((constructor)) static void failing_malloc_begin(void) {
    const char *path = getenv("TESSERA_TEST_ALLOCATIONS");
    int file = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file >= 0) {
        void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        control = map != MAP_FAILED ? map : NULL;
        close(file);
    }
}

static bool failing_malloc_fails(void) {
    uint64_t fail_at = control != NULL ? atomic_load(&control->fail_at) : 0;
    if (fail_at == 0 || atomic_fetch_add(&control->count, 1) + 1 != fail_at) {
        return false;
    }
    errno = ENOMEM;
    return true;
}

void *malloc(size_t bytes) {
    return failing_malloc_fails() ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes) {
    return failing_malloc_fails() ? NULL : __libc_calloc(count, bytes);
}

void *realloc(void *old, size_t bytes) {
    return failing_malloc_fails() ? NULL : __libc_realloc(old, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes) {
    return failing_malloc_fails() ? NULL : __libc_memalign(alignment, bytes);
}
