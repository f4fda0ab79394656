// SPDX-License-Identifier: Apache-2.0
// The users file: what a line means, that errors name file, line and rule, that a reload keeps
// numbers, and that a token is found by its hash. The hashes below were made by Python's
// hashlib.blake2b(token, digest_size=32).
#include "host/server/users.h"

#include <criterion/criterion.h>
#include <string.h>

#define ALPHA      "tessera_alpha"
#define ALPHA_HASH "1e76dcbbf9a30df18c30ddd028acac777db4507e4cb6c3cbd78ab4386795025c"
#define BETA       "tessera_beta"
#define BETA_HASH  "af6696e10ce88be61dfe359409efc019da2590458765139d35368d12d461c05a"

static Users *users;
static Error error;

static Status parse(const char *text) {
    error = (Error){0};
    return users_parse(bytes_of_text(text), "users.conf", NULL, &users, &error);
}

static void forget(void) {
    users_free(users);
}

static bool finds(const Users *in, const char *token, uint32_t *number) {
    return users_find(in, bytes_of_text(token), number);
}

Test(users, a_line_names_a_user_and_what_is_left_out_is_unlimited, .fini = forget) {
    cr_assert_eq(parse("# the lab\n\n  user alice token=" ALPHA_HASH "  # since May\r\n"), OK, "%s",
                 error.text);
    cr_assert_eq(users_count(users), 1);
    const ServerUser *alice = users_at(users, 0);
    cr_expect_str_eq(alice->name, "alice");
    cr_expect(alice->has_token && !alice->removed);
    cr_expect_float_eq(alice->limits.weight, 1, 0);
    cr_expect_eq(alice->limits.in_flight_max, 0);
    cr_expect_eq(alice->limits.tokens_per_minute, 0);
    cr_expect_eq(alice->limits.queued_tokens_max, 0);
    cr_expect(alice->class_allowed[PRIORITY_INTERACTIVE] && alice->class_allowed[PRIORITY_BATCH]);
    cr_expect(!alice->sees_all);
}

Test(users, a_byte_order_mark_and_white_space_around_are_passed_over, .fini = forget) {
    cr_assert_eq(parse("\xef\xbb\xbf \tuser alice token=" ALPHA_HASH " \t\r\n \r\n"), OK, "%s",
                 error.text);
    uint32_t number;
    cr_expect(finds(users, ALPHA, &number));
}

Test(users, every_setting_is_read_in_any_order, .fini = forget) {
    cr_assert_eq(
        parse("user night queued_tokens_max=2000000 classes=batch\ttokens_per_minute=200000 "
              "in_flight_max=64 weight=0.25 stats=all token=" ALPHA_HASH),
        OK, "%s", error.text);
    const ServerUser *night = users_at(users, 0);
    cr_expect_float_eq(night->limits.weight, 0.25, 0);
    cr_expect_eq(night->limits.in_flight_max, 64);
    cr_expect_eq(night->limits.tokens_per_minute, 200000);
    cr_expect_eq(night->limits.queued_tokens_max, 2000000);
    cr_expect(!night->class_allowed[PRIORITY_INTERACTIVE] && night->class_allowed[PRIORITY_BATCH]);
    cr_expect(night->sees_all);
}

Test(users, a_token_finds_its_user_and_nothing_else_does, .fini = forget) {
    cr_assert_eq(parse("user alice token=" ALPHA_HASH "\nuser bob token=" BETA_HASH
                       "\nuser guest token=none\n"),
                 OK);
    uint32_t number = 99;
    cr_expect(finds(users, ALPHA, &number) && number == 0);
    cr_expect(finds(users, BETA, &number) && number == 1);
    cr_expect(!finds(users, "tessera_alphb", &number));
    cr_expect(!finds(users, "", &number));
    cr_expect(!finds(users, ALPHA_HASH, &number), "the hash itself is no token");
    char all[USER_TOKEN_MAX + 2];
    memset(all, 'a', sizeof all);
    cr_expect(!users_find(users, (Bytes){(uint8_t *)all, sizeof all}, &number));
    cr_expect(users_anonymous(users, &number) && number == 2);
}

Test(users, a_user_without_a_token_is_not_found_by_one, .fini = forget) {
    cr_assert_eq(parse("user guest token=none\n"), OK);
    // BLAKE2b of no text hits 32 zero bytes as little as any other; the flag must decide.
    uint32_t number;
    cr_expect(!finds(users, "none", &number));
}

typedef struct Wrong {
    const char *text, *says;
} Wrong;

