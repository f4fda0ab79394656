// SPDX-License-Identifier: Apache-2.0
// Every byte that a walk over a container reads is counted, so that no file makes a walk longer
// than it is, or than MEDIA_HEADER_BYTES_MAX.
#ifndef HOST_MEDIA_LOOK_H
#define HOST_MEDIA_LOOK_H

#include "host/media/probe.h"

static inline Status look_count(ImageInfo *info, uint64_t bytes, Error *error) {
    info->looked_at += bytes;
    if (info->looked_at > MEDIA_HEADER_BYTES_MAX) {
        return error_set(
            error, E_IMAGE_TOO_LARGE,
            "the picture file has more than %d bytes of headers; save it again without "
            "its metadata",
            MEDIA_HEADER_BYTES_MAX);
    }
    return OK;
}

#endif
