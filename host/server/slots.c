// SPDX-License-Identifier: Apache-2.0
// From acceptance to the last event: whose turn it is on the prep threads, sequences for the
// stepper, tokens to the session, and the one way a request ends.
#include "host/server/service_state.h"

#include "base/check.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

// ---- Slots --------------------------------------------------------------------------------------

uint32_t slot_take(Service *service) {
    uint32_t index = service->slot_free;
    if (index == NO_SLOT) {
        return NO_SLOT;
    }
    service->slot_free = service->slots[index].next;
    service->slot_count++;
    return index;
}

static void slot_free(Service *service, uint32_t index) {
    Slot *slot = &service->slots[index];
    slot->state = SLOT_FREE;
    slot->generation++;
    slot->next = service->slot_free;
    service->slot_free = index;
    service->slot_count--;
}

// The session that asked, or NULL when it is gone.
static Session *slot_session(Service *service, const Slot *leader) {
    return connections_session(&service->connections, leader->connection,
                               leader->connection_generation);
}

// ---- Turns on the prep threads ------------------------------------------------------------------

void slot_wait(Service *service, uint32_t leader) {
    Slot *slot = &service->slots[leader];
    UserTotals *user = &service->totals[slot->ask.user];
    slot->state = SLOT_WAITING;
    slot->next = NO_SLOT;
    if (user->waiting_first == NO_SLOT && user->prepared < service->prepared) {
        user->prepared = service->prepared; // who was away has earned nothing by it
    }
    if (user->waiting_last != NO_SLOT) {
        service->slots[user->waiting_last].next = leader;
    } else {
        user->waiting_first = leader;
    }
    user->waiting_last = leader;
    service->waiting_count++;
}

static void slot_wait_no_more(Service *service, uint32_t leader) {
    UserTotals *user = &service->totals[service->slots[leader].ask.user];
    uint32_t previous = NO_SLOT;
    for (uint32_t at = user->waiting_first; at != leader; at = service->slots[at].next) {
        previous = at;
    }
    uint32_t next = service->slots[leader].next;
    *(previous != NO_SLOT ? &service->slots[previous].next : &user->waiting_first) = next;
    if (next == NO_SLOT) {
        user->waiting_last = previous;
    }
    service->waiting_count--;
}

// What a request weighs on the prep threads: about the text of one, and a million pixels as much.
static uint64_t slot_weight(const Slot *slot) {
    return 1 + slot->ask.pixels / 1000000;
}

// The user who had least of the prep threads so far, with its oldest; equals one after another.
static uint32_t slot_whose_turn(Service *service) {
    UserTotals *totals = service->totals;
    uint32_t least = USERS_MAX;
    for (uint32_t i = 0; i < USERS_MAX; i++) {
        uint32_t user = (service->turn + i) % USERS_MAX;
        if (totals[user].waiting_first != NO_SLOT &&
            (least == USERS_MAX || totals[user].prepared < totals[least].prepared)) {
            least = user;
        }
    }
    REQUIRE(least < USERS_MAX);
    uint32_t leader = totals[least].waiting_first;
    service->turn = least + 1;
    service->prepared = totals[least].prepared;
    totals[least].prepared += slot_weight(&service->slots[leader]);
    return leader;
}

void slot_start_work(Service *service) {
    while (service->waiting_count > 0 && service->work_count < service->options.work_max) {
        uint32_t leader = slot_whose_turn(service);
        slot_wait_no_more(service, leader);
        Slot *slot = &service->slots[leader];
        slot->state = SLOT_PREPARING;
        slot->request.unwanted = false;
        slot->prepare_ms = service->now_ms;
        service->work_count++;
        service->options.ports.work(service->options.ports.context, &slot->work);
    }
}

// ---- Ending -------------------------------------------------------------------------------------

static void slot_settle(Service *service, uint32_t leader) {
    Slot *slot = &service->slots[leader];
    slot->state = SLOT_SETTLED;
    slot->next = service->settled;
    service->settled = leader;
}

static void slot_command(Service *service, const StepperCommand *command) {
    service->options.ports.command(service->options.ports.context, command);
}

static void slot_cancel_sample(Service *service, uint32_t index) {
    slot_command(service, &(StepperCommand){.kind = STEPPER_CANCEL, .tag = index});
}

