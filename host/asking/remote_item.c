// SPDX-License-Identifier: Apache-2.0
#include "host/asking/remote_item.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/num.h"
#include "host/media/media.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    REMOTE_OUTPUT_MAX = 64 * 1024 * 1024, // pictures waiting to be written
    REMOTE_WHOLE_TOKENS_MAX = 32 * 1024,  // of an answer that the server holds until it is whole
};

// ---- Asking -------------------------------------------------------------------------------------

static void remote_item_end(RemoteRun *run, RemoteItem *item) {
    item->request.finished_ns = clock_ns();
    item->state = REMOTE_FREE;
    run->busy_count--;
    if (!run->stopped && !run->calls->finished(run->calls->context, &item->request)) {
        run->stopped = true;
    }
}

static Status remote_item_fit(RemoteRun *run, uint32_t image_count, Error *error) {
    if (run->parts == NULL || image_count > run->image_capacity) {
        Bytes *images = realloc(run->images, (image_count + 1) * sizeof *images);
        run->images = images != NULL ? images : run->images;
        CallPart *parts = realloc(run->parts, (image_count + 2) * sizeof *parts);
        run->parts = parts != NULL ? parts : run->parts;
        if (images == NULL || parts == NULL) {
            return error_set(error, E_MEMORY, "no memory for %u pictures", image_count);
        }
        run->image_capacity = image_count;
    }
    return OK;
}

// A message cannot hold an empty picture; this says what every other way of asking says of it.
static Status remote_item_refuse_empty(const char *path, Error *error) {
    const MediaLimits limits = media_limits_default();
    ImageInfo info;
    Status status = media_probe((Bytes){0}, &limits, &info, error);
    return error_prefix(error, status, "%s", path);
}

// Reads a picture behind those before it.
static Status remote_item_read_source(RemoteRun *run, const RequestSource *source, uint64_t room,
                                      Error *error) {
    REQUIRE(source->path != NULL);
    if (source->fault != NULL) {
        return error_set(error, source->fault->status, "%s", source->fault->text);
    }
    Status status = request_source_check(source, error);
    if (status != OK) {
        return error_prefix(error, status, "%s", source->path);
    }
    return file_read(source->path, num_min(media_limits_default().file_bytes_max, room),
                     &run->files, error);
}

// Reads the pictures and their hash. What is asked must fit the server's messages.
static Status remote_item_read(RemoteRun *run, Request *request, Error *error) {
    uint64_t room = run->remote->message_bytes - REMOTE_MESSAGE_ROOM;
    request->content[0] = '\0';
    buffer_clear(&run->files);
    TRY(remote_item_fit(run, request->source_count, error));
    for (uint32_t i = 0; i < request->source_count; i++) {
        const RequestSource *source = &request->sources[i];
        size_t begin = run->files.length;
        Status status = remote_item_read_source(run, source, room - begin, error);
        if (status != OK) {
            request->content[0] = '\0';
            return status;
        }
        Bytes file = {run->files.data + begin, run->files.length - begin};
        request_add_content(request, file, i);
        if (file.length == 0) {
            return remote_item_refuse_empty(source->path, error);
        }
        run->images[i] = (Bytes){NULL, file.length};
    }
    size_t at = 0;
    for (uint32_t i = 0; i < request->source_count; i++) { // the buffer does not move any more
        run->images[i].data = run->files.data + at;
        at += run->images[i].length;
    }
    return OK;
}