Test(users, an_error_names_the_line_the_word_and_the_rule) {
    const Wrong wrong[] = {
        {"", "users.conf: holds no user"},
        {"# nobody\n", "users.conf: holds no user"},
        {"\nalice token=none\n", "users.conf:2: 'alice': a line is `user NAME"},
        {"user\n", "users.conf:1: '' is not a user name"},
        {"user al/ice token=none", "users.conf:1: 'al/ice' is not a user name"},
        {"user alice\n", "users.conf:1: user alice has no token="},
        {"user alice tokens=none\n", "users.conf:1: 'tokens=none' is not a setting"},
        {"user alice token\n", "users.conf:1: 'token' is not a setting"},
        {"user alice token=\n", "token: '' is not 64 hexadecimal digits"},
        {"user alice token=abcd\n", "token: 'abcd' is not 64 hexadecimal digits"},
        {"user alice token=" ALPHA_HASH "0\n", "is not 64 hexadecimal digits"},
        {"user a token=none weight=0\n", "weight: '0' is not a number from 0.01 to 100"},
        {"user a token=none weight=-1\n", "weight: '-1' is not a number from"},
        {"user a token=none weight=1e1\n", "weight: '1e1' is not a number from"},
        {"user a token=none weight=1.2.3\n", "weight: '1.2.3' is not a number from"},
        {"user a token=none in_flight_max=0\n", "in_flight_max: '0' is not a whole number"},
        {"user a token=none queued_tokens_max=1000000001\n",
         "queued_tokens_max: '1000000001' is not a whole"},
        {"user a token=none tokens_per_minute=99999999999999999999999\n", "is not a whole number"},
        {"user a token=none classes=all\n", "classes: 'all' is not interactive, batch or"},
        {"user a token=none stats=batch\n", "stats: 'batch' is not own or all"},
        {"user a token=none token=none\n", "token is given twice"},
        {"user a token=none\n#\nuser a token=none", "users.conf:3: user a is already in line 1"},
        {"user a token=none\nuser b token=none", "users.conf:2: user b has token=none like user a"},
        {"user a token=" ALPHA_HASH "\nuser b token=" ALPHA_HASH, "has the token of user a"},
        {"user a token=none \x1b[31m\n", "users.conf:1: the line holds a control character"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cr_expect_eq(parse(wrong[i].text), E_USERS, "%s", wrong[i].text);
        cr_expect_not_null(strstr(error.text, wrong[i].says), "%s\n  said: %s", wrong[i].text,
                           error.text);
    }
}

Test(users, a_reload_keeps_numbers_and_remembers_who_left) {
    Users *first, *second, *third;
    cr_assert_eq(parse("user alice token=" ALPHA_HASH "\nuser bob token=" BETA_HASH "\n"), OK);
    first = users;
    Bytes text = bytes_of_text("user carol token=none\nuser bob weight=3 token=" BETA_HASH "\n");
    cr_assert_eq(users_parse(text, "users.conf", first, &second, &error), OK);
    uint32_t number;
    cr_expect_eq(users_count(second), 3);
    cr_expect(finds(second, BETA, &number) && number == 1, "bob keeps his number");
    cr_expect_float_eq(users_at(second, 1)->limits.weight, 3, 0);
    cr_expect(!finds(second, ALPHA, &number), "alice is gone");
    cr_expect(users_at(second, 0)->removed);
    cr_expect(users_anonymous(second, &number) && number == 2);
    text = bytes_of_text("user alice token=" ALPHA_HASH "\n");
    cr_assert_eq(users_parse(text, "users.conf", second, &third, &error), OK);
    cr_expect(finds(third, ALPHA, &number) && number == 0, "alice is back, with her number");
    cr_expect(!users_anonymous(third, &number), "carol is gone");
    users_free(first);
    users_free(second);
    users_free(third);
}

Test(users, a_wrong_file_leaves_the_old_users_as_they_were, .fini = forget) {
    cr_assert_eq(parse("user alice token=" ALPHA_HASH "\n"), OK);
    Users *next = NULL;
    Bytes text = bytes_of_text("user alice token=" ALPHA_HASH " weight=heavy\n");
    cr_expect_eq(users_parse(text, "users.conf", users, &next, &error), E_USERS);
    cr_expect_null(next);
    uint32_t number;
    cr_expect(finds(users, ALPHA, &number) && number == 0);
}

Test(users, more_names_than_there_are_numbers_are_refused) {
    Buffer text = {0};
    for (int i = 0; i < USERS_MAX + 1; i++) {
        buffer_printf(&text, "user u%d token=%064x\n", i, i + 1);
    }
    cr_expect_eq(users_parse((Bytes){text.data, text.length}, "users.conf", NULL, &users, &error),
                 E_LIMIT);
    cr_expect_not_null(strstr(error.text, "users.conf:1025: user u1024 is one too many"));
    buffer_free(&text);
}

Test(users, a_server_without_a_file_has_one_user_for_all, .fini = forget) {
    cr_assert_eq(users_open_to_all(&users, &error), OK);
    uint32_t number;
    cr_expect(users_anonymous(users, &number) && number == 0);
    cr_expect_str_eq(users_at(users, 0)->name, "everyone");
}

Test(users, a_made_token_matches_the_line_made_with_it, .fini = forget) {
    char token[USER_TOKEN_TEXT], line[USER_LINE_TEXT], other[USER_TOKEN_TEXT];
    cr_assert_eq(users_make_token("alice", token, line, &error), OK);
    cr_expect_eq(strncmp(token, "tessera_", 8), 0);
    cr_expect_eq(strlen(token), 8 + 43, "256 bits in base64: %s", token);
    cr_expect_null(strstr(line, token + 8), "the line does not hold the token");
    cr_assert_eq(parse(line), OK, "%s", error.text);
    uint32_t number;
    cr_expect(finds(users, token, &number) && number == 0);
    cr_assert_eq(users_make_token("alice", other, line, &error), OK);
    cr_expect_str_neq(token, other);
    cr_expect_eq(users_make_token("a b", token, line, &error), E_ARGUMENT);
}
