// SPDX-License-Identifier: Apache-2.0
// The conversation of a generate call as the chat template takes it, and what of a call nothing
// serves yet. Bytes of the call are pointed to, arrays are in its arena.
#ifndef HOST_SERVER_CONVERSATION_H
#define HOST_SERVER_CONVERSATION_H

#include "host/request/question.h"
#include "rpc/calls.h"

// E_UNSUPPORTED names what cannot be honoured: it is refused, never left out without a word.
Status conversation_check(const GenerateCall *call, Error *error);

// `text_bytes` becomes the length of everything in it that is text. E_MEMORY, E_BUSY, E_USER_BUSY.
Status conversation_make(Call *call, Chat *out, uint64_t *text_bytes, Error *error);

#endif
