// SPDX-License-Identifier: Apache-2.0
#include "host/decoder/confine.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host/decoder/call.h"

#ifndef DECODER_UNCONFINED

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "the filter of system calls needs the name of this architecture"
#endif

#define FIELD(member)               (uint32_t) offsetof(struct seccomp_data, member)
#define LOAD(member)                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, FIELD(member))
#define SKIP_UNLESS(value, skipped) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, (skipped))
#define ALLOW                       BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define KILL                        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)

#define ALWAYS(name) SKIP_UNLESS(SYS_##name, 1), ALLOW
#define ON_THE_SOCKET(name)                                                                        \
    SKIP_UNLESS(SYS_##name, 4), LOAD(args[0]), SKIP_UNLESS(DECODER_SOCKET, 1), ALLOW, KILL
#define UNLESS_EXECUTABLE(name)                                                                    \
    SKIP_UNLESS(SYS_##name, 4), LOAD(args[2]),                                                     \
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 1, 0), ALLOW, KILL

// The words of an argument that the kernel looks at lie in its lower half, which comes first on the
// architectures above. The filter holds for these numbers alone: calls of another architecture or
// of 32-bit programs end the process too.
static bool filter_calls(void) {
    struct sock_filter rules[] = {
        LOAD(arch),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
        KILL,
        LOAD(nr),
        ON_THE_SOCKET(recvmsg),
        ON_THE_SOCKET(write),
        UNLESS_EXECUTABLE(mmap),     // the shared memory, and what malloc wants
        UNLESS_EXECUTABLE(mprotect), // of malloc near its limit
        ALWAYS(munmap),
        ALWAYS(mremap),
        ALWAYS(madvise),
        ALWAYS(brk),
        ALWAYS(getrandom), // of malloc's first call
        ALWAYS(close),     // the descriptor of the shared memory
        ALWAYS(futex),     // of libwebp's initialisation
        ALWAYS(restart_syscall),
        ALWAYS(exit_group),
        KILL,
    };
    struct sock_fprog program = {.len = sizeof rules / sizeof rules[0], .filter = rules};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static bool limit(int resource, uint64_t most) {
    const struct rlimit both = {.rlim_cur = most, .rlim_max = most};
    return setrlimit((__rlimit_resource_t)resource, &both) == 0;
}

// Where memory runs out, a decoder is the process that is missed least. It is a wish.
static void end_first(void) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!write(fd, "1000", 4);
        close(fd);
    }
}

#endif

bool confine(uint64_t memory_bytes) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
        return false;
    }
#ifdef DECODER_UNCONFINED
    (void)memory_bytes;
    return true;
#else
    end_first();
    closefrom(DECODER_SOCKET + 1);
    // Not to be dumped: a core would hold a picture, and dumps through a pipe know no limit.
    return prctl(PR_SET_DUMPABLE, 0) == 0 && limit(RLIMIT_CORE, 0) && limit(RLIMIT_FSIZE, 0) &&
           limit(RLIMIT_NPROC, 0) && limit(RLIMIT_NOFILE, DECODER_SOCKET + 2) &&
           limit(RLIMIT_DATA, memory_bytes) && filter_calls();
#endif
}
