// SPDX-License-Identifier: Apache-2.0
// A call from acceptance to its last event: its place in the table, its turn on the prep threads,
// and the one way it ends.
#include "host/server/service_state.h"

#include "base/check.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

// ---- The tables ---------------------------------------------------------------------------------

Status served_open(Service *service, Error *error) {
    const ServiceOptions *o = &service->options;
    service->served = calloc(o->samples_max, sizeof *service->served);
    service->samples = calloc(o->samples_max, sizeof *service->samples);
    if (service->served == NULL || service->samples == NULL) {
        return error_set(error, E_MEMORY, "no memory for %u requests; lower them", o->samples_max);
    }
    for (uint32_t i = 0; i < o->samples_max; i++) {
        TRY(request_open(&service->served[i].request, o->media_max, error));
    }
    return OK;
}

void served_close(Service *service) {
    REQUIRE(service->served_count == 0 && service->work_count == 0);
    for (uint32_t i = 0; service->served != NULL && i < service->options.samples_max; i++) {
        request_free(&service->served[i].request, service->options.media_max);
        token_list_free(&service->served[i].work.ids);
    }
    for (uint32_t i = 0; i < service->samples_used; i++) {
        answer_free(&service->samples[i].answer);
    }
    free(service->served);
    free(service->samples);
}

static Sample *served_take_sample(Service *service) {
    Sample *sample = service->samples_free;
    if (sample != NULL) {
        service->samples_free = sample->next;
        return sample;
    }
    REQUIRE(service->samples_used < service->options.samples_max);
    sample = &service->samples[service->samples_used];
    sample->tag = service->samples_used++;
    return sample;
}

static ServedCall *served_take_call(Service *service) {
    ServedCall *call = service->served_free;
    if (call != NULL) {
        service->served_free = call->next;
        return call;
    }
    REQUIRE(service->served_used < service->options.samples_max);
    call = &service->served[service->served_used];
    call->number = service->served_used++;
    return call;
}

static void served_add_samples(Service *service, ServedCall *call, uint32_t count) {
    Sample **end = &call->samples;
    for (uint32_t n = 0; n < count; n++) {
        Sample *sample = served_take_sample(service);
        *sample = (Sample){.call = call, .tag = sample->tag, .index = n, .answer = sample->answer};
        *end = sample;
        end = &sample->next;
    }
}

ServedCall *served_take(Service *service, uint32_t samples) {
    ServedCall *call = served_take_call(service);
    *call = (ServedCall){
        .number = call->number,
        .generation = call->generation,
        .request = call->request,
        .work = {.tag = call->number, .request = &call->request, .ids = call->work.ids},
        .id = ++service->next_id,
        .queued = true,
    };
    served_add_samples(service, call, samples);
    service->served_count++;
    return call;
}

static void served_give_back(Service *service, ServedCall *call) {
    Sample **end = &call->samples;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = service->samples_free;
    service->samples_free = call->samples;
    call->samples = NULL;
    call->state = SERVED_FREE;
    call->generation++;
    call->next = service->served_free;
    service->served_free = call;
    service->served_count--;
}

Session *served_session(Service *service, const ServedCall *call) {
    return connections_session(&service->connections, call->connection,
                               call->connection_generation);
}

// ---- The prep threads ---------------------------------------------------------------------------

void served_wait(Service *service, ServedCall *call) {
    call->state = SERVED_WAITING;
    turns_wait(&service->turns, call);
}

void served_start_work(Service *service) {
    while (service->turns.waiting > 0 && service->work_count < service->options.work_max) {
        ServedCall *call = turns_take(&service->turns);
        call->state = SERVED_PREPARING;
        call->request.unwanted = false;
        call->prepare_ms = service->now_ms;
        service->work_count++;
        service->options.ports.work(service->options.ports.context, &call->work);
    }
}

// ---- Ending -------------------------------------------------------------------------------------

void served_settle(Service *service, ServedCall *call) {
    call->state = SERVED_SETTLED;
    call->next = service->settled;
    service->settled = call;
}

void served_cancel_sample(Service *service, const Sample *sample) {
    const StepperCommand cancel = {.kind = STEPPER_CANCEL, .tag = sample->tag};
    service->options.ports.command(service->options.ports.context, &cancel);
}