void slot_end(Service *service, uint32_t leader, DoneReason reason, Status status,
              const char *detail) {
    Slot *slot = &service->slots[leader];
    if (slot->ending || slot->state == SLOT_SETTLED) {
        return;
    }
    slot->ending = true;
    slot->ending_reason = reason;
    slot->status = status;
    slot->request.unwanted = true; // a prep thread that has it gives it back soon
    snprintf(slot->detail, sizeof slot->detail, "%s", detail != NULL ? detail : "");
    if (slot->state == SLOT_WAITING) {
        slot_wait_no_more(service, leader);
        slot_settle(service, leader);
        return;
    }
    for (uint32_t n = 0; slot->state == SLOT_STEPPING && n < slot->ask.samples; n++) {
        if (service->slots[slot->slots[n]].sample.stepping) {
            slot_cancel_sample(service, slot->slots[n]);
        }
    }
}

static void slot_count_end(Service *service, const Slot *slot, const DoneEvent *done) {
    ServerStats *stats = &service->stats;
    Metrics *m = service->metrics;
    static const FinishReason finishes[DONE_REASON_COUNT] = {
        FINISH_STOP, FINISH_LENGTH, FINISH_CANCEL, FINISH_DEADLINE, FINISH_FAILED};
    DoneReason worst = done->reasons[0];
    for (uint32_t n = 0; n < slot->ask.samples; n++) {
        worst = done->reasons[n] > worst ? done->reasons[n] : worst;
        metrics_add(m, METRIC_REQUESTS_FINISHED, finishes[done->reasons[n]], 1);
    }
    stats->requests_finished += worst <= DONE_LENGTH;
    stats->pictures_finished += worst <= DONE_LENGTH ? slot->request.image_count : 0;
    stats->requests_failed += worst == DONE_ERROR;
    stats->requests_cancelled += worst == DONE_CANCEL || worst == DONE_DEADLINE;
    metrics_observe(m, METRIC_REQUEST, slot->ask.priority,
                    (service->now_ms - slot->received_ms) * 1000000u);
    log_event(LOG_INFO, "done",
              "request=%" PRIu64 " connection=%u stream=%" PRIu64
              " user=%s reason=%s status=%s prompt_tokens=%u "
              "image_tokens=%u cached_tokens=%u output_tokens=%u prepare_ms=%.0f queue_ms=%.0f "
              "first_token_ms=%.0f total_ms=%.0f",
              slot->id, slot->connection, slot->call->ticket,
              users_at(service->users, slot->ask.user)->name, done_reason_name(worst),
              status_name(done->status), done->prompt_tokens, done->image_tokens,
              done->cached_tokens[0], done->output_tokens, done->prepare_ms, done->queue_ms,
              done->first_token_ms, done->total_ms);
}

static double slot_span(uint64_t from_ms, uint64_t to_ms) {
    return from_ms > 0 && to_ms > from_ms ? (double)(to_ms - from_ms) : 0;
}

static DoneEvent slot_done(const Service *service, const Slot *slot) {
    DoneEvent done = {
        .status = slot->status,
        .detail = slot->detail[0] != '\0' ? slot->detail : NULL,
        .output_tokens = slot->output_tokens,
        .prepare_ms = slot_span(slot->received_ms, slot->prepared_ms),
        .queue_ms = slot_span(slot->prepared_ms, slot->begun_ms),
        .first_token_ms = slot_span(slot->received_ms, slot->first_ms),
        .total_ms = slot_span(slot->received_ms, service->now_ms),
    };
    if (slot->prepared_ms > 0) {
        done.prompt_tokens = slot->request.prompt.token_count;
        done.image_tokens = slot->request.prompt.image_token_count;
    }
    for (uint32_t n = 0; n < slot->ask.samples; n++) {
        const Sample *sample = &service->slots[slot->slots[n]].sample;
        done.reasons[n] = sample->answered ? sample->reason : slot->ending_reason;
        done.cached_tokens[n] = sample->cached_tokens;
    }
    return done;
}

