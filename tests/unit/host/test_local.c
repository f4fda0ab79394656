// SPDX-License-Identifier: Apache-2.0
// The local Asker with the demo model: every request is finished exactly once, answers do not
// depend on the crowd or on planning ahead, bad pictures harm nobody, a sink that has enough ends
// the run.
#include "host/asking/local.h"

#include "model/ops.h"

#include "tests/unit/host/demo.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { REQUESTS = 24 };

typedef struct Job {
    Question question;
    const char *paths[REQUESTS];
    RequestSource sources[REQUESTS];
    uint32_t asked, finished, finished_max;
    char *captions[REQUESTS]; // by tag, "" = error
    uint32_t text_bytes, text_bytes_max;
    uint64_t dead_rows;
    bool ahead; // the next step is begun while one is under way, as on a device that overlaps
} Job;

static bool job_next(void *context, Request *request) {
    Job *job = context;
    if (job->asked == REQUESTS) {
        return false;
    }
    request->question = &job->question;
    job->sources[job->asked] =
        (RequestSource){.kind = MEDIA_PICTURE, .path = job->paths[job->asked]};
    request->sources = &job->sources[job->asked];
    request->source_count = 1;
    request->tag = job->asked++;
    return true;
}

static bool job_text(void *context, Request *request, AnswerPart part, Bytes text) {
    (void)request;
    (void)part;
    Job *job = context;
    job->text_bytes += (uint32_t)text.length;
    return job->text_bytes < job->text_bytes_max;
}

static bool job_finished(void *context, Request *request) {
    Job *job = context;
    cr_assert_null(job->captions[request->tag], "finished twice");
    Bytes caption = request->status == OK ? answer_trimmed(&request->answer) : (Bytes){0};
    job->captions[request->tag] =
        strndup(caption.length > 0 ? (const char *)caption.data : "", caption.length);
    return ++job->finished < job->finished_max;
}

static Status run(Job *job, uint32_t batch, uint32_t prep_threads, const char *isa) {
    Error error = {0};
    AskerStats stats;
    Asker *asker;
    AskerLocalOptions options = {.runtime = demo_options(isa), .prep_threads = prep_threads};
    options.runtime.batch = batch;
    options.runtime.context = 160;
    cr_assert_eq(asker_open_local(&options, &asker, &error), OK, "%s", error.text);
    Runtime *runtime = local_runtime(asker);
    DeviceTable device = *runtime->backend->device;
    device.overlaps = job->ahead;
    runtime->backend->device = &device;
    const AskerNeed need = {.question = &job->question, .media = 1, .requests = REQUESTS};
    cr_assert_eq(asker_start(asker, &need, &error), OK, "%s", error.text);
    const AskerRun calls = {
        .next = job_next, .text = job_text, .finished = job_finished, .context = job};
    job->asked = job->finished = job->text_bytes = 0;
    Status status = asker_run(asker, &calls, &stats, &error);
    SchedulerStats left = sched_stats(runtime->scheduler);
    cr_expect_eq(left.running + left.waiting, 0, "the scheduler is empty afterwards");
    job->dead_rows = left.dead_rows;
    asker_close(asker);
    return status;
}

static Job make_job(void) {
    Job job = {
        .question = demo_question("Describe this image."),
        .finished_max = UINT32_MAX,
        .text_bytes_max = UINT32_MAX,
    };
    for (uint32_t i = 0; i < REQUESTS; i++) {
        job.paths[i] = demo_pictures[i % DEMO_PICTURES];
    }
    return job;
}

static void forget(Job *job) {
    for (uint32_t i = 0; i < REQUESTS; i++) {
        free(job->captions[i]);
        job->captions[i] = NULL;
    }
}

Test(local, answers_do_not_depend_on_crowd_threads_or_planning_ahead) {
    Job alone = make_job(), crowd = make_job(), ahead = make_job();
    ahead.ahead = true;
    // Draws that would show a token, a position or a draw's number out of place.
    alone.question.sampling = crowd.question.sampling = ahead.question.sampling =
        (Sampling){.temperature = 0.7f, .top_p = 0.9f, .repetition_penalty = 1.1f, .seed = 5};
    cr_assert_eq(run(&alone, 1, 1, "auto"), OK);
    cr_assert_eq(run(&crowd, 7, 3, "auto"), OK);
    cr_assert_eq(run(&ahead, 7, 3, "auto"), OK);
    cr_assert_eq(alone.finished, REQUESTS);
    cr_assert_eq(crowd.finished, REQUESTS);
    cr_assert_eq(ahead.finished, REQUESTS);
    cr_expect_eq(crowd.dead_rows, 0);
    cr_expect_gt(ahead.dead_rows, 0); // captions end with a stop id
    for (uint32_t i = 0; i < REQUESTS; i++) {
        cr_expect_gt(strlen(alone.captions[i]), 5);
        cr_expect_str_eq(alone.captions[i], crowd.captions[i]);
        cr_expect_str_eq(alone.captions[i], ahead.captions[i]);
        cr_expect_str_eq(alone.captions[i], alone.captions[i % DEMO_PICTURES]);
    }
    cr_expect_geq(crowd.text_bytes, REQUESTS * 5);
    forget(&alone);
    forget(&crowd);
    forget(&ahead);
}

Test(local, a_bad_picture_harms_nobody) {
    Job job = make_job();
    job.paths[3] = "/nowhere.png";
    job.paths[4] = TEST_ROOT "/README.md";
    job.paths[REQUESTS - 1] = TEST_ROOT;
    cr_assert_eq(run(&job, 4, 2, "auto"), OK);
    cr_assert_eq(job.finished, REQUESTS);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        bool bad = i == 3 || i == 4 || i == REQUESTS - 1;
        cr_expect_eq(job.captions[i][0] == '\0', bad, "request %u", i);
    }
    forget(&job);
}

Test(local, a_prompt_that_cannot_fit_is_an_error_of_its_request) {
    Job job = make_job();
    job.question.new_tokens_max = 150; // with the picture beyond the context of 160
    cr_assert_eq(run(&job, 2, 1, "auto"), OK);
    cr_assert_eq(job.finished, REQUESTS);
    cr_expect_str_eq(job.captions[0], "");
    forget(&job);
}

Test(local, a_sink_that_has_enough_ends_the_run) {
    Job job = make_job();
    job.finished_max = 3;
    job.ahead = true; // a step is under way then
    cr_assert_eq(run(&job, 4, 2, "auto"), E_CANCELLED);
    cr_expect_eq(job.finished, 3, "nothing is reported after that");
    forget(&job);
}

Test(local, a_reader_that_has_gone_ends_the_run) {
    Job job = make_job();
    job.text_bytes_max = 1;
    cr_assert_eq(run(&job, 1, 1, "auto"), E_CANCELLED);
    cr_expect_eq(job.finished, 0, "not even the first answer is made to its end");
    forget(&job);
}
