// SPDX-License-Identifier: Apache-2.0
#include "host/request/request_media.h"

#include <stdlib.h>

uint32_t request_media_rows(const RequestMedia *media) {
    return media->kind == MEDIA_SOUND ? media->frame_count : media->patches.count;
}

void request_media_free(RequestMedia *media) {
    patches_free(&media->patches);
    free(media->samples);
    *media = (RequestMedia){0};
}

ChatMedia request_media_chat(const RequestMedia *media) {
    static const ChatPartKind kinds[MEDIA_KIND_COUNT] = {
        [MEDIA_PICTURE] = CHAT_IMAGE, [MEDIA_SOUND] = CHAT_AUDIO, [MEDIA_FILM_FRAME] = CHAT_VIDEO};
    return (ChatMedia){.kind = kinds[media->kind],
                       .token_count = request_media_rows(media),
                       .seconds = media->seconds,
                       .film_goes_on = media->film_goes_on};
}

SequenceMedia request_media_span(const RequestMedia *media, uint32_t position) {
    return (SequenceMedia){
        .kind = media->kind,
        .position_first = position,
        .row_count = request_media_rows(media),
        .pixels = media->patches.pixels,
        .positions = media->patches.positions,
        .samples = media->samples,
        .name = media->name,
    };
}
