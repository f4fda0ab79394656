// SPDX-License-Identifier: Apache-2.0
#include "host/request/prep.h"

#include "base/clock.h"
#include "base/file.h"

static Status prep_image(Prep *prep, Request *request, Bytes file, uint32_t index) {
    MediaLimits limits = prep->rules->limits;
    limits.unwanted = &request->unwanted;
    RequestMedia *media = &request->media[index];
    media->kind = MEDIA_PICTURE;
    Status status = media_load(file, &limits, request->question->budget, &prep->scratch,
                               &media->patches, &request->error);
    if (status == OK) {
        // The file and the budget make the patches: equal names are equal patches.
        media->name = secret_name(&prep->rules->maker->secret, file, request->question->budget);
        return OK;
    }
    return request->image_files != NULL
               ? error_prefix(&request->error, status, "picture %u", index + 1)
               : error_prefix(&request->error, status, "%s", request->image_paths[index]);
}

// The bytes of a picture: as given, or read into the thread's own buffer.
static Status prep_read(Prep *prep, Request *request, uint32_t index, Bytes *file) {
    if (request->image_files != NULL) {
        *file = request->image_files[index];
        return OK;
    }
    buffer_clear(&prep->file);
    if (request->fault != NULL) {
        return error_set(&request->error, request->fault->status, "%s", request->fault->text);
    }
    Status status = file_read(request->image_paths[index], prep->rules->limits.file_bytes_max,
                              &prep->file, &request->error);
    *file = (Bytes){prep->file.data, prep->file.length};
    return status;
}

static Status prep_images(Prep *prep, Request *request) {
    for (uint32_t i = 0; i < request->image_count && !request->unwanted; i++) {
        Bytes file;
        Status status = prep_read(prep, request, i, &file);
        bool asks = prep->rules->wanted != NULL, last = i + 1 == request->image_count;
        if (asks && status == OK) {
            request_add_content(request, file, i);
        } else {
            request->content[0] = '\0';
        }
        if (asks && (last || status != OK) && !prep->rules->wanted(prep->rules->context, request)) {
            request->unwanted = true;
            return OK;
        }
        if (status == OK) {
            status = prep_image(prep, request, file, i);
        }
        if (status != OK) {
            return status;
        }
    }
    return OK;
}

static Status prep_prompt(Prep *prep, Request *request) {
    const PromptMaker *maker = prep->rules->maker;
    const Question *question = request->question;
    const RequestMediaList media = {request->media, request->image_count};
    PromptScratch *scratch = &prep->prompt_scratch;
    switch (question->form) {
    case QUESTION_TEXT:
        return prompt_verbatim(maker, bytes_of_text(question->text), media, scratch,
                               &request->prompt, &request->error);
    case QUESTION_IDS:
        return prompt_ids(maker, question->text, media, &request->prompt, &request->error);
    default:
        return prompt_make(maker, question, media, scratch, &request->prompt, &request->error);
    }
}

void prep_run(Prep *prep, Request *request) {
    request->started_ns = clock_ns();
    request->error = (Error){0};
    request->content[0] = '\0';
    request->status = prep_images(prep, request);
    if (request->status == OK && !request->unwanted) {
        request->status = prep_prompt(prep, request);
    }
    request->prepared_ns = clock_ns();
}

void prep_free(Prep *prep) {
    buffer_free(&prep->file);
    media_scratch_free(&prep->scratch);
    prompt_scratch_free(&prep->prompt_scratch);
}
