// SPDX-License-Identifier: Apache-2.0
// Accepting a generate call: what costs nothing to know is judged first, then what it asks for is
// counted from the headers of its pictures, admission says yes or no, and only then are places
// taken. Nothing is decoded here and nothing waits.
//
// A sent picture is looked at once, a blob never (blobs.h has what is known of it): the work here
// is bounded by the bytes that were received, not by how often a call names them.
#include "host/server/service_state.h"

#include "base/check.h"
#include "base/log.h"
#include "host/server/conversation.h"

#include <inttypes.h>
#include <string.h>

enum { TEXT_BYTES_PER_TOKEN = 4, MESSAGE_TOKENS = 8, CONVERSATION_TOKENS = 16 };

// What is being accepted, before it has a place.
typedef struct Intake {
    Service *service;
    Connection *connection;
    Call *call;
    Demand demand;
    uint32_t budget;
    Chat chat;
    Question *question;
    RequestSource *sources; // [media_count]
    uint32_t source_count;
    Blob **blobs; // [blob_count] held
    uint32_t blob_count;
    uint64_t text_bytes;
    uint64_t image_tokens;
} Intake;

static Status intake_blob(Intake *in, const CallPart *part, ImageInfo *info, Bytes *file,
                          Error *error) {
    Blob *blob = blobs_hold(&in->service->blobs, in->demand.user, part->blob);
    if (blob == NULL) {
        char name[33];
        hash128_text(part->blob, name);
        return error_set(error, E_BLOB, "there is no blob %s", name);
    }
    in->blobs[in->blob_count++] = blob;
    *info = blob->info;
    *file = blob->data;
    if (blob->status != OK) {
        const char *why = blob->fault != NULL ? blob->fault : status_text(blob->status);
        return error_set(error, blob->status, "%s", why);
    }
    return OK;
}

static Status intake_sent(Intake *in, const CallPart *part, ImageInfo *info, Bytes *file,
                          Error *error) {
    *file = part->data;
    Status status = media_probe(part->data, &in->service->options.media, info, error);
    counts_looked(in->service, info->looked_at);
    return status;
}

static Status intake_image(Intake *in, const CallPart *part, Error *error) {
    ImageInfo info = {0};
    ImageGeometry geometry;
    Bytes file;
    Status status = part->is_blob ? intake_blob(in, part, &info, &file, error)
                                  : intake_sent(in, part, &info, &file, error);
    if (status == OK) {
        status = media_geometry(info.width, info.height, in->budget, &geometry, error);
    }
    if (status != OK) {
        return error_prefix(error, status, "picture %u", in->source_count + 1);
    }
    in->sources[in->source_count++] = (RequestSource){.kind = MEDIA_PICTURE, .file = file};
    in->image_tokens += geometry.token_count + 2;
    in->demand.pixels += (uint64_t)info.width * info.height;
    return OK;
}

static Status intake_images(Intake *in, Error *error) {
    const GenerateCall *g = &in->call->generate;
    for (uint32_t m = 0; m < g->message_count; m++) {
        for (uint32_t p = 0; p < g->messages[m].part_count; p++) {
            if (g->messages[m].parts[p].kind != CALL_TEXT) {
                TRY(intake_image(in, &g->messages[m].parts[p], error));
            }
        }
    }
    return OK;
}

// The conversation, and room for its media.
static Status intake_messages(Intake *in, Error *error) {
    Arena *arena = &in->call->arena;
    uint32_t media_count = in->call->generate.media_count;
    in->sources = arena_take_array(arena, media_count + 1, sizeof *in->sources);
    in->blobs = arena_take_array(arena, media_count + 1, sizeof *in->blobs);
    in->question = arena_take(arena, sizeof *in->question);
    if (in->sources == NULL || in->blobs == NULL || in->question == NULL) {
        return call_no_memory(in->call, error);
    }
    return conversation_make(in->call, &in->chat, &in->text_bytes, error);
}

