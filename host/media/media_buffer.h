// SPDX-License-Identifier: Apache-2.0
// Growing a MediaBuffer. Internal to the room.
#ifndef HOST_MEDIA_MEDIA_BUFFER_H
#define HOST_MEDIA_MEDIA_BUFFER_H

#include "host/media/media.h"

// Vector code reads whole registers, so every buffer of pixels has this many readable bytes after
// what was asked for. They never reach a result: their weights are zero.
enum { MEDIA_BUFFER_SLACK = 64 };

// Makes room for `bytes` and MEDIA_BUFFER_SLACK more. The old content is lost when the buffer
// grows. E_MEMORY.
Status media_buffer_reserve(MediaBuffer *buffer, uint64_t bytes, Error *error);
void media_buffer_free(MediaBuffer *buffer);

#endif
