// SPDX-License-Identifier: Apache-2.0
#include "host/asking/remote_runner.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json_write.h"
#include "base/num.h"
#include "host/interrupt.h"
#include "host/media/media.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    REMOTE_WAIT_MS = 100,                 // how soon an interruption is noticed
    REMOTE_OUTPUT_MAX = 64 * 1024 * 1024, // pictures waiting to be written
    REMOTE_MESSAGE_ROOM = 64 * 1024,      // of a message, for all but pictures and texts
    REMOTE_WHOLE_TOKENS_MAX = 32 * 1024,  // of an answer that the server holds until it is whole
};

typedef enum SlotState { SLOT_FREE, SLOT_ASKED, SLOT_STREAM, SLOT_LATER } SlotState;

typedef struct Slot {
    Request request;
    SlotState state;
    uint32_t call;                   // SLOT_ASKED
    uint64_t stream;                 // SLOT_STREAM
    uint64_t again_ns;               // SLOT_LATER
    Buffer text, thoughts, logprobs; // of a stream
} Slot;

typedef struct RemoteRunner {
    const RemoteRunnerOptions *options;
    RemoteRunnerStats *stats;
    Slot *slots;
    uint32_t slot_count, busy_count;
    Buffer files;    // of the request being asked, one after the other
    Bytes *images;   // [image_capacity]
    CallPart *parts; // [image_capacity + 2]
    uint32_t image_capacity;
    bool dry, stopped;
} RemoteRunner;

// ---- Asking -------------------------------------------------------------------------------------

static void runner_end(RemoteRunner *runner, Slot *slot) {
    slot->request.finished_ns = clock_ns();
    slot->state = SLOT_FREE;
    runner->busy_count--;
    if (!runner->stopped && !runner->options->finished(runner->options->context, &slot->request)) {
        runner->stopped = true;
    }
}

static Status runner_fit(RemoteRunner *runner, uint32_t image_count, Error *error) {
    if (runner->parts == NULL || image_count > runner->image_capacity) {
        Bytes *images = realloc(runner->images, (image_count + 1) * sizeof *images);
        runner->images = images != NULL ? images : runner->images;
        CallPart *parts = realloc(runner->parts, (image_count + 2) * sizeof *parts);
        runner->parts = parts != NULL ? parts : runner->parts;
        if (images == NULL || parts == NULL) {
            return error_set(error, E_MEMORY, "no memory for %u pictures", image_count);
        }
        runner->image_capacity = image_count;
    }
    return OK;
}

// A message cannot hold an empty picture; this says what every other way of asking says of it.
static Status runner_refuse_empty(const char *path, Error *error) {
    const MediaLimits limits = media_limits_default();
    ImageInfo info;
    Status status = media_probe((Bytes){0}, &limits, &info, error);
    return error_prefix(error, status, "%s", path);
}

// Reads the pictures and their hash. What is asked must fit the server's messages.
static Status runner_read(RemoteRunner *runner, Request *request, Error *error) {
    uint64_t room = runner->options->remote->message_bytes - REMOTE_MESSAGE_ROOM;
    request->content[0] = '\0';
    buffer_clear(&runner->files);
    if (request->fault != NULL) {
        return error_set(error, request->fault->status, "%s", request->fault->text);
    }
    TRY(runner_fit(runner, request->image_count, error));
    for (uint32_t i = 0; i < request->image_count; i++) {
        size_t begin = runner->files.length;
        uint64_t most = num_min(media_limits_default().file_bytes_max, room - begin);
        Status status = file_read(request->image_paths[i], most, &runner->files, error);
        if (status != OK) {
            request->content[0] = '\0';
            return status;
        }
        Bytes file = {runner->files.data + begin, runner->files.length - begin};
        request_add_content(request, file, i);
        if (file.length == 0) {
            return runner_refuse_empty(request->image_paths[i], error);
        }
        runner->images[i] = (Bytes){NULL, file.length};
    }
    size_t at = 0;
    for (uint32_t i = 0; i < request->image_count; i++) { // the buffer does not move any more
        runner->images[i].data = runner->files.data + at;
        at += runner->images[i].length;
    }
    return OK;
}

