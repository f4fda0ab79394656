// SPDX-License-Identifier: Apache-2.0
#include "host/request/prep.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"

static Status prep_picture(Prep *prep, Request *request, Bytes file, RequestMedia *media) {
    MediaLimits limits = prep->rules->limits;
    limits.unwanted = &request->unwanted;
    TRY(media_load(file, &limits, request->question->budget, &prep->scratch, &media->patches,
                   &request->error));
    // The file and the budget make the patches: equal names are equal patches.
    media->name = secret_name(&prep->rules->maker->secret, file, request->question->budget);
    return OK;
}

// A picture is the one kind that has a reader.
static Status prep_media(Prep *prep, Request *request, Bytes file, uint32_t index) {
    const RequestSource *source = &request->sources[index];
    RequestMedia *media = &request->media[index];
    media->kind = source->kind;
    Status status = request_source_check(source, &request->error);
    if (status == OK) {
        status = prep_picture(prep, request, file, media);
    }
    if (status == OK) {
        return OK;
    }
    return source->path == NULL ? error_prefix(&request->error, status, "%s %u",
                                               media_kind_words[source->kind], index + 1)
                                : error_prefix(&request->error, status, "%s", source->path);
}

// The bytes of a source: as given, or read into the thread's own buffer.
static Status prep_read(Prep *prep, const RequestSource *source, Bytes *file, Error *error) {
    if (source->path == NULL) {
        *file = source->file;
        return OK;
    }
    buffer_clear(&prep->file);
    if (source->fault != NULL) {
        return error_set(error, source->fault->status, "%s", source->fault->text);
    }
    Status status = file_read(source->path, prep->rules->limits.file_bytes_max, &prep->file, error);
    *file = (Bytes){prep->file.data, prep->file.length};
    return status;
}

static Status prep_sources(Prep *prep, Request *request) {
    for (uint32_t i = 0; i < request->source_count && !request->unwanted; i++) {
        Bytes file;
        Status status = prep_read(prep, &request->sources[i], &file, &request->error);
        bool asks = prep->rules->wanted != NULL, last = i + 1 == request->source_count;
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
            status = prep_media(prep, request, file, i);
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
    const RequestMediaList media = {request->media, request->source_count};
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
    request->status = prep_sources(prep, request);
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
