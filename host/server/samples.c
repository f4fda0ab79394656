// SPDX-License-Identifier: Apache-2.0
// The samples of a prepared call: to the stepper as sequences, back as tokens, and on to the
// session as text.
#include "host/server/service_state.h"

#include "base/check.h"
#include "base/log.h"

#include <inttypes.h>

// ---- To the stepper -----------------------------------------------------------------------------

static Sampling sample_sampling(const ServedCall *call, uint32_t index) {
    Sampling sampling = call->question->sampling;
    sampling.seed += index * UINT64_C(0x9E3779B97F4A7C15); // sample 0 draws as a request alone
    return sampling;
}

static SequenceRequest sample_sequence(const Service *service, const Sample *sample) {
    const ServedCall *call = sample->call;
    const Gemma4Config *config = service->options.maker->config;
    SequenceRequest sequence = request_sequence(&call->request, &config->generation, sample->tag);
    sequence.sampling = sample_sampling(call, sample->index);
    sequence.user = call->demand.user;
    sequence.priority = call->demand.priority;
    sequence.deadline_ms = call->deadline_ms;
    return sequence;
}

static Status sample_step(Service *service, Sample *sample, Error *error) {
    ServedCall *call = sample->call;
    TRY(answer_begin(&sample->answer, service->options.maker->tokenizer, call->question, error));
    sample->sequence = sample_sequence(service, sample);
    const StepperCommand add = {
        .kind = STEPPER_ADD,
        .tag = sample->tag,
        .sequence = &sample->sequence,
        .after_tag = sample->index > 0 ? call->samples->tag : STEPPER_NO_TAG,
    };
    service->options.ports.command(service->options.ports.context, &add);
    sample->stepping = true;
    call->stepping_count++;
    return OK;
}

static void samples_step(Service *service, ServedCall *call) {
    Error error;
    call->prepared_ms = service->now_ms;
    call->state = SERVED_STEPPING;
    counts_prepared(service, call);
    for (Sample *sample = call->samples; sample != NULL && !call->ending; sample = sample->next) {
        Status status = sample_step(service, sample, &error);
        if (status != OK) {
            served_end(service, call, DONE_ERROR, status, error.text);
        }
    }
    if (call->stepping_count == 0) {
        served_settle(service, call);
    }
}

void samples_worked(Service *service, ServedCall *call) {
    REQUIRE(call->state == SERVED_PREPARING);
    const Request *request = &call->request;
    if (call->ending || call->work.kind == WORK_TOKENIZE) {
        served_settle(service, call);
    } else if (request->status != OK) {
        served_end(service, call, DONE_ERROR, request->status, request->error.text);
        served_settle(service, call);
    } else {
        log_event(LOG_DEBUG, "prepared", "request=%" PRIu64 " tag=%u prompt_tokens=%u", call->id,
                  call->samples->tag, request->prompt.token_count);
        samples_step(service, call);
    }
}

// ---- To the session -----------------------------------------------------------------------------

static ChoiceEvent sample_choice(const AnswerChoice *choice) {
    return (ChoiceEvent){choice->token, choice->text, choice->logprob};
}

// Log probabilities of the token that came last. False: they are not asked for. The texts are the
// answer's.
static bool sample_logprobs(const Answer *answer, LogprobEvent *out,
                            ChoiceEvent top[BATCH_LOGPROBS_MAX]) {
    AnswerLogprob logprob;
    uint32_t at = 0;
    if (!logprobs_next(&answer->logprobs, &at, &logprob)) {
        return false;
    }
    for (uint32_t i = 0; i < logprob.top_count; i++) {
        top[i] = sample_choice(&logprob.top[i]);
    }
    *out = (LogprobEvent){sample_choice(&logprob.chosen), top, logprob.top_count};
    return true;
}