// The image tokens that are known so far beside the answer. The text is only estimated here; what
// the context holds is known exactly after the prep.
static Status intake_context(const Intake *in, Error *error) {
    uint32_t context = in->service->options.context, max_tokens = in->call->generate.max_tokens;
    if (in->image_tokens + max_tokens > context) {
        return error_set(error, E_CONTEXT,
                         "%" PRIu64 " image tokens and %u new ones do not fit the context of %u",
                         in->image_tokens, max_tokens, context);
    }
    return OK;
}

static void intake_weigh(Intake *in) {
    const GenerateCall *g = &in->call->generate;
    uint64_t prompt = in->image_tokens + in->text_bytes / TEXT_BYTES_PER_TOKEN +
                      (uint64_t)g->message_count * MESSAGE_TOKENS + CONVERSATION_TOKENS;
    uint32_t context = in->service->options.context;
    in->demand.prompt_tokens = prompt < context ? (uint32_t)prompt : context;
    in->demand.new_tokens = g->max_tokens;
    in->demand.samples = g->samples;
}

static Status intake_counts(Intake *in, Error *error) {
    const ServiceOptions *o = &in->service->options;
    const GenerateCall *g = &in->call->generate;
    TRY(conversation_check(g, error));
    if (g->media_count > 0 && !o->model.vision) {
        return error_set(error, E_UNSUPPORTED,
                         "this model cannot read pictures (no vision tensors)");
    }
    if (g->media_count > o->media_max) {
        return error_set(error, E_LIMIT, "%u pictures are given, at most %u are allowed",
                         g->media_count, o->media_max);
    }
    TRY(intake_context(in, error));
    return intake_messages(in, error);
}

static Status intake_ask(Intake *in, bool take, uint32_t *retry_ms, Error *error) {
    Service *service = in->service;
    Admission *admission = &service->admission;
    TRY(admission_closed(admission, error));
    if (!take) {
        return admission_look(admission, &in->demand, retry_ms, error);
    }
    return admission_ask(admission, &in->demand, service->now_ms, retry_ms, error);
}

// All that is asked before a picture is looked at, then the pictures, then the places.
static Status intake_judge(Intake *in, uint32_t *retry_ms, Error *error) {
    TRY(intake_counts(in, error));
    intake_weigh(in);
    TRY(intake_ask(in, false, retry_ms, error));
    TRY(intake_images(in, error));
    TRY(intake_context(in, error));
    intake_weigh(in);
    return intake_ask(in, true, retry_ms, error);
}

static void intake_refuse(Intake *in, Status status, const Error *error, uint32_t retry_ms) {
    Service *service = in->service;
    const Call *call = in->call;
    for (uint32_t i = 0; i < in->blob_count; i++) {
        blobs_drop(&service->blobs, in->blobs[i]);
    }
    if (status == E_BUSY || status == E_USER_BUSY) {
        retry_ms = retry_ms > 0 ? retry_ms : admission_retry_ms(&service->admission);
    }
    counts_refused(service, call, in->demand.user, status);
    log_event(LOG_INFO, "refused", "connection=%u user=%s reason=%s retry_ms=%u",
              in->connection->index, users_at(service->users, in->demand.user)->name,
              status_name(status), retry_ms);
    session_error(in->connection->session, call->ticket, status, error->text, retry_ms);
    call_free(in->call);
}

static float intake_real(double asked, double model) {
    return (float)(asked >= 0 ? asked : model);
}

static Question intake_question(const Intake *in) {
    const GenerateCall *g = &in->call->generate;
    const CallSampling *model = &in->service->options.model.sampling;
    Question question = {
        .form = QUESTION_CHAT,
        .chat = in->chat,
        .budget = in->budget,
        .new_tokens_max = g->max_tokens,
        .sampling =
            {
                .temperature = intake_real(g->sampling.temperature, model->temperature),
                .top_k = (uint32_t)(g->sampling.top_k >= 0 ? g->sampling.top_k : model->top_k),
                .top_p = intake_real(g->sampling.top_p, model->top_p),
                .min_p = intake_real(g->sampling.min_p, model->min_p),
                .repetition_penalty =
                    intake_real(g->sampling.repetition_penalty, model->repetition_penalty),
                .seed = g->seed,
                .logprobs = g->logprobs,
            },
        .stop_count = g->stop_count,
    };
    for (uint32_t i = 0; i < g->stop_count; i++) {
        question.stops[i] = g->stops[i];
    }
    question.chat.thinking = g->thinking;
    return question;
}

