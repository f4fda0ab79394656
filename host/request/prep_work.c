// SPDX-License-Identifier: Apache-2.0
#include "host/request/prep_work.h"

static void prep_work_tokenize(Prep *prep, PrepWork *work) {
    const Tokenizer *tokenizer = prep->rules->maker->tokenizer;
    work->ids.count = 0;
    work->ids.failed = false;
    if (tokenizer == NULL) {
        work->status = error_set(&work->error, E_UNSUPPORTED, "this model has no tokenizer");
        return;
    }
    work->status = tokenizer_encode(tokenizer, work->text, 0, &prep->prompt_scratch.chat.tokenizer,
                                    &work->ids, &work->error);
    if (work->status == OK && work->ids.failed) {
        work->status = error_set(&work->error, E_MEMORY, "no memory for the tokens of a text");
    }
}

void prep_work_run(Prep *prep, PrepWork *work) {
    if (work->kind == WORK_PREPARE) {
        prep_run(prep, work->request);
    } else {
        prep_work_tokenize(prep, work);
    }
}