static CallSampling remote_item_sampling(const Sampling *sampling) {
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
static bool remote_item_streams(const RemoteRun *run, const Question *question) {
    return run->calls->text != NULL || question->sampling.logprobs > 0 ||
           question->new_tokens_max > REMOTE_WHOLE_TOKENS_MAX;
}

static void remote_item_send(RemoteRun *run, RemoteItem *item) {
    const Question *question = item->request.question;
    CallMessage messages[2];
    GenerateCall call =
        generate_question(question->system != NULL ? bytes_of_text(question->system) : (Bytes){0},
                          bytes_of_text(question->text), run->images, item->request.source_count,
                          messages, run->parts);
    call.sampling = remote_item_sampling(&question->sampling);
    call.seed = question->sampling.seed;
    call.max_tokens = question->new_tokens_max;
    memcpy(call.stops, question->stops, question->stop_count * sizeof *call.stops);
    call.stop_count = question->stop_count;
    call.budget = question->budget;
    call.logprobs = question->sampling.logprobs;
    call.batch = run->batch;
    call.stream = remote_item_streams(run, question);
    call.thinking = question->chat.thinking;
    item->call = client_generate(run->remote->client, &call);
    item->state = REMOTE_ASKED;
}

// Reads the pictures and asks; what cannot be read ends here.
static void remote_item_ask(RemoteRun *run, RemoteItem *item) {
    Request *request = &item->request;
    request->error = (Error){0};
    request->status = remote_item_read(run, request, &request->error);
    request->unwanted =
        run->calls->wanted != NULL && !run->calls->wanted(run->calls->context, request);
    request->prepared_ns = clock_ns();
    if (request->unwanted || request->status != OK) {
        remote_item_end(run, item);
    } else {
        remote_item_send(run, item);
    }
}

static void remote_item_clear(RemoteItem *item) {
    item->told = false;
    answer_clear(&item->request.answer);
}

static void remote_item_begin(RemoteRun *run, RemoteItem *item) {
    if (!run->calls->next(run->calls->context, &item->request)) {
        run->dry = true;
        return;
    }
    item->request.started_ns = clock_ns();
    remote_item_clear(item);
    run->busy_count++;
    remote_item_ask(run, item);
}

static bool remote_item_has_room(const RemoteRun *run) {
    return client_output(run->remote->client).length < REMOTE_OUTPUT_MAX;
}

uint32_t remote_item_open_count(const RemoteRun *run) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < run->item_count; i++) {
        count += run->items[i].state == REMOTE_ASKED || run->items[i].state == REMOTE_STREAM;
    }
    return count;
}

// Asks what the item has to ask; true: it is with the server then.
static bool remote_item_fill(RemoteRun *run, RemoteItem *item, uint64_t now_ns) {
    bool later = item->state == REMOTE_LATER && now_ns >= item->again_ns;
    bool unused = item->state == REMOTE_FREE;
    if (later) {
        remote_item_ask(run, item);
    }
    while (item->state == REMOTE_FREE && !run->dry && !run->stopped) {
        remote_item_begin(run, item);
    }
    return (later || unused) && item->state == REMOTE_ASKED;
}

void remote_item_ask_all(RemoteRun *run) {
    uint64_t now_ns = clock_ns();
    uint32_t open_count = remote_item_open_count(run);
    for (uint32_t i = 0; i < run->item_count && !run->draining; i++) {
        if (!remote_item_has_room(run) || open_count >= run->remote->in_flight) {
            return;
        }
        open_count += remote_item_fill(run, &run->items[i], now_ns);
    }
}

bool remote_item_reset_all(RemoteRun *run) {
    bool whole = true;
    for (uint32_t i = 0; i < run->item_count; i++) {
        RemoteItem *item = &run->items[i];
        if (item->state == REMOTE_ASKED || item->state == REMOTE_STREAM) {
            whole = whole && !item->told;
            item->state = REMOTE_LATER;
            item->again_ns = 0;
            remote_item_clear(item);
        }
    }
    return whole;
}

// ---- Answers ------------------------------------------------------------------------------------

static RemoteItem *remote_item_find(RemoteRun *run, const ClientEvent *event) {
    bool by_call = event->kind == CLIENT_RESULT || event->kind == CLIENT_REFUSED;
    for (uint32_t i = 0; i < run->item_count; i++) {
        RemoteItem *item = &run->items[i];
        if (by_call ? item->state == REMOTE_ASKED && item->call == event->call
                    : item->state == REMOTE_STREAM && item->stream == event->stream) {
            return item;
        }
    }
    return NULL;
}

static AnswerChoice remote_item_choice(MsgMap *map) {
    return (AnswerChoice){
        .token = (int32_t)msg_int(map, "id", 0, INT32_MAX, 0),
        .text = msg_text(map, "text", SIZE_MAX, (Bytes){0}),
        .logprob = msg_real(map, "logprob", -INFINITY, INFINITY, 0),
    };
}

static void remote_item_logprobs(Logprobs *out, const msgpack_object *logprobs) {
    MsgReader reader = {0};
    const MsgArray tokens = {&reader, "logprobs", logprobs->via.array.ptr,
                             logprobs->via.array.size};
    for (uint32_t i = 0; i < tokens.count; i++) {
        MsgMap token = msg_item_map(&tokens, i);
        MsgArray top = msg_array(&token, "top", "top", BATCH_LOGPROBS_MAX);
        AnswerLogprob logprob = {.chosen = remote_item_choice(&token), .top_count = top.count};
        for (uint32_t k = 0; k < top.count; k++) {
            MsgMap choice = msg_item_map(&top, k);
            logprob.top[k] = remote_item_choice(&choice);
        }
        logprobs_add(out, &logprob);
    }
}

