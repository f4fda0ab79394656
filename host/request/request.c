// SPDX-License-Identifier: Apache-2.0
#include "host/request/request.h"

#include "base/hash.h"

#include <stdlib.h>

Status request_open(Request *request, uint32_t media_max, Error *error) {
    *request = (Request){0};
    request->media = calloc((size_t)media_max + 1, sizeof *request->media);
    if (request->media == NULL) {
        return error_set(error, E_MEMORY, "no memory for the pictures of a request");
    }
    return OK;
}

void request_free(Request *request, uint32_t media_max) {
    for (uint32_t i = 0; request->media != NULL && i < media_max; i++) {
        request_media_free(&request->media[i]);
    }
    free(request->media);
    prompt_free(&request->prompt);
    answer_free(&request->answer);
    *request = (Request){0};
}

SequenceRequest request_sequence(const Request *request, const GenerationDefaults *model,
                                 uint32_t tag) {
    return (SequenceRequest){
        .tokens = request->prompt.tokens,
        .token_count = request->prompt.token_count,
        .media = request->prompt.media,
        .media_count = request->prompt.media_count,
        .new_tokens_max = request->question->new_tokens_max,
        .stop_ids = model->stop_ids,
        .stop_count = model->stop_count,
        .sampling = request->question->sampling,
        .tag = tag,
    };
}

Status request_source_check(const RequestSource *source, Error *error) {
    return source->kind == MEDIA_PICTURE
               ? OK
               : error_set(error, E_UNSUPPORTED, "a %s cannot be read yet; give pictures",
                           media_kind_words[source->kind]);
}

void request_add_content(Request *request, Bytes file, uint32_t index) {
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
