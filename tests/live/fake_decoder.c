// SPDX-License-Identifier: Apache-2.0
// A decoder that does what the worst picture of all could make the real one do, by the codec it is
// asked for (fake_decoder.h). A WebP it never ends; one line on stderr says that it has begun.
#include "tests/live/fake_decoder.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static void act(uint32_t codec) {
    DecoderAnswer answer = {.fault = codec == FAKE_ANSWERS_NONSENSE ? 1000 : DECODER_DONE};
    volatile bool forever = true;
    switch (codec) {
    case DECODER_WEBP:
        (void)!write(STDERR_FILENO, "test_decoding\n", 14);
        while (forever) {
        }
        break;
    case FAKE_SLEEPS:
        while (forever) {
            pause();
        }
        break;
    case FAKE_CRASHES:
        __builtin_trap();
    case FAKE_IS_KILLED:
        raise(SIGKILL);
        break;
    case FAKE_ANSWERS_SHORT:
        (void)!write(DECODER_SOCKET, &answer, 3);
        break;
    case FAKE_ANSWERS_NONSENSE:
    case FAKE_ANSWERS:
        (void)!write(DECODER_SOCKET, &answer, sizeof answer);
        break;
    default:
        _exit((int)codec - FAKE_ENDS);
    }
}

int main(int argc, char **argv) {
    DecoderCall call;
    unsigned long memory = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (memory == FAKE_MEMORY_TRAPS) {
        __builtin_trap();
    }
    if (memory < FAKE_MEMORY_TRAPS) {
        _exit((int)memory);
    }
    (void)!write(DECODER_SOCKET, "", 1);
    while (recv(DECODER_SOCKET, &call, sizeof call, 0) == sizeof call) {
        act(call.codec);
    }
    return EXIT_SUCCESS;
}
