// SPDX-License-Identifier: Apache-2.0
// prep.h: which sources of a request can be read, and how an error names the one that cannot.
#include "host/request/prep.h"

#include "base/file.h"
#include "tests/unit/host/demo.h"

#include <criterion/criterion.h>
#include <stdio.h>

enum { SOURCES_MAX = 2 };

// Prepares a request of the sources with the demo model; its pictures, or 0 and the error.
static uint32_t prepare(const RequestSource *sources, uint32_t count, Error *error) {
    Runtime runtime;
    demo_open(&runtime, "auto");
    const PromptMaker maker = prompt_maker(runtime.tokenizer, &runtime.weights->config);
    const PrepRules rules = {.maker = &maker, .limits = media_limits_default()};
    Prep prep = {.rules = &rules};
    const Question question = demo_question("What?");
    Request request;
    cr_assert_eq(request_open(&request, SOURCES_MAX, NULL), OK);
    request.question = &question;
    request.sources = sources;
    request.source_count = count;
    prep_run(&prep, &request);
    uint32_t pictures = request.status == OK ? request.prompt.media_count : 0;
    cr_assert_eq(request.status, request.error.status);
    *error = request.error;
    request_free(&request, SOURCES_MAX);
    prep_free(&prep);
    runtime_close(&runtime);
    return pictures;
}

Test(prep, a_picture_is_read_from_its_path_or_from_memory) {
    Buffer file = {0};
    Error error;
    cr_assert_eq(file_read(demo_pictures[1], UINT64_MAX, &file, &error), OK, "%s", error.text);
    const RequestSource sources[] = {{.kind = MEDIA_PICTURE, .path = demo_pictures[0]},
                                     {.kind = MEDIA_PICTURE, .file = {file.data, file.length}}};
    cr_expect_eq(prepare(sources, 2, &error), 2, "%s", error.text);
    buffer_free(&file);
}

Test(prep, a_sound_and_a_film_frame_cannot_be_read_yet) {
    const Bytes file = bytes_of_text("RIFF");
    const RequestSource sound[] = {{.kind = MEDIA_PICTURE, .path = demo_pictures[0]},
                                   {.kind = MEDIA_SOUND, .file = file}};
    const RequestSource frame = {.kind = MEDIA_FILM_FRAME, .path = demo_pictures[0]};
    Error error;
    cr_expect_eq(prepare(sound, 2, &error), 0);
    cr_expect_eq(error.status, E_UNSUPPORTED);
    cr_expect_str_eq(error.text, "sound 2: a sound cannot be read yet; give pictures");
    cr_expect_eq(prepare(&frame, 1, &error), 0);
    cr_expect_eq(error.status, E_UNSUPPORTED);
    char text[sizeof error.text];
    snprintf(text, sizeof text, "%s: a film frame cannot be read yet; give pictures",
             demo_pictures[0]);
    cr_expect_str_eq(error.text, text);
}

Test(prep, a_fault_that_is_known_is_the_error_of_the_request) {
    const Error fault = {.status = E_IO, .text = "attic: permission denied"};
    const RequestSource source = {.kind = MEDIA_PICTURE, .path = demo_pictures[0], .fault = &fault};
    Error error;
    cr_expect_eq(prepare(&source, 1, &error), 0);
    cr_expect_eq(error.status, E_IO);
    cr_expect_str_eq(error.text, fault.text);
}