void served_end(Service *service, ServedCall *call, DoneReason reason, Status status,
                const char *detail) {
    if (call->ending || call->state == SERVED_SETTLED) {
        return;
    }
    call->ending = true;
    call->ending_reason = reason;
    call->status = status;
    call->request.unwanted = true; // a prep thread that has it gives it back soon
    snprintf(call->detail, sizeof call->detail, "%s", detail != NULL ? detail : "");
    if (call->state == SERVED_WAITING) {
        turns_leave(&service->turns, call);
        served_settle(service, call);
        return;
    }
    for (const Sample *sample = call->samples; sample != NULL; sample = sample->next) {
        if (sample->stepping) {
            served_cancel_sample(service, sample);
        }
    }
}

static DoneEvent served_done(const Service *service, const ServedCall *call) {
    DoneEvent done = {
        .status = call->status,
        .detail = call->detail[0] != '\0' ? call->detail : NULL,
        .output_tokens = call->output_tokens,
        .prepare_ms = (double)served_span_ms(call->received_ms, call->prepared_ms),
        .queue_ms = (double)served_span_ms(call->prepared_ms, call->begun_ms),
        .first_token_ms = (double)served_span_ms(call->received_ms, call->first_ms),
        .total_ms = (double)served_span_ms(call->received_ms, service->now_ms),
    };
    if (call->prepared_ms > 0) {
        done.prompt_tokens = call->request.prompt.token_count;
        done.image_tokens = call->request.prompt.image_token_count;
    }
    for (const Sample *sample = call->samples; sample != NULL; sample = sample->next) {
        done.reasons[sample->index] = sample->answered ? sample->reason : call->ending_reason;
        done.cached_tokens[sample->index] = sample->cached_tokens;
    }
    return done;
}

static void served_log_done(const Service *service, const ServedCall *call, DoneReason worst,
                            const DoneEvent *done) {
    log_event(LOG_INFO, "done",
              "request=%" PRIu64 " connection=%u stream=%" PRIu64
              " user=%s reason=%s status=%s prompt_tokens=%u "
              "image_tokens=%u cached_tokens=%u output_tokens=%u prepare_ms=%.0f queue_ms=%.0f "
              "first_token_ms=%.0f total_ms=%.0f",
              call->id, call->connection, call->call->ticket,
              users_at(service->users, call->demand.user)->name, done_reason_name(worst),
              status_name(done->status), done->prompt_tokens, done->image_tokens,
              done->cached_tokens[0], done->output_tokens, done->prepare_ms, done->queue_ms,
              done->first_token_ms, done->total_ms);
}

static void served_answer_generate(Service *service, const ServedCall *call) {
    DoneEvent done = served_done(service, call);
    served_log_done(service, call, counts_done(service, call, &done), &done);
    Session *session = served_session(service, call);
    if (session != NULL) {
        session_done(session, call->call->ticket, &done);
    }
}

static void served_answer_tokenize(Service *service, const ServedCall *call) {
    const TokenList *list = &call->work.ids;
    const Request *request = &call->request;
    Session *session = served_session(service, call);
    if (session == NULL) {
        return;
    }
    if (call->ending) { // the server is draining
        session_error(session, call->call->ticket, call->status, NULL, 0);
    } else if (request->status != OK) {
        session_error(session, call->call->ticket, request->status, request->error.text, 0);
    } else {
        Buffer *out = &service->scratch;
        buffer_clear(out);
        result_put_ids(out, list->ids, list->count);
        session_result(session, call->call->ticket, out);
    }
}

// The last event of a call, and its memory back.
static void served_finish(Service *service, ServedCall *call) {
    if (call->work.kind == WORK_TOKENIZE) {
        served_answer_tokenize(service, call);
        token_list_free(&call->work.ids); // a text may have millions: not kept from use to use
    } else {
        served_answer_generate(service, call);
    }
    admission_ended(&service->admission, &call->demand, call->queued);
    for (uint32_t i = 0; i < call->blob_count; i++) {
        blobs_drop(&service->blobs, call->blobs[i]);
    }
    for (uint32_t i = 0; i < service->options.media_max; i++) {
        request_media_free(&call->request.media[i]); // megabytes: not kept either
    }
    call_free(call->call);
    call->call = NULL;
    served_give_back(service, call);
}

void served_settle_all(Service *service) {
    while (service->settled != NULL) {
        ServedCall *call = service->settled;
        service->settled = call->next;
        served_finish(service, call);
    }
}