static void intake_log(const Intake *in, const ServedCall *served) {
    const GenerateCall *g = &in->call->generate;
    log_event(LOG_INFO, "accepted",
              "request=%" PRIu64 " connection=%u stream=%" PRIu64
              " user=%s class=%s pictures=%u image_tokens=%" PRIu64 " text_bytes=%" PRIu64
              " max_tokens=%u samples=%u",
              served->id, in->connection->index, in->call->ticket,
              users_at(in->service->users, in->demand.user)->name,
              g->batch ? "batch" : "interactive", g->media_count, in->image_tokens, in->text_bytes,
              g->max_tokens, g->samples);
    if (!in->service->options.log_prompts) {
        return;
    }
    for (uint32_t m = 0; m < g->message_count; m++) {
        for (uint32_t p = 0; p < g->messages[m].part_count; p++) {
            if (g->messages[m].parts[p].kind == CALL_TEXT) {
                Bytes text = g->messages[m].parts[p].text;
                log_event(LOG_INFO, "prompt", "request=%" PRIu64 " text=%.*s", served->id,
                          (int)text.length, (const char *)text.data);
            }
        }
    }
}

// The places that the call was let in for.
static ServedCall *intake_take(Intake *in, uint32_t samples) {
    ServedCall *served = served_take(in->service, samples);
    served->connection = in->connection->index;
    served->connection_generation = in->connection->generation;
    served->call = in->call;
    served->blobs = in->blobs;
    served->blob_count = in->blob_count;
    served->demand = in->demand;
    served->received_ms = in->call->received_ms;
    return served;
}

static void intake_accept(Intake *in) {
    Service *service = in->service;
    Call *call = in->call;
    ServedCall *served = intake_take(in, in->demand.samples);
    if (call->generate.deadline_ms > 0) {
        served->deadline_ms = call->received_ms + call->generate.deadline_ms;
    }
    *in->question = intake_question(in);
    served->question = served->request.question = in->question;
    served->request.sources = in->sources;
    served->request.source_count = in->source_count;
    served->work.kind = WORK_PREPARE;
    counts_accepted(service, served);
    intake_log(in, served);
    session_accept(in->connection->session, call,
                   (uint64_t)served->generation << 32 | served->number);
    served_wait(service, served);
}

static Intake intake_begin(Service *service, Connection *connection, Call *call) {
    return (Intake){
        .service = service,
        .connection = connection,
        .call = call,
        .demand = {.user = session_user(connection->session)->number, .samples = 1},
    };
}

void intake_generate(Service *service, Connection *connection, Call *call) {
    Intake in = intake_begin(service, connection, call);
    uint32_t retry_ms = 0;
    Error error;
    in.demand.priority = call->generate.batch ? PRIORITY_BATCH : PRIORITY_INTERACTIVE;
    in.budget = call->generate.budget != 0 ? call->generate.budget : service->options.model.budget;
    log_event(LOG_DEBUG, "call", "connection=%u stream=%" PRIu64 " messages=%zu pictures=%u",
              connection->index, call->ticket, (size_t)call->generate.message_count,
              call->generate.media_count);
    Status status = intake_judge(&in, &retry_ms, &error);
    if (status == OK) {
        intake_accept(&in);
    } else {
        intake_refuse(&in, status, &error, retry_ms);
    }
}

void intake_tokenize(Service *service, Connection *connection, Call *call) {
    Intake in = intake_begin(service, connection, call);
    uint32_t retry_ms = 0;
    Error error;
    const ServerUser *user = users_at(service->users, in.demand.user);
    in.demand.priority =
        user->class_allowed[PRIORITY_INTERACTIVE] ? PRIORITY_INTERACTIVE : PRIORITY_BATCH;
    Status status = intake_ask(&in, true, &retry_ms, &error);
    if (status != OK) {
        intake_refuse(&in, status, &error, retry_ms);
        return;
    }
    ServedCall *served = intake_take(&in, 0);
    served->work.kind = WORK_TOKENIZE;
    served->work.text = call->tokenize.text;
    served_wait(service, served);
}