static void slot_answer_tokenize(Session *session, Service *service, const Slot *slot) {
    const PrepWork *work = &slot->work;
    if (slot->ending) { // the server is draining
        session_error(session, slot->call->ticket, slot->status, NULL, 0);
    } else if (work->status != OK) {
        session_error(session, slot->call->ticket, work->status, work->error.text, 0);
    } else {
        Buffer *out = &service->scratch;
        buffer_clear(out);
        result_put_ids(out, work->ids.ids, work->ids.count);
        session_result(session, slot->call->ticket, out);
    }
}

// The last event of a request, and its memory back.
static void slot_finish(Service *service, uint32_t leader) {
    Slot *slot = &service->slots[leader];
    Session *session = slot_session(service, slot);
    if (slot->work.kind == WORK_TOKENIZE) {
        if (session != NULL) {
            slot_answer_tokenize(session, service, slot);
        }
    } else {
        DoneEvent done = slot_done(service, slot);
        slot_count_end(service, slot, &done);
        if (session != NULL) {
            session_done(session, slot->call->ticket, &done);
        }
    }
    admission_ended(&service->admission, &slot->ask, slot->queued);
    for (uint32_t i = 0; i < slot->blob_count; i++) {
        blobs_drop(&service->blobs, slot->blobs[i]);
    }
    for (uint32_t i = 0; i < service->options.images_max; i++) {
        patches_free(&slot->request.patches[i]); // megabytes: not kept from use to use
    }
    if (slot->work.kind == WORK_TOKENIZE) {
        token_list_free(&slot->work.ids); // a text may have millions: not kept either
    }
    call_free(slot->call);
    slot->call = NULL;
    for (uint32_t n = slot->ask.samples; n-- > 0;) {
        slot_free(service, slot->slots[n]);
    }
}

void slot_settle_all(Service *service) {
    while (service->settled != NO_SLOT) {
        uint32_t leader = service->settled;
        service->settled = service->slots[leader].next;
        slot_finish(service, leader);
    }
}

// ---- To the stepper -----------------------------------------------------------------------------

static Sampling slot_sampling(const Slot *leader, uint32_t index) {
    Sampling sampling = leader->question.sampling;
    sampling.logprobs = leader->call->generate.logprobs;
    sampling.seed += index * UINT64_C(0x9E3779B97F4A7C15); // sample 0 draws as a request alone
    return sampling;
}

static Status slot_step_sample(Service *service, Slot *leader, uint32_t index, Error *error) {
    Slot *slot = &service->slots[leader->slots[index]];
    const Prompt *prompt = &leader->request.prompt;
    const Gemma4Config *config = service->options.maker->config;
    TRY(answer_begin(&slot->request.answer, service->options.maker->tokenizer, &leader->question,
                     error));
    slot->sequence = (SequenceRequest){
        .tokens = prompt->tokens,
        .token_count = prompt->token_count,
        .images = prompt->images,
        .image_count = prompt->image_count,
        .new_tokens_max = leader->ask.new_tokens,
        .stop_ids = config->generation.stop_ids,
        .stop_count = config->generation.stop_count,
        .sampling = slot_sampling(leader, index),
        .tag = leader->slots[index],
        .user = leader->ask.user,
        .priority = leader->ask.priority,
        .deadline_ms = leader->deadline_ms,
    };
    slot_command(service, &(StepperCommand){
                              .kind = STEPPER_ADD,
                              .tag = leader->slots[index],
                              .sequence = &slot->sequence,
                              .after_tag = index > 0 ? leader->slots[0] : STEPPER_NO_TAG,
                          });
    slot->sample.stepping = true;
    leader->stepping_count++;
    return OK;
}

static void slot_step(Service *service, uint32_t leader) {
    Slot *slot = &service->slots[leader];
    Error error;
    slot->prepared_ms = service->now_ms;
    metrics_observe(service->metrics, METRIC_STAGE, STAGE_PREP,
                    (service->now_ms - slot->prepare_ms) * 1000000u);
    metrics_add(service->metrics, METRIC_IMAGES, 0, slot->request.image_count);
    slot->state = SLOT_STEPPING;
    for (uint32_t n = 0; n < slot->ask.samples && !slot->ending; n++) {
        Status status = slot_step_sample(service, slot, n, &error);
        if (status != OK) {
            slot_end(service, leader, DONE_ERROR, status, error.text);
        }
    }
    if (slot->stepping_count == 0) {
        slot_settle(service, leader);
    }
}

