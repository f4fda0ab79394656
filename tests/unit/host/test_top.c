// SPDX-License-Identifier: Apache-2.0
// The picture of tessera top: everything an administrator asks for is there, it fits the terminal,
// and users are told apart by what they got since the last picture.
#include "host/cli/top.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static TopSnapshot *before, *now;
static Buffer text;

static void user(TopSnapshot *in, const char *name, uint64_t in_flight, uint64_t tokens,
                 double service) {
    in->users[in->user_count++] = (UserRow){.name = bytes_of_text(name),
                                            .in_flight = in_flight,
                                            .requests = 7,
                                            .prompt_tokens = tokens,
                                            .output_tokens = tokens,
                                            .service = service};
}

static void set_up(void) {
    before = calloc(1, sizeof *before);
    now = calloc(1, sizeof *now);
    before->server.uptime_ms = 60000;
    now->server = (ServerStats){
        .uptime_ms = 62000,
        .connections = 14,
        .preparing = 3,
        .waiting = 40,
        .running = 12,
        .running_max = 16,
        .queued_tokens = 13579,
        .oldest_ms = 2140,
        .pages_sliding_used = 128,
        .pages_sliding_cached = 64,
        .pages_sliding_total = 256,
        .pages_full_total = 256,
        .requests_accepted = 1234567,
        .prefix_asked_tokens = 1000,
        .prefix_hit_tokens = 810,
        .tokens_per_second = 310.4,
        .prompt_tokens_per_second = 4210,
        .pictures_per_second = 12.25,
    };
    user(before, "idle", 0, 5000, 10);
    user(before, "light", 1, 100, 10);
    user(before, "heavy", 50, 1000, 100);
    user(now, "idle", 0, 5000, 10);
    user(now, "light", 1, 200, 20);
    user(now, "heavy", 50, 1300, 130);
}

static void forget(void) {
    free(before);
    free(now);
    buffer_free(&text);
}

static const char *render(const TopSnapshot *from, uint32_t columns, uint32_t rows) {
    buffer_clear(&text);
    top_render(now, from, "unix:/run/t.sock", columns, rows, &text);
    return (const char *)text.data;
}

static void expect_line(const char *picture, const char *line) {
    cr_expect_not_null(strstr(picture, line), "no '%s' in\n%s", line, picture);
}

Test(top, everything_is_there, .init = set_up, .fini = forget) {
    const char *picture = render(before, 80, 24);
    expect_line(picture, "tessera  unix:/run/t.sock  up 1 m 02 s, connections 14\n");
    expect_line(picture, "310 tokens/s, 4210 prompt tokens/s, 12.2 captions/s\n");
    expect_line(picture, "40 waiting with 13.58 k tokens, 3 in preparation, oldest 2.1 s\n");
    expect_line(picture, "batch     [##################......] 12 of 16\n");
    expect_line(picture,
                "sliding   [############::::::......] 128 used, 64 cached, of 256 pages\n");
    expect_line(picture, "full      [........................] 0 used, 0 cached, of 256 pages\n");
    expect_line(picture, "81 % of 1000 tokens found");
    expect_line(picture, "1235 k accepted");
}

Test(top, users_are_in_the_order_of_what_they_just_got, .init = set_up, .fini = forget) {
    const char *picture = render(before, 80, 24);
    // heavy: 600 tokens in 2 s and 30 of 40 units of service; light: 200 and 10; idle: none.
    expect_line(picture, "\nheavy                   50       300     75 %     1300     1300");
    expect_line(picture, "\nlight                    1       100     25 %      200      200");
    expect_line(picture, "\nidle                     0         0      0 %     5000     5000");
    cr_expect_lt(strstr(picture, "heavy"), strstr(picture, "light"));
    cr_expect_lt(strstr(picture, "light"), strstr(picture, "idle"));
}

Test(top, a_first_picture_tells_no_rates_of_users, .init = set_up, .fini = forget) {
    expect_line(render(NULL, 80, 24), "\nheavy                   50         -        -     1300");
    now->server.uptime_ms = 10; // the server was started again in between
    expect_line(render(before, 80, 24), "\nheavy                   50         -        -     1300");
}

Test(top, it_never_is_larger_than_the_terminal, .init = set_up, .fini = forget) {
    char names[100][16];
    for (int i = 0; i < 100; i++) {
        snprintf(names[i], sizeof names[i], "user%d", i);
        user(now, names[i], (uint64_t)i, 5, 1);
    }
    now->server.requests_accepted = now->server.requests_failed = UINT64_MAX;
    now->server.pages_full_used = now->server.pages_full_cached = UINT64_MAX;
    for (uint32_t columns = 1; columns <= 200; columns += 13) {
        for (uint32_t rows = 1; rows <= 130; rows += 3) {
            const char *line = render(before, columns, rows);
            uint32_t count = 0;
            for (const char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
                cr_assert_leq((size_t)(end - line), columns);
                count++;
            }
            cr_assert_leq(count, rows);
            cr_assert_eq(*line, '\0');
        }
    }
    expect_line(render(before, 80, 24), "\nand 90 more\n"); // 9 lines, the head, 13 users, this one
}

Test(top, what_a_server_says_does_not_drive_the_terminal, .init = set_up, .fini = forget) {
    user(now, "\x1b[2J\xff\n", 1, 1, 1);
    top_keep_names(now);
    const char *picture = render(before, 80, 24);
    cr_expect_null(strpbrk(picture, "\x1b\xff"));
    expect_line(picture, "\n?[2J??");
}

Test(top, a_snapshot_keeps_its_names, .init = set_up, .fini = forget) {
    char gone[] = "temporary";
    user(now, gone, 1, 1, 1);
    top_keep_names(now);
    memset(gone, 'x', sizeof gone - 1);
    expect_line(render(before, 80, 24), "\ntemporary ");
}