static CallSampling runner_sampling(const Sampling *sampling) {
    return (CallSampling){
        .temperature = (double)sampling->temperature,
        .top_k = sampling->top_k,
        .top_p = (double)sampling->top_p,
        .min_p = (double)sampling->min_p,
        // The float is a little less than the least that is allowed, and no other float is nearer.
        .repetition_penalty =
            fmax((double)sampling->repetition_penalty, CALL_REPETITION_PENALTY_MIN),
    };
}

// Long answers come in pieces even when nobody looks at them: the server holds half a mebibyte.
static bool runner_streams(const RemoteRunner *runner, const Question *question) {
    return runner->options->text != NULL || question->sampling.logprobs > 0 ||
           question->new_tokens_max > REMOTE_WHOLE_TOKENS_MAX;
}

static void runner_send(RemoteRunner *runner, Slot *slot) {
    const Question *question = slot->request.question;
    CallMessage messages[2];
    GenerateCall call =
        generate_question(question->system != NULL ? bytes_of_text(question->system) : (Bytes){0},
                          bytes_of_text(question->text), runner->images, slot->request.image_count,
                          messages, runner->parts);
    call.sampling = runner_sampling(&question->sampling);
    call.seed = question->sampling.seed;
    call.max_tokens = question->new_tokens_max;
    memcpy(call.stops, question->stops, question->stop_count * sizeof *call.stops);
    call.stop_count = question->stop_count;
    call.budget = question->budget;
    call.logprobs = question->sampling.logprobs;
    call.batch = runner->options->batch;
    call.stream = runner_streams(runner, question);
    call.thinking = question->thinking;
    slot->call = client_generate(runner->options->remote->client, &call);
    slot->state = SLOT_ASKED;
}

// Reads the pictures and asks; what cannot be read ends here.
static void runner_ask(RemoteRunner *runner, Slot *slot) {
    Request *request = &slot->request;
    request->error = (Error){0};
    request->status = runner_read(runner, request, &request->error);
    request->unwanted = runner->options->wanted != NULL &&
                        !runner->options->wanted(runner->options->context, request);
    request->prepared_ns = clock_ns();
    if (request->unwanted || request->status != OK) {
        runner_end(runner, slot);
    } else {
        runner_send(runner, slot);
    }
}

static void runner_begin(RemoteRunner *runner, Slot *slot) {
    if (!runner->options->next(runner->options->context, &slot->request)) {
        runner->dry = true;
        return;
    }
    slot->request.started_ns = clock_ns();
    buffer_clear(&slot->text);
    buffer_clear(&slot->thoughts);
    buffer_clear(&slot->logprobs);
    runner->busy_count++;
    runner_ask(runner, slot);
}

static bool runner_has_room(const RemoteRunner *runner) {
    return client_output(runner->options->remote->client).length < REMOTE_OUTPUT_MAX;
}

static void runner_ask_all(RemoteRunner *runner) {
    uint64_t now = clock_ns();
    for (uint32_t i = 0; i < runner->slot_count && runner_has_room(runner); i++) {
        Slot *slot = &runner->slots[i];
        if (slot->state == SLOT_LATER && now >= slot->again_ns) {
            runner_ask(runner, slot);
        }
        while (slot->state == SLOT_FREE && !runner->dry && !runner->stopped) {
            runner_begin(runner, slot);
        }
    }
}

// ---- Answers ------------------------------------------------------------------------------------

static Slot *runner_find(RemoteRunner *runner, const ClientEvent *event) {
    bool by_call = event->kind == CLIENT_RESULT || event->kind == CLIENT_REFUSED;
    for (uint32_t i = 0; i < runner->slot_count; i++) {
        Slot *slot = &runner->slots[i];
        if (by_call ? slot->state == SLOT_ASKED && slot->call == event->call
                    : slot->state == SLOT_STREAM && slot->stream == event->stream) {
            return slot;
        }
    }
    return NULL;
}

static void write_choice(JsonWriter *json, MsgMap *choice) {
    json_write_unsigned(json, "id", (uint64_t)msg_int(choice, "id", 0, INT32_MAX, 0));
    json_write_text(json, "text", msg_text(choice, "text", SIZE_MAX, (Bytes){0}));
    json_write_real(json, "logprob", msg_real(choice, "logprob", -INFINITY, INFINITY, 0), 7);
}

