// SPDX-License-Identifier: Apache-2.0
#include "host/request/prep_pool.h"

#include "base/check.h"
#include "base/niceness.h"

#include <stdlib.h>

static void prep_pool_thread(void *argument) {
    PrepPool *pool = argument;
    Prep prep = {.rules = &pool->rules};
    PrepWork *work;
    niceness_add(pool->niceness);
    while (mailbox_pop(&pool->asked, &work, UINT64_MAX)) {
        prep_work_run(&prep, work);
        mailbox_push(&pool->done, &work);
    }
    prep_free(&prep);
}

Status prep_pool_open(PrepPool *pool, const PrepPoolOptions *options, Error *error) {
    *pool = (PrepPool){.rules = options->rules, .niceness = options->niceness};
    TRY(mailbox_open(&pool->asked, sizeof(PrepWork *), options->work_max, error));
    TRY(mailbox_open(&pool->done, sizeof(PrepWork *), options->work_max, error));
    mailbox_on_push(&pool->done, options->wake, options->wake_context);
    pool->threads = calloc(options->threads, sizeof *pool->threads);
    if (pool->threads == NULL) {
        return error_set(error, E_MEMORY, "no memory for %u threads", options->threads);
    }
    for (; pool->thread_count < options->threads; pool->thread_count++) {
        if (uv_thread_create(&pool->threads[pool->thread_count], prep_pool_thread, pool) != 0) {
            return error_set(error, E_MEMORY, "no further thread can be started after %u",
                             pool->thread_count);
        }
    }
    return OK;
}

void prep_pool_close(PrepPool *pool) {
    if (pool->asked.items != NULL) {
        mailbox_close(&pool->asked);
    }
    for (uint32_t i = 0; i < pool->thread_count; i++) {
        uv_thread_join(&pool->threads[i]);
    }
    mailbox_free(&pool->asked);
    mailbox_free(&pool->done);
    free(pool->threads);
    *pool = (PrepPool){0};
}

void prep_pool_push(PrepPool *pool, PrepWork *work) {
    mailbox_push(&pool->asked, &work);
}

PrepWork *prep_pool_take(PrepPool *pool) {
    PrepWork *work;
    return mailbox_take(&pool->done, &work, 1) == 1 ? work : NULL;
}

PrepWork *prep_pool_wait(PrepPool *pool, uint64_t wait_ms) {
    PrepWork *work;
    return mailbox_pop(&pool->done, &work, wait_ms) ? work : NULL;
}
