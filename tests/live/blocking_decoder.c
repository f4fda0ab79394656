// SPDX-License-Identifier: Apache-2.0
// The PNG and WebP decoders of the program `tessera_failing`. With TESSERA_TEST_BLOCK they never
// end before they are told that nobody wants the picture any more, as the worst picture of all
// would: one line on stderr when it begins and, of PNG, one when it is told; WebP's is killed
// (fake_decoder.c). Without the variable they are the decoders.
#include "host/media/read.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "host/media/child_start.h"

Status __real_read_png(Bytes file, const ImageInfo *info, MediaBuffer *work, RowSink *sink,
                       Error *error);
Status __wrap_read_png(Bytes file, const ImageInfo *info, MediaBuffer *work, RowSink *sink,
                       Error *error);

Status __wrap_read_png(Bytes file, const ImageInfo *info, MediaBuffer *work, RowSink *sink,
                       Error *error) {
    if (getenv("TESSERA_TEST_BLOCK") == NULL) {
        return __real_read_png(file, info, work, sink, error);
    }
    fputs("test_decoding\n", stderr);
    while (!read_unwanted(sink)) {
        usleep(1000);
    }
    fputs("test_told\n", stderr);
    return read_cancelled(error);
}

Status __real_child_start(ChildProcess *process, const char *program, uint64_t memory_bytes,
                          Error *error);
Status __wrap_child_start(ChildProcess *process, const char *program, uint64_t memory_bytes,
                          Error *error);

Status __wrap_child_start(ChildProcess *process, const char *program, uint64_t memory_bytes,
                          Error *error) {
    bool block = getenv("TESSERA_TEST_BLOCK") != NULL;
    return __real_child_start(process, block ? FAKE_DECODER : program, memory_bytes, error);
}
