// SPDX-License-Identifier: Apache-2.0
// The mailbox between threads: in order, nothing lost, nothing twice, waiting ends when it should.
#include "host/step/mailbox.h"

#include "base/clock.h"

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <string.h>

enum { PER_THREAD = 5000, THREADS = 4, COUNT = PER_THREAD * THREADS };

static Mailbox numbers, answers;

static void relay(void *argument) {
    (void)argument;
    int item;
    while (mailbox_pop(&numbers, &item, UINT64_MAX)) {
        mailbox_push(&answers, &item);
    }
}

// Several threads relay COUNT items through rings of `capacity`.
static void pass(uint32_t capacity) {
    static int seen[COUNT];
    memset(seen, 0, sizeof seen);
    cr_assert_eq(mailbox_open(&numbers, sizeof(int), COUNT, NULL), OK);
    cr_assert_eq(mailbox_open(&answers, sizeof(int), capacity, NULL), OK);
    uv_thread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        cr_assert_eq(uv_thread_create(&threads[i], relay, NULL), 0);
    }
    for (int i = 0; i < COUNT; i++) {
        mailbox_push(&numbers, &i);
    }
    for (int i = 0; i < COUNT; i++) {
        int item;
        cr_assert(mailbox_pop(&answers, &item, UINT64_MAX));
        seen[item]++;
    }
    mailbox_close(&numbers);
    for (int i = 0; i < THREADS; i++) {
        uv_thread_join(&threads[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        cr_assert_eq(seen[i], 1);
    }
    mailbox_free(&numbers);
    mailbox_free(&answers);
}

Test(mailbox, several_threads_pass_every_item_once) {
    pass(COUNT);
}

Test(mailbox, a_full_one_makes_its_writers_wait) {
    pass(3);
}

Test(mailbox, items_come_out_in_order) {
    Mailbox mailbox;
    const int items[] = {10, 11, 12};
    int out[3];
    cr_assert_eq(mailbox_open(&mailbox, sizeof(int), 2, NULL), OK);
    mailbox_push_all(&mailbox, items, 2);
    cr_assert(mailbox_pop(&mailbox, out, 0));
    cr_expect_eq(out[0], 10);
    mailbox_push(&mailbox, &items[2]);
    cr_assert_eq(mailbox_take(&mailbox, out, 3), 2);
    cr_expect_eq(out[0], 11);
    cr_expect_eq(out[1], 12);
    mailbox_free(&mailbox);
}

Test(mailbox, waiting_ends_after_its_time) {
    Mailbox mailbox;
    int out;
    cr_assert_eq(mailbox_open(&mailbox, sizeof(int), 1, NULL), OK);
    uint64_t begin_ns = clock_ns();
    cr_expect_not(mailbox_pop(&mailbox, &out, 20));
    cr_expect_geq(clock_ns() - begin_ns, 20000000u);
    mailbox_close(&mailbox);
    cr_expect_not(mailbox_pop(&mailbox, &out, UINT64_MAX), "a closed mailbox waits for nothing");
    mailbox_push(&mailbox, &out);
    cr_expect_eq(mailbox_take(&mailbox, &out, 1), 0, "and takes nothing");
    mailbox_free(&mailbox);
}

// The reader is woken for what is pushed, and when the ring is full for what is still to come.
static atomic_int wakes;
static Mailbox events;

static void wake(void *context) {
    (void)context;
    atomic_fetch_add(&wakes, 1);
}

static void push_ten(void *argument) {
    (void)argument;
    const int ten[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    mailbox_push_all(&events, ten, 10);
}

Test(mailbox, a_reader_that_does_not_wait_is_woken) {
    cr_assert_eq(mailbox_open(&events, sizeof(int), 4, NULL), OK);
    mailbox_on_push(&events, wake, NULL);
    uv_thread_t thread;
    cr_assert_eq(uv_thread_create(&thread, push_ten, NULL), 0);
    int expected = 0;
    while (expected < 10) {
        int out[4];
        uint32_t count = mailbox_take(&events, out, 4);
        for (uint32_t i = 0; i < count; i++) {
            cr_assert_eq(out[i], expected++);
        }
    }
    uv_thread_join(&thread);
    cr_expect_geq(atomic_load(&wakes), 1);
    mailbox_free(&events);
}