void slot_worked(Service *service, uint32_t leader) {
    Slot *slot = &service->slots[leader];
    REQUIRE(slot->state == SLOT_PREPARING);
    const Request *request = &slot->request;
    if (slot->ending || slot->work.kind == WORK_TOKENIZE) {
        slot_settle(service, leader);
    } else if (request->status != OK) {
        slot_end(service, leader, DONE_ERROR, request->status, request->error.text);
        slot_settle(service, leader);
    } else {
        log_event(LOG_DEBUG, "prepared", "request=%" PRIu64 " tag=%u prompt_tokens=%u", slot->id,
                  leader, request->prompt.token_count);
        slot_step(service, leader);
    }
}

// ---- From the stepper ---------------------------------------------------------------------------

static Bytes slot_piece(const Service *service, int32_t token, Buffer *out) {
    size_t begin = out->length;
    if (service->options.maker->tokenizer == NULL) {
        buffer_printf(out, "<%d>", token);
    } else {
        tokenizer_decode_piece(service->options.maker->tokenizer, token, out);
    }
    return (Bytes){out->data + begin, out->length - begin};
}

// Log probabilities of one token; the texts live in service->scratch.
static void slot_logprobs(Service *service, const SchedulerEvent *event, LogprobEvent *out,
                          ChoiceEvent top[BATCH_LOGPROBS_MAX]) {
    Buffer *texts = &service->scratch;
    size_t lengths[BATCH_LOGPROBS_MAX + 1];
    buffer_clear(texts);
    lengths[0] = slot_piece(service, event->chosen.token, texts).length;
    for (uint32_t i = 0; i < event->top_count; i++) {
        lengths[i + 1] = slot_piece(service, event->top[i].token, texts).length;
    }
    // Only now does the buffer move no more.
    const uint8_t *text = texts->data;
    out->chosen =
        (ChoiceEvent){event->chosen.token, {text, lengths[0]}, (double)event->chosen.logprob};
    text += lengths[0];
    for (uint32_t i = 0; i < event->top_count; i++) {
        top[i] = (ChoiceEvent){
            event->top[i].token, {text, lengths[i + 1]}, (double)event->top[i].logprob};
        text += lengths[i + 1];
    }
    out->top = top;
    out->top_count = event->top_count;
}

// New text of a sample, and the token that made it, if one did.
static void slot_say(Service *service, Slot *slot, const SchedulerEvent *event) {
    Slot *leader = &service->slots[slot->leader];
    TokenEvent token = {.index = slot->sample.index};
    LogprobEvent logprobs;
    ChoiceEvent top[BATCH_LOGPROBS_MAX];
    AnswerPart part;
    Bytes text;
    while (answer_take(&slot->request.answer, &part, &text)) {
        *(part == ANSWER_THOUGHT ? &token.thoughts : &token.text) = text;
    }
    if (event != NULL) {
        token.id = &event->chosen.token;
        token.id_count = 1;
        if (leader->call->generate.logprobs > 0) {
            slot_logprobs(service, event, &logprobs, top);
            token.logprobs = &logprobs;
        }
    }
    Session *session = slot_session(service, leader);
    if (session != NULL && !leader->ending) {
        log_event(LOG_DEBUG, "token", "request=%" PRIu64 " sample=%u text_bytes=%zu", leader->id,
                  token.index, token.text.length);
        session_token(session, leader->call->ticket, &token);
    }
}

// The first token of a request: it is queued no more.
static void slot_begun(Service *service, Slot *leader, const SchedulerEvent *event) {
    Metrics *m = service->metrics;
    leader->queued = false;
    leader->first_ms = service->now_ms;
    leader->begun_ms = leader->prepared_ms + event->queued_ms;
    admission_begun(&service->admission, &leader->ask);
    metrics_observe(m, METRIC_FIRST_TOKEN, leader->ask.priority,
                    (service->now_ms - leader->received_ms) * 1000000u);
    metrics_observe(m, METRIC_STAGE, STAGE_QUEUE, event->queued_ms * UINT64_C(1000000));
    metrics_observe(m, METRIC_STAGE, STAGE_PREFILL,
                    (uint64_t)slot_span(leader->begun_ms, service->now_ms) * 1000000u);
}

