// SPDX-License-Identifier: Apache-2.0
// The program `tessera-decoder`: decodes one picture after the other for the thread that started it
// (host/media/child.h), locked in (confine.h), until that closes the socket. It never looks at a
// picture before it is locked in.
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/decoder/confine.h"
#include "host/decoder/webp.h"

typedef struct Memory {
    uint8_t *data;
    size_t length;
} Memory;

static void map(Memory *memory, int fd, size_t length) {
    if (memory->data != NULL) {
        munmap(memory->data, memory->length);
    }
    void *data = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    *memory = data == MAP_FAILED ? (Memory){0} : (Memory){.data = data, .length = length};
}

// The next call, and the memory that comes with it. False at the end.
static bool receive(DecoderCall *call, Memory *memory) {
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {.iov_base = call, .iov_len = sizeof *call};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t length = recvmsg(DECODER_SOCKET, &message, MSG_CMSG_CLOEXEC);
    if (length <= 0) {
        return false;
    }
    if (length != sizeof *call || call->form != DECODER_FORM) {
        _exit(DECODER_ENDS_OTHER_FORM);
    }
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (head != NULL && head->cmsg_type == SCM_RIGHTS) {
        int fd;
        memcpy(&fd, CMSG_DATA(head), sizeof fd);
        map(memory, fd, call->memory_bytes);
    }
    return true;
}

static DecoderAnswer decode(const DecoderCall *call, const Memory *memory) {
    uint64_t input_at, bytes;
    if (!decoder_layout(call, &input_at, &bytes) || bytes > memory->length) {
        return (DecoderAnswer){.fault = DECODER_NO_MEMORY};
    }
    Bytes input = {memory->data + input_at, call->input_length};
    switch (call->codec) {
    case DECODER_WEBP:
        return webp_decode(call, input, memory->data);
    default:
        return (DecoderAnswer){.fault = DECODER_UNSUPPORTED};
    }
}

int main(int argc, char **argv) {
    static const char help[] = "tessera-decoder is started by tessera; docs/media.md says why\n";
    if (argc != 2) {
        (void)!write(STDERR_FILENO, help, sizeof help - 1);
        return EXIT_FAILURE;
    }
    if (!confine(strtoull(argv[1], NULL, 10))) {
        return DECODER_ENDS_UNCONFINED;
    }
    DecoderCall call;
    Memory memory = {0};
    bool heard = write(DECODER_SOCKET, "", 1) == 1; // it is locked in
    while (heard && receive(&call, &memory)) {
        DecoderAnswer answer = decode(&call, &memory);
        heard = write(DECODER_SOCKET, &answer, sizeof answer) == sizeof answer;
    }
    return EXIT_SUCCESS;
}