// The token and the text that it completed.
static void sample_say(Service *service, Sample *sample, const SchedulerEvent *event) {
    const ServedCall *call = sample->call;
    TokenEvent token = {.index = sample->index, .id = &event->chosen.token, .id_count = 1};
    LogprobEvent logprobs;
    ChoiceEvent top[BATCH_LOGPROBS_MAX];
    AnswerPart part;
    Bytes text;
    while (answer_take(&sample->answer, &part, &text)) {
        if (part == ANSWER_THOUGHT) {
            token.thoughts = text;
        } else {
            token.text = text;
        }
    }
    if (sample_logprobs(&sample->answer, &logprobs, top)) {
        token.logprobs = &logprobs;
    }
    Session *session = served_session(service, call);
    if (session != NULL && !call->ending) {
        log_event(LOG_DEBUG, "token", "request=%" PRIu64 " sample=%u text_bytes=%zu", call->id,
                  token.index, token.text.length);
        session_token(session, call->call->ticket, &token);
    }
    logprobs_clear(&sample->answer.logprobs); // they leave with each token
}

// ---- From the stepper ---------------------------------------------------------------------------

// The first token of a call: it is queued no more.
static void sample_call_begun(Service *service, ServedCall *call, const SchedulerEvent *event) {
    call->queued = false;
    call->first_ms = service->now_ms;
    call->begun_ms = call->prepared_ms + event->queued_ms;
    admission_begun(&service->admission, &call->demand);
    counts_begun(service, call);
}

// The first token of a sample: what of its prompt was computed is known.
static void sample_begun(Service *service, Sample *sample, const SchedulerEvent *event) {
    sample->first_ms = service->now_ms;
    sample->cached_tokens = event->cached_tokens;
    counts_prompt(service, sample);
}

static bool sample_is_last(const Sample *sample, const SchedulerEvent *event) {
    return sample->answer.stopped || event->finish != FINISH_NONE;
}

static Status sample_push(Sample *sample, const SchedulerEvent *event, Error *error) {
    TRY(answer_push(&sample->answer, event, error));
    return sample_is_last(sample, event) ? answer_end(&sample->answer, event->finish, error) : OK;
}

static void sample_answered(Service *service, Sample *sample, FinishReason finish) {
    bool stopped = sample->answer.stopped || finish == FINISH_STOP;
    sample->answered = true;
    sample->reason = stopped ? DONE_STOP : DONE_LENGTH;
    counts_answered(service, sample);
    if (finish == FINISH_NONE) {
        served_cancel_sample(service, sample); // a stop string, which the scheduler does not know
    }
}

// One token on its way from the stepper to the client.
static void sample_token(Service *service, Sample *sample, const SchedulerEvent *event) {
    ServedCall *call = sample->call;
    Error error;
    counts_token(service, sample);
    if (call->queued) {
        sample_call_begun(service, call, event);
    }
    if (sample->first_ms == 0) {
        sample_begun(service, sample, event);
    }
    if (sample->answered || call->ending) {
        return; // drawn before the cancel arrived
    }
    call->output_tokens++;
    Status status = sample_push(sample, event, &error);
    if (status != OK) {
        served_end(service, call, DONE_ERROR, status, error.text);
        return;
    }
    sample_say(service, sample, event);
    if (sample_is_last(sample, event)) {
        sample_answered(service, sample, event->finish);
    }
}

// A sample ended without a last token. What it said so far stands.
static void sample_cut(Service *service, Sample *sample, const StepperEvent *event) {
    ServedCall *call = sample->call;
    if (sample->answered) {
        return;
    }
    if (event->kind == STEPPER_REFUSED) {
        served_end(service, call, DONE_ERROR, event->status, event->text);
    } else if (event->event.finish == FINISH_DEADLINE) {
        served_end(service, call, DONE_DEADLINE, E_DEADLINE, NULL);
    } else if (event->event.finish == FINISH_FAILED) {
        served_end(service, call, DONE_ERROR, event->status, NULL);
    }
    REQUIRE(call->ending);
}

void samples_event(Service *service, const StepperEvent *event) {
    REQUIRE(event->tag < service->samples_used);
    Sample *sample = &service->samples[event->tag];
    REQUIRE(sample->stepping);
    if (event->kind == STEPPER_TOKEN) {
        sample_token(service, sample, &event->event);
        if (event->event.finish == FINISH_NONE) {
            return;
        }
    }
    sample->stepping = false;
    sample->call->stepping_count--;
    if (event->kind != STEPPER_TOKEN) {
        sample_cut(service, sample, event);
    }
    if (sample->call->stepping_count == 0) {
        served_settle(service, sample->call);
    }
}
