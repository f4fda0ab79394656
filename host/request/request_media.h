// SPDX-License-Identifier: Apache-2.0
// One picture, sound or frame of a film as it was read for a request: what prompt.h puts between
// the words, and the scheduler lends to the engine. A film is many of them, one for every frame.
#ifndef HOST_REQUEST_REQUEST_MEDIA_H
#define HOST_REQUEST_REQUEST_MEDIA_H

#include "host/media/media.h"
#include "host/text/chat.h"
#include "scheduler/sched.h"

typedef struct RequestMedia {
    MediaKind kind;
    Patches patches;      // of a picture or a frame; their memory is used again
    float *samples;       // of a sound: [frame_count][audio_frame], 16 kHz, -1 .. 1; owned
    uint32_t frame_count; // of a sound
    uint32_t seconds;     // of a frame: since the beginning of its film
    bool film_goes_on;    // of a frame: the next one is of the same film
    Hash128 name;         // for the prefix cache, of the content; zero = never shared
} RequestMedia;

// In the order of the conversation.
typedef struct RequestMediaList {
    const RequestMedia *items;
    uint32_t count;
} RequestMediaList;

uint32_t request_media_rows(const RequestMedia *media); // soft tokens
void request_media_free(RequestMedia *media);

// As the conversation has it (chat.h), and as the scheduler takes it (sched.h) from a position on.
ChatMedia request_media_chat(const RequestMedia *media);
SequenceMedia request_media_span(const RequestMedia *media, uint32_t position);

#endif