// The first token of a sample: what of its prompt was computed is known.
static void slot_sample_begun(Service *service, Slot *leader, Sample *sample,
                              const SchedulerEvent *event) {
    uint32_t computed = leader->request.prompt.token_count - event->cached_tokens;
    sample->first_ms = service->now_ms;
    sample->cached_tokens = event->cached_tokens;
    service->totals[leader->ask.user].prompt_tokens += computed;
    metrics_add(service->metrics, METRIC_USER_PROMPT_TOKENS, leader->ask.user, computed);
}

static void slot_answered(Service *service, Slot *slot, DoneReason reason) {
    Slot *leader = &service->slots[slot->leader];
    uint32_t tokens = slot->request.answer.token_count;
    slot->sample.answered = true;
    slot->sample.reason = reason;
    if (tokens > 1) {
        metrics_observe(service->metrics, METRIC_TOKEN, leader->ask.priority,
                        (service->now_ms - slot->sample.first_ms) * 1000000u / (tokens - 1));
    }
}

static void slot_token(Service *service, uint32_t index, const SchedulerEvent *event) {
    Slot *slot = &service->slots[index];
    Slot *leader = &service->slots[slot->leader];
    Answer *answer = &slot->request.answer;
    Error error;
    service->stats.output_tokens++;
    service->totals[leader->ask.user].output_tokens++;
    metrics_add(service->metrics, METRIC_OUTPUT_TOKENS, 0, 1);
    metrics_add(service->metrics, METRIC_USER_OUTPUT_TOKENS, leader->ask.user, 1);
    if (leader->queued) {
        slot_begun(service, leader, event);
    }
    if (slot->sample.first_ms == 0) {
        slot_sample_begun(service, leader, &slot->sample, event);
    }
    if (slot->sample.answered || leader->ending) {
        return; // drawn before the cancel arrived
    }
    leader->output_tokens++;
    Status status = answer_push(answer, event, &error);
    bool last = answer->stopped || event->finish != FINISH_NONE;
    if (status == OK && last) {
        status = answer_end(answer, event->finish, &error);
    }
    if (status != OK) {
        slot_end(service, slot->leader, DONE_ERROR, status, error.text);
        return;
    }
    slot_say(service, slot, event);
    if (last) {
        bool stopped = answer->stopped || event->finish == FINISH_STOP;
        slot_answered(service, slot, stopped ? DONE_STOP : DONE_LENGTH);
    }
    if (answer->stopped && event->finish == FINISH_NONE) {
        slot_cancel_sample(service, index); // a stop string, which the scheduler knows nothing of
    }
}

// A sample ended without a last token. What it said so far stands.
static void slot_cut(Service *service, Slot *slot, const StepperEvent *event) {
    if (slot->sample.answered) {
        return;
    }
    if (event->kind == STEPPER_REFUSED) {
        slot_end(service, slot->leader, DONE_ERROR, event->status, event->text);
    } else if (event->event.finish == FINISH_DEADLINE) {
        slot_end(service, slot->leader, DONE_DEADLINE, E_DEADLINE, NULL);
    } else if (event->event.finish == FINISH_FAILED) {
        slot_end(service, slot->leader, DONE_ERROR, event->status, NULL);
    }
    REQUIRE(service->slots[slot->leader].ending);
}

void slot_step_event(Service *service, const StepperEvent *event) {
    REQUIRE(event->tag < service->options.requests_max);
    Slot *slot = &service->slots[event->tag];
    REQUIRE(slot->sample.stepping);
    bool last = event->kind != STEPPER_TOKEN || event->event.finish != FINISH_NONE;
    if (event->kind == STEPPER_TOKEN) {
        slot_token(service, event->tag, &event->event);
    }
    if (!last) {
        return;
    }
    slot->sample.stepping = false;
    Slot *leader = &service->slots[slot->leader];
    leader->stepping_count--;
    if (event->kind != STEPPER_TOKEN) {
        slot_cut(service, slot, event);
    }
    if (leader->stepping_count == 0) {
        slot_settle(service, slot->leader);
    }
}
