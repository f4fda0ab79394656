// SPDX-License-Identifier: Apache-2.0
// The PNG decoder of the program `tessera_failing`. With TESSERA_TEST_BLOCK it never ends before it
// is told that nobody wants the picture any more, as the worst picture of all would: one line on
// stderr when it begins and one when it is told. Without the variable it is the decoder.
#include "host/media/read.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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