// The array as JSON, as answer_logprobs has it; brackets are the caller's.
static void write_logprobs(Buffer *out, const msgpack_object *logprobs) {
    MsgReader reader = {0};
    JsonWriter json = {.out = out, .comma = out->length > 0};
    const MsgArray tokens = {&reader, "logprobs", logprobs->via.array.ptr,
                             logprobs->via.array.size};
    for (uint32_t i = 0; i < tokens.count; i++) {
        MsgMap token = msg_item_map(&tokens, i);
        MsgArray top = msg_array(&token, "top", "top", CALL_LOGPROBS_MAX);
        json_write_open(&json, NULL, '{');
        write_choice(&json, &token);
        json_write_open(&json, "top", '[');
        for (uint32_t k = 0; k < top.count; k++) {
            MsgMap choice = msg_item_map(&top, k);
            json_write_open(&json, NULL, '{');
            write_choice(&json, &choice);
            json_write_close(&json, '}');
        }
        json_write_close(&json, ']');
        json_write_close(&json, '}');
    }
}

static void runner_piece(RemoteRunner *runner, Slot *slot, const ClientPiece *piece) {
    const RemoteRunnerOptions *options = runner->options;
    buffer_append(&slot->text, piece->text.data, piece->text.length);
    buffer_append(&slot->thoughts, piece->thoughts.data, piece->thoughts.length);
    if (piece->logprobs != NULL) {
        write_logprobs(&slot->logprobs, piece->logprobs);
    }
    bool wanted = true;
    if (options->text != NULL && piece->thoughts.length > 0) {
        wanted = options->text(options->context, &slot->request, ANSWER_THOUGHT, piece->thoughts);
    }
    if (options->text != NULL && piece->text.length > 0) {
        wanted =
            options->text(options->context, &slot->request, ANSWER_TEXT, piece->text) && wanted;
    }
    runner->stopped = runner->stopped || !wanted;
}

static Status runner_take_over(Slot *slot, const ClientSample *sample) {
    Request *request = &slot->request;
    bool stop = bytes_equal(sample->reason, bytes_of_text("stop"));
    Buffer json = {0};
    if (slot->logprobs.length > 0) {
        buffer_append_byte(&json, '[');
        buffer_append(&json, slot->logprobs.data, slot->logprobs.length);
        buffer_append_byte(&json, ']');
    }
    Status status = answer_take_over(&request->answer, (Bytes){slot->text.data, slot->text.length},
                                     (Bytes){slot->thoughts.data, slot->thoughts.length},
                                     (Bytes){json.data, json.length}, sample->token_count,
                                     stop ? "stop" : "length", &request->error);
    buffer_free(&json);
    return status;
}

// The server numbers pictures ("picture 2: ..."), people have their names.
static void runner_name_picture(Request *request, const Error *fault) {
    unsigned number;
    int length = 0;
    request->status = fault->status;
    if (sscanf(fault->text, "picture %u: %n", &number, &length) == 1 && length > 0 && number >= 1 &&
        number <= request->image_count) {
        error_set(&request->error, fault->status, "%s: %s", request->image_paths[number - 1],
                  fault->text + length);
    } else {
        request->error = *fault;
    }
}

// Whether an error is about one request alone. Anything else is the server's or the connection's,
// and would meet every other request too.
static bool runner_is_own(Status status) {
    return status == E_MEMORY ||
           (status_class(status) == STATUS_CALLER && status != E_CANCELLED && status != E_ARGUMENT);
}

static Status runner_fault(RemoteRunner *runner, Slot *slot, const Error *fault, Error *error) {
    if (!runner_is_own(fault->status)) {
        return error_set(error, fault->status, "%s", fault->text);
    }
    runner_name_picture(&slot->request, fault);
    runner_end(runner, slot);
    return OK;
}

