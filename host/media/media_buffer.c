// SPDX-License-Identifier: Apache-2.0
#include "host/media/media_buffer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

enum { ALIGNMENT = 64 };

Status media_buffer_reserve(MediaBuffer *buffer, uint64_t bytes, Error *error) {
    uint64_t with_slack;
    if (!num_add(bytes, MEDIA_BUFFER_SLACK + ALIGNMENT - 1, &with_slack)) {
        return error_set(error, E_MEMORY, "A picture needs more memory than can be addressed.");
    }
    size_t capacity = with_slack / ALIGNMENT * ALIGNMENT;
    if (capacity <= buffer->capacity) {
        return OK;
    }
    media_buffer_free(buffer);
    uint8_t *data = aligned_alloc(ALIGNMENT, capacity);
    if (data == NULL) {
        return error_set(error, E_MEMORY,
                         "A picture needs %zu bytes of working memory and the system has none; "
                         "lower the limit on pixels or the number of threads.",
                         capacity);
    }
    // The tail is read by vector loads before anything is written there.
    memset(data + capacity - MEDIA_BUFFER_SLACK - ALIGNMENT, 0, MEDIA_BUFFER_SLACK + ALIGNMENT);
    *buffer = (MediaBuffer){.data = data, .capacity = capacity};
    return OK;
}

void media_buffer_free(MediaBuffer *buffer) {
    free(buffer->data);
    *buffer = (MediaBuffer){0};
}
