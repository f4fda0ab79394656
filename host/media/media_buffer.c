// SPDX-License-Identifier: Apache-2.0
// Large buffers ask for huge pages: turning a picture upright writes one place in each of thousands
// of rows, more 4 KiB pages than the processor keeps translations for (a tenth of the whole time of
// a turned photograph of 12 megapixels).
#include "host/media/media_buffer.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "base/num.h"

enum { ALIGNMENT = 64, HUGE_PAGE = 2 << 20 };

Status media_buffer_reserve(MediaBuffer *buffer, uint64_t bytes, Error *error) {
    uint64_t with_slack;
    if (!num_add(bytes, MEDIA_BUFFER_SLACK + ALIGNMENT - 1, &with_slack)) {
        return error_set(error, E_MEMORY,
                         "a picture needs more memory than can be addressed; send a smaller one");
    }
    size_t alignment = with_slack >= HUGE_PAGE ? HUGE_PAGE : ALIGNMENT;
    size_t capacity = num_round_up(with_slack, alignment);
    if (capacity <= buffer->capacity) {
        return OK;
    }
    media_buffer_free(buffer);
    uint8_t *data = aligned_alloc(alignment, capacity);
    if (data == NULL) {
        return error_set(error, E_MEMORY,
                         "a picture needs %zu bytes of working memory and the system has none; "
                         "send a smaller one or lower the number of threads",
                         capacity);
    }
    if (alignment == HUGE_PAGE) {
        madvise(data, capacity, MADV_HUGEPAGE); // a wish: without it all is the same but slower
    }
    *buffer = (MediaBuffer){.data = data, .capacity = capacity};
    return OK;
}

void media_buffer_free(MediaBuffer *buffer) {
    free(buffer->data);
    *buffer = (MediaBuffer){0};
}
