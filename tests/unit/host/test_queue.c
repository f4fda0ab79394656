// SPDX-License-Identifier: Apache-2.0
// The queue between threads: in order, nothing lost, nothing twice, waiting ends when it should.
#include "host/queue.h"

#include "base/clock.h"

#include <criterion/criterion.h>

enum { PER_THREAD = 5000, THREADS = 4 };

static Queue numbers, answers;

static void relay(void *argument) {
    (void)argument;
    void *item;
    while ((item = queue_pop(&numbers, UINT64_MAX)) != NULL) {
        queue_push(&answers, item);
    }
}

Test(queue, several_threads_pass_every_item_once) {
    enum { COUNT = PER_THREAD * THREADS };
    static int items[COUNT], seen[COUNT];
    cr_assert_eq(queue_open(&numbers, COUNT, NULL), OK);
    cr_assert_eq(queue_open(&answers, COUNT, NULL), OK);
    uv_thread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        cr_assert_eq(uv_thread_create(&threads[i], relay, NULL), 0);
    }
    for (int i = 0; i < COUNT; i++) {
        queue_push(&numbers, &items[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        int *item = queue_pop(&answers, UINT64_MAX);
        seen[item - items]++;
    }
    queue_close(&numbers);
    for (int i = 0; i < THREADS; i++) {
        uv_thread_join(&threads[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        cr_assert_eq(seen[i], 1);
    }
    queue_free(&numbers);
    queue_free(&answers);
}

Test(queue, items_come_out_in_order) {
    Queue queue;
    int items[3];
    cr_assert_eq(queue_open(&queue, 2, NULL), OK);
    queue_push(&queue, &items[0]);
    queue_push(&queue, &items[1]);
    cr_expect_eq(queue_pop(&queue, 0), &items[0]);
    queue_push(&queue, &items[2]);
    cr_expect_eq(queue_pop(&queue, 0), &items[1]);
    cr_expect_eq(queue_pop(&queue, 0), &items[2]);
    queue_free(&queue);
}

Test(queue, waiting_ends_after_its_time) {
    Queue queue;
    cr_assert_eq(queue_open(&queue, 1, NULL), OK);
    uint64_t begin_ns = clock_ns();
    cr_expect_null(queue_pop(&queue, 20));
    cr_expect_geq(clock_ns() - begin_ns, 20000000u);
    queue_close(&queue);
    cr_expect_null(queue_pop(&queue, UINT64_MAX), "a closed queue waits for nothing");
    queue_free(&queue);
}
