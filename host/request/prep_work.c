// SPDX-License-Identifier: Apache-2.0
#include "host/request/prep_work.h"

static void prep_work_tokenize(Prep *prep, PrepWork *work) {
    const Tokenizer *tokenizer = prep->rules->maker->tokenizer;
    Request *request = work->request;
    work->ids.count = 0;
    work->ids.failed = false;
    if (tokenizer == NULL) {
        request->status = error_set(&request->error, E_UNSUPPORTED, "this model has no tokenizer");
        return;
    }
    request->status =
        tokenizer_encode(tokenizer, work->text, 0, &prep->prompt_scratch.chat.tokenizer, &work->ids,
                         &request->error);
    if (request->status == OK && work->ids.failed) {
        request->status =
            error_set(&request->error, E_MEMORY, "no memory for the tokens of a text");
    }
}

void prep_work_run(Prep *prep, PrepWork *work) {
    if (work->kind == WORK_PREPARE) {
        prep_run(prep, work->request);
    } else {
        prep_work_tokenize(prep, work);
    }
}
