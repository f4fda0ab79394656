// SPDX-License-Identifier: Apache-2.0
// What is kept of a call that was let in, and of each of its answers. Two tables, with a place for
// every sample that may be here (a call has one sample at least): a ServedCall's number names it to
// the session and to the prep threads, a Sample's number is the stepper's tag.
//
//   ServedCall   FREE -> WAITING -> PREPARING -> STEPPING -> SETTLED -> FREE
//                           |           |           |           ^
//                           +-----------+-----------+-----------+
//                           marked `ending`; settled when it is given back
//
//   Sample       FREE -> of a call -> stepping -> back -> FREE, with its call
//                                     answered: its reason is final
#ifndef HOST_SERVER_SERVED_H
#define HOST_SERVER_SERVED_H

#include "host/request/prep_work.h"
#include "host/server/admission.h"
#include "host/server/blobs.h"
#include "host/step/stepper.h"
#include "rpc/calls.h"
#include "rpc/results.h"

typedef struct ServedCall ServedCall;
typedef struct Sample Sample;

struct Sample {
    ServedCall *call;
    Sample *next;   // of the call's samples; in the free list
    uint32_t tag;   // its place in the table
    uint32_t index; // 0 .. n-1
    bool stepping;  // with the stepper
    bool answered;  // reason is final; what still comes is ignored
    DoneReason reason;
    uint32_t cached_tokens;   // of the prompt, that were not computed for it
    uint64_t first_ms;        // of its first token, 0 = none yet
    SequenceRequest sequence; // what the stepper borrows
    Answer answer;            // its memory is kept from use to use
};

typedef enum ServedState {
    SERVED_FREE,
    SERVED_WAITING,   // for a prep thread
    SERVED_PREPARING, // with one
    SERVED_STEPPING,  // samples are with the stepper
    SERVED_SETTLED,   // to be answered and freed at the end of this input
} ServedState;

struct ServedCall {
    ServedState state;
    uint32_t number;     // its place in the table
    uint32_t generation; // counts uses, so that a late cancel of the last one does nothing
    ServedCall *next;    // in the free list, the user's waiting list, or the settled list
    Sample *samples;     // in order of their index; none of a tokenize call
    uint32_t stepping_count;
    uint64_t id; // for the log
    uint32_t connection, connection_generation;

    Call *call;
    Demand demand;
    Blob **blobs; // [blob_count] held, in the call's arena
    uint32_t blob_count;
    const Question *question; // in the call's arena; of a tokenize call NULL
    Request request;          // its pictures and its prompt; their memory is kept from use to use
    PrepWork work;

    bool queued; // no token has come yet
    bool ending;
    DoneReason ending_reason; // of samples that have not ended otherwise
    Status status;            // why a sample has DONE_ERROR
    char detail[STEPPER_TEXT_MAX];
    uint32_t output_tokens;
    uint64_t deadline_ms;                          // 0 = none
    uint64_t received_ms, prepare_ms, prepared_ms; // arrived, a prep thread began, it ended
    uint64_t begun_ms, first_ms;                   // in the batch, first token; 0 = not yet
};

// Between two moments; 0 when one of them has not come.
static inline uint64_t served_span_ms(uint64_t from_ms, uint64_t to_ms) {
    return from_ms > 0 && to_ms > from_ms ? to_ms - from_ms : 0;
}

#endif
