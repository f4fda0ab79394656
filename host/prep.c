// SPDX-License-Identifier: Apache-2.0
#include "host/prep.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"

static Status prep_image(Prep *prep, Request *request, uint32_t index) {
    const PrepRules *rules = prep->rules;
    const char *path = request->image_paths[index];
    Status status = media_load((Bytes){prep->file.data, prep->file.length}, &rules->limits,
                               request->question->budget, &prep->scratch, &request->patches[index],
                               &request->error);
    return status == OK ? OK : error_prefix(&request->error, status, "%s", path);
}

static Status prep_read(Prep *prep, Request *request, uint32_t index) {
    buffer_clear(&prep->file);
    return file_read(request->image_paths[index], prep->rules->limits.file_bytes_max, &prep->file,
                     &request->error);
}

// With several pictures the hash is that of their hashes in order.
static void prep_add_content(Request *request, Bytes file, uint32_t index) {
    Hash128 hash = hash128(file);
    if (index > 0) {
        char both[66];
        hash128_text(hash, both + 33);
        for (int i = 0; i < 33; i++) {
            both[i] = request->content[i];
        }
        hash = hash128((Bytes){(const uint8_t *)both, sizeof both});
    }
    hash128_text(hash, request->content);
}

static Status prep_images(Prep *prep, Request *request) {
    for (uint32_t i = 0; i < request->image_count; i++) {
        Status status = prep_read(prep, request, i);
        if (status == OK) {
            prep_add_content(request, (Bytes){prep->file.data, prep->file.length}, i);
        } else {
            request->content[0] = '\0';
        }
        bool last = i + 1 == request->image_count;
        if ((last || status != OK) && prep->rules->wanted != NULL &&
            !prep->rules->wanted(prep->rules->context, request)) {
            request->unwanted = true;
            return OK;
        }
        if (status == OK) {
            status = prep_image(prep, request, i);
        }
        if (status != OK) {
            return status;
        }
    }
    return OK;
}

void prep_run(Prep *prep, Request *request) {
    request->started_ns = clock_ns();
    request->error = (Error){0};
    request->unwanted = false;
    request->content[0] = '\0';
    request->status = prep_images(prep, request);
    if (request->status == OK && !request->unwanted) {
        request->status = prompt_make(prep->rules->maker, request->question, request->patches,
                                      request->image_count, &prep->prompt_scratch, &request->prompt,
                                      &request->error);
    }
    request->prepared_ns = clock_ns();
}

void prep_free(Prep *prep) {
    buffer_free(&prep->file);
    media_scratch_free(&prep->scratch);
    prompt_scratch_free(&prep->prompt_scratch);
}