static Status runner_done(RemoteRunner *runner, Slot *slot, const ClientEvent *event,
                          Error *error) {
    Request *request = &slot->request;
    const ClientSample *sample = &event->samples[0];
    if (event->error.status != OK) {
        return runner_fault(runner, slot, &event->error, error);
    }
    if (event->sample_count != 1 || (!bytes_equal(sample->reason, bytes_of_text("stop")) &&
                                     !bytes_equal(sample->reason, bytes_of_text("length")))) {
        return error_set(error, E_CANCELLED, "the server ended an answer that was not whole");
    }
    runner_piece(runner, slot, &sample->piece);
    request->status = runner_take_over(slot, sample);
    request->prompt.token_count = (uint32_t)event->usage.prompt_tokens;
    request->prompt.image_token_count = (uint32_t)event->usage.image_tokens;
    runner->stats->tokens_in += event->usage.prompt_tokens;
    runner->stats->tokens_out += event->usage.output_tokens;
    runner_end(runner, slot);
    return OK;
}

static Status runner_refused(RemoteRunner *runner, Slot *slot, const ClientEvent *event,
                             Error *error) {
    if (event->retry_after_ms == 0) {
        return runner_fault(runner, slot, &event->error, error);
    }
    slot->state = SLOT_LATER;
    slot->again_ns = clock_ns() + (uint64_t)event->retry_after_ms * 1000000;
    return OK;
}

static Status runner_event(RemoteRunner *runner, const ClientEvent *event, Error *error) {
    if (event->kind == CLIENT_GOODBYE) {
        return error_set(error, event->error.status, "%s", event->error.text);
    }
    Slot *slot = runner_find(runner, event);
    if (slot == NULL) {
        return OK; // of a call that was not made here
    }
    switch (event->kind) {
    case CLIENT_RESULT:
        slot->state = SLOT_STREAM;
        slot->stream = event->stream;
        break;
    case CLIENT_REFUSED:
        return runner_refused(runner, slot, event, error);
    case CLIENT_TOKEN:
        runner_piece(runner, slot, &event->piece);
        break;
    default:
        return runner_done(runner, slot, event, error);
    }
    return OK;
}

// ---- The loop -----------------------------------------------------------------------------------

static Status runner_pump(RemoteRunner *runner, Error *error) {
    Remote *remote = runner->options->remote;
    ClientEvent event;
    Status status = OK;
    TRY(socket_pump(&remote->socket, remote->client, REMOTE_WAIT_MS, error));
    while (!runner->stopped && client_next(remote->client, &event, &status, error)) {
        TRY(runner_event(runner, &event, error));
    }
    return status;
}

static Status runner_loop(RemoteRunner *runner, Error *error) {
    for (;;) {
        if (interrupt_asked() || runner->stopped) {
            return error_set(error, E_CANCELLED, "interrupted");
        }
        runner_ask_all(runner);
        if (runner->dry && runner->busy_count == 0) {
            return OK;
        }
        Status status = runner_pump(runner, error);
        if (status != OK) {
            return error_prefix(error, status, "%s", runner->options->remote->address);
        }
        if (runner->options->tick != NULL) {
            runner->options->tick(runner->options->context);
        }
    }
}

static Status runner_open(RemoteRunner *runner, Error *error) {
    const RemoteRunnerOptions *options = runner->options;
    uint64_t room = options->remote->message_bytes;
    if (room <= REMOTE_MESSAGE_ROOM) {
        return error_set(error, E_LIMIT, "%s: the server's messages are too small for pictures",
                         options->remote->address);
    }
    runner->slot_count = (uint32_t)num_min(options->in_flight, options->remote->in_flight);
    runner->slots = calloc(runner->slot_count, sizeof *runner->slots);
    return runner->slots != NULL
               ? OK
               : error_set(error, E_MEMORY, "no memory for %u requests", runner->slot_count);
}

static void runner_close(RemoteRunner *runner) {
    for (uint32_t i = 0; runner->slots != NULL && i < runner->slot_count; i++) {
        Slot *slot = &runner->slots[i];
        request_free(&slot->request, 0);
        buffer_free(&slot->text);
        buffer_free(&slot->thoughts);
        buffer_free(&slot->logprobs);
    }
    free(runner->slots);
    free(runner->images);
    free(runner->parts);
    buffer_free(&runner->files);
}

Status remote_runner_run(const RemoteRunnerOptions *options, RemoteRunnerStats *stats,
                         Error *error) {
    RemoteRunner runner = {.options = options, .stats = stats};
    *stats = (RemoteRunnerStats){0};
    Status status = runner_open(&runner, error);
    if (status == OK) {
        status = runner_loop(&runner, error);
    }
    runner_close(&runner);
    return status;
}