static void remote_item_piece(RemoteRun *run, RemoteItem *item, const ClientPiece *piece) {
    const AskerRun *calls = run->calls;
    Answer *answer = &item->request.answer;
    answer_add(answer, ANSWER_TEXT, piece->text);
    answer_add(answer, ANSWER_THOUGHT, piece->thoughts);
    if (piece->logprobs != NULL) {
        remote_item_logprobs(&answer->logprobs, piece->logprobs);
    }
    bool wanted = true;
    item->told =
        item->told || (calls->text != NULL && piece->text.length + piece->thoughts.length > 0);
    if (calls->text != NULL && piece->thoughts.length > 0) {
        wanted = calls->text(calls->context, &item->request, ANSWER_THOUGHT, piece->thoughts);
    }
    if (calls->text != NULL && piece->text.length > 0) {
        wanted = calls->text(calls->context, &item->request, ANSWER_TEXT, piece->text) && wanted;
    }
    run->stopped = run->stopped || !wanted;
}

// The server numbers pictures ("picture 2: ..."), people have their names.
static void remote_item_name_picture(Request *request, const Error *fault) {
    unsigned number;
    int length = 0;
    request->status = fault->status;
    if (sscanf(fault->text, "picture %u: %n", &number, &length) == 1 && length > 0 && number >= 1 &&
        number <= request->source_count) {
        error_set(&request->error, fault->status, "%s: %s", request->sources[number - 1].path,
                  fault->text + length);
    } else {
        request->error = *fault;
    }
}

// Whether an error is about one request alone. Anything else is the server's or the connection's,
// and would meet every other request too.
static bool remote_item_is_own(Status status) {
    return status == E_MEMORY ||
           (status_class(status) == STATUS_CALLER && status != E_CANCELLED && status != E_ARGUMENT);
}

static Status remote_item_fault(RemoteRun *run, RemoteItem *item, const Error *fault,
                                Error *error) {
    if (fault->status == E_DRAIN) { // what it has taken it still answers
        run->draining = true;
        item->state = REMOTE_LATER;
        item->again_ns = 0;
        return OK;
    }
    if (!remote_item_is_own(fault->status)) {
        return error_set(error, fault->status, "%s", fault->text);
    }
    remote_item_name_picture(&item->request, fault);
    remote_item_end(run, item);
    return OK;
}

static Status remote_item_done(RemoteRun *run, RemoteItem *item, const ClientEvent *event,
                               Error *error) {
    Request *request = &item->request;
    const ClientSample *sample = &event->samples[0];
    if (event->error.status != OK) {
        return remote_item_fault(run, item, &event->error, error);
    }
    bool stop = bytes_equal(sample->reason, bytes_of_text("stop"));
    if (event->sample_count != 1 ||
        (!stop && !bytes_equal(sample->reason, bytes_of_text("length")))) {
        return error_set(error, E_CANCELLED, "the server ended an answer that was not whole");
    }
    run->lost_ns = 0;
    run->try_count = 0;
    remote_item_piece(run, item, &sample->piece);
    request->status = answer_set(&request->answer, sample->token_count, stop ? "stop" : "length",
                                 &request->error);
    request->prompt.token_count = (uint32_t)event->usage.prompt_tokens;
    request->prompt.image_token_count = (uint32_t)event->usage.image_tokens;
    run->stats->tokens_in += event->usage.prompt_tokens;
    run->stats->tokens_out += event->usage.output_tokens;
    remote_item_end(run, item);
    return OK;
}

static Status remote_item_refused(RemoteRun *run, RemoteItem *item, const ClientEvent *event,
                                  Error *error) {
    if (event->retry_after_ms == 0) {
        return remote_item_fault(run, item, &event->error, error);
    }
    item->state = REMOTE_LATER;
    item->again_ns = clock_ns() + (uint64_t)event->retry_after_ms * 1000000;
    return OK;
}

Status remote_item_event(RemoteRun *run, const ClientEvent *event, Error *error) {
    if (event->kind == CLIENT_GOODBYE) {
        return error_set(error, event->error.status, "%s", event->error.text);
    }
    RemoteItem *item = remote_item_find(run, event);
    if (item == NULL) {
        return OK; // of a call that was not made here
    }
    switch (event->kind) {
    case CLIENT_RESULT:
        item->state = REMOTE_STREAM;
        item->stream = event->stream;
        break;
    case CLIENT_REFUSED:
        return remote_item_refused(run, item, event, error);
    case CLIENT_TOKEN:
        remote_item_piece(run, item, &event->piece);
        break;
    default:
        return remote_item_done(run, item, event, error);
    }
    return OK;
}

void remote_item_free(RemoteItem *item) {
    request_free(&item->request, 0);
}
