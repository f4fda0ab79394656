// SPDX-License-Identifier: Apache-2.0
#include "host/server/users.h"

#include "base/check.h"
#include "base/file.h"
#include "base/num.h"
#include "base/text.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct Users {
    uint32_t count;
    ServerUser users[USERS_MAX];
};

// The settings of a line, in the order of USERS_SETTINGS; a bit of Parser.given each.
typedef enum Setting {
    SETTING_TOKEN,
    SETTING_WEIGHT,
    SETTING_IN_FLIGHT_MAX,
    SETTING_TOKENS_PER_MINUTE,
    SETTING_QUEUED_TOKENS_MAX,
    SETTING_CLASSES,
    SETTING_STATS,
    SETTING_COUNT
} Setting;

static const char *const setting_names[SETTING_COUNT] = {
    "token",   "weight", "in_flight_max", "tokens_per_minute", "queued_tokens_max",
    "classes", "stats"};

typedef struct Parser {
    const char *source;
    Users *users;
    Error *error;
    uint32_t line;
    unsigned given;              // settings of this line
    uint32_t line_of[USERS_MAX]; // where a user is in this text, 0 = not yet
} Parser;

#define USERS_FAIL(parser, format, ...)                                                            \
    error_set((parser)->error, E_USERS, "%s:%u: " format, (parser)->source, (parser)->line,        \
              __VA_ARGS__)

static bool users_is_space(uint8_t byte) {
    return byte == ' ' || byte == '\t' || byte == '\r';
}

// Cuts the next word off `rest`; empty at the end of the line or at a comment.
static Bytes users_word(Bytes *rest) {
    size_t start = 0;
    while (start < rest->length && users_is_space(rest->data[start])) {
        start++;
    }
    size_t end = start;
    if (start < rest->length && rest->data[start] != '#') {
        while (end < rest->length && !users_is_space(rest->data[end])) {
            end++;
        }
    }
    Bytes word = {rest->data + start, end - start};
    *rest = (Bytes){rest->data + end, rest->length - end};
    return word;
}

static bool users_word_is(Bytes word, const char *text) {
    return bytes_equal(word, bytes_of_text(text));
}

static bool users_name_valid(Bytes name) {
    if (name.length == 0 || name.length > USER_NAME_MAX) {
        return false;
    }
    for (size_t i = 0; i < name.length; i++) {
        uint8_t c = name.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '.' || c == '_' || c == '-')) {
            return false;
        }
    }
    return true;
}

static bool users_read_number(Bytes text, uint64_t most, uint64_t *out) {
    uint64_t value = 0;
    for (size_t i = 0; i < text.length; i++) {
        uint8_t c = text.data[i];
        if (c < '0' || c > '9' || value > most) {
            return false;
        }
        value = value * 10 + (uint64_t)(c - '0'); // at most 10 * most + 9
    }
    *out = value;
    return text.length > 0 && value >= 1 && value <= most;
}

static bool users_read_limit(Bytes text, uint32_t most, uint32_t *out) {
    uint64_t value = 0;
    bool good = users_read_number(text, most, &value);
    *out = (uint32_t)value;
    return good;
}

// Digits with at most one point among them, 0.01 to 100.
static bool users_read_weight(Bytes text, double *out) {
    char copy[16];
    if (text.length == 0 || text.length >= sizeof copy) {
        return false;
    }
    memcpy(copy, text.data, text.length);
    copy[text.length] = '\0';
    if (strspn(copy, "0123456789.") != text.length) {
        return false;
    }
    char *end;
    *out = strtod(copy, &end);
    return end == copy + text.length && *out >= 0.01 && *out <= 100;
}

static bool users_read_hash(Bytes text, uint8_t hash[USER_TOKEN_HASH]) {
    size_t length = 0;
    return text.length == 2 * USER_TOKEN_HASH &&
           sodium_hex2bin(hash, USER_TOKEN_HASH, (const char *)text.data, text.length, NULL,
                          &length, NULL) == 0 &&
           length == USER_TOKEN_HASH;
}

static bool users_read_classes(Bytes text, bool allowed[PRIORITY_COUNT]) {
    bool both =
        users_word_is(text, "interactive,batch") || users_word_is(text, "batch,interactive");
    allowed[PRIORITY_INTERACTIVE] = both || users_word_is(text, "interactive");
    allowed[PRIORITY_BATCH] = both || users_word_is(text, "batch");
    return allowed[PRIORITY_INTERACTIVE] || allowed[PRIORITY_BATCH];
}

// Reads one value; NULL when it is good, else the rule it broke.
static const char *users_read_value(Setting setting, Bytes text, ServerUser *user) {
    switch (setting) {
    case SETTING_TOKEN:
        user->has_token = !users_word_is(text, "none");
        return !user->has_token || users_read_hash(text, user->token_hash)
                   ? NULL
                   : "64 hexadecimal digits as `tessera token` prints them, or none";
    case SETTING_WEIGHT:
        return users_read_weight(text, &user->limits.weight) ? NULL : "a number from 0.01 to 100";
    case SETTING_IN_FLIGHT_MAX:
        return users_read_limit(text, 1000000, &user->limits.in_flight_max)
                   ? NULL
                   : "a whole number from 1 to 1000000";
    case SETTING_TOKENS_PER_MINUTE:
        return users_read_limit(text, 1000000000, &user->limits.tokens_per_minute)
                   ? NULL
                   : "a whole number from 1 to 1000000000";
    case SETTING_QUEUED_TOKENS_MAX:
        return users_read_number(text, 1000000000, &user->limits.queued_tokens_max)
                   ? NULL
                   : "a whole number from 1 to 1000000000";
    case SETTING_CLASSES:
        return users_read_classes(text, user->class_allowed)
                   ? NULL
                   : "interactive, batch or interactive,batch";
    case SETTING_STATS:
        user->sees_all = users_word_is(text, "all");
        return user->sees_all || users_word_is(text, "own") ? NULL : "own or all";
    case SETTING_COUNT:
        break;
    }
    REQUIRE(false);
    return NULL;
}

static Status users_parse_setting(Parser *parser, Bytes word, ServerUser *user) {
    const uint8_t *equals = memchr(word.data, '=', word.length);
    Bytes key = {word.data, equals != NULL ? (size_t)(equals - word.data) : word.length};
    int setting = 0;
    while (setting < SETTING_COUNT && !users_word_is(key, setting_names[setting])) {
        setting++;
    }
    if (equals == NULL || setting == SETTING_COUNT) {
        return USERS_FAIL(parser,
                          "'%.*s' is not a setting; there are token=, weight=, in_flight_max=, "
                          "tokens_per_minute=, queued_tokens_max=, classes= and stats=",
                          (int)num_min(word.length, 40), (const char *)word.data);
    }
    if ((parser->given & 1u << setting) != 0) {
        return USERS_FAIL(parser, "%s is given twice", setting_names[setting]);
    }
    parser->given |= 1u << setting;
    Bytes text = {equals + 1, word.length - key.length - 1};
    const char *rule = users_read_value((Setting)setting, text, user);
    if (rule != NULL) {
        return USERS_FAIL(parser, "%s: '%.*s' is not %s", setting_names[setting],
                          (int)num_min(text.length, 80), (const char *)text.data, rule);
    }
    return OK;
}

// The place of a name: where it was before, or the next free one.
static Status users_place(Parser *parser, const ServerUser *user, uint32_t *place) {
    Users *users = parser->users;
    uint32_t i = 0;
    while (i < users->count && strcmp(users->users[i].name, user->name) != 0) {
        i++;
    }
    if (i < users->count && parser->line_of[i] != 0) {
        return USERS_FAIL(parser, "user %s is already in line %u; a name is given once", user->name,
                          parser->line_of[i]);
    }
    if (i == USERS_MAX) {
        return error_set(parser->error, E_LIMIT,
                         "%s:%u: user %s is one too many: a server knows at most %d names, those "
                         "removed since it started among them; remove users, then restart it",
                         parser->source, parser->line, user->name, USERS_MAX);
    }
    *place = i;
    return OK;
}

// Two users with one token could not be told apart; nor could two without any.
static Status users_check_token(const Parser *parser, const ServerUser *user) {
    const Users *users = parser->users;
    for (uint32_t i = 0; i < users->count; i++) {
        const ServerUser *other = &users->users[i];
        if (parser->line_of[i] == 0 || other->has_token != user->has_token) {
            continue;
        }
        if (!user->has_token) {
            return USERS_FAIL(parser,
                              "user %s has token=none like user %s in line %u; only one user can "
                              "stand for connections without a token",
                              user->name, other->name, parser->line_of[i]);
        }
        if (memcmp(other->token_hash, user->token_hash, USER_TOKEN_HASH) == 0) {
            return USERS_FAIL(parser,
                              "user %s has the token of user %s in line %u; make another with "
                              "`tessera token %s`",
                              user->name, other->name, parser->line_of[i], user->name);
        }
    }
    return OK;
}

static Status users_parse_user(Parser *parser, Bytes rest) {
    Bytes name = users_word(&rest);
    if (!users_name_valid(name)) {
        return USERS_FAIL(parser,
                          "'%.*s' is not a user name: 1 to %d letters, digits, '.', '_' and '-'",
                          (int)num_min(name.length, 80), (const char *)name.data, USER_NAME_MAX);
    }
    ServerUser user = {.limits.weight = 1, .class_allowed = {true, true}};
    memcpy(user.name, name.data, name.length);
    parser->given = 0;
    for (Bytes word = users_word(&rest); word.length > 0; word = users_word(&rest)) {
        TRY(users_parse_setting(parser, word, &user));
    }
    if ((parser->given & 1u << SETTING_TOKEN) == 0) {
        return USERS_FAIL(parser, "user %s has no token=; make one with `tessera token %s`",
                          user.name, user.name);
    }
    uint32_t place = 0;
    TRY(users_place(parser, &user, &place));
    TRY(users_check_token(parser, &user));
    parser->users->users[place] = user;
    parser->line_of[place] = parser->line;
    if (place == parser->users->count) {
        parser->users->count++;
    }
    return OK;
}

static Status users_parse_line(Parser *parser, Bytes line) {
    for (size_t i = 0; i < line.length; i++) {
        if (line.data[i] < ' ' && !users_is_space(line.data[i])) {
            return USERS_FAIL(parser, "the line holds a control character, byte 0x%02x",
                              line.data[i]);
        }
    }
    Bytes word = users_word(&line);
    if (word.length == 0) {
        return OK;
    }
    if (!users_word_is(word, "user")) {
        return USERS_FAIL(parser, "'%.*s': a line is `user NAME token=... [setting=value ...]`",
                          (int)num_min(word.length, 40), (const char *)word.data);
    }
    return users_parse_user(parser, line);
}

// Known names keep their places, as removed ones until the text names them again.
static void users_carry_over(const Users *previous, Users *users) {
    *users = *previous;
    for (uint32_t i = 0; i < users->count; i++) {
        users->users[i].removed = true;
        users->users[i].has_token = false;
        sodium_memzero(users->users[i].token_hash, USER_TOKEN_HASH);
    }
}

static Status users_parse_into(Bytes text, const char *source, Users *users, Error *error) {
    Parser parser = {.source = source, .users = users, .error = error};
    size_t at = 0;
    text = text_skip_mark(text);
    while (at < text.length) {
        const uint8_t *newline = memchr(text.data + at, '\n', text.length - at);
        size_t end = newline != NULL ? (size_t)(newline - text.data) : text.length;
        parser.line++;
        TRY(users_parse_line(&parser, (Bytes){text.data + at, end - at}));
        at = end + 1;
    }
    for (uint32_t i = 0; i < users->count; i++) {
        if (!users->users[i].removed) {
            return OK;
        }
    }
    return error_set(error, E_USERS, "%s: holds no user; make a line with `tessera token NAME`",
                     source);
}

Status users_parse(Bytes text, const char *source, const Users *previous, Users **out,
                   Error *error) {
    if (sodium_init() < 0) {
        return error_set(error, E_INTERNAL, "libsodium cannot be initialised");
    }
    if (text.length > USERS_FILE_MAX) {
        return error_set(error, E_LIMIT, "%s: has %zu bytes; a users file has at most %d", source,
                         text.length, USERS_FILE_MAX);
    }
    Users *users = calloc(1, sizeof *users);
    if (users == NULL) {
        return error_set(error, E_MEMORY, "%s: no memory for the users", source);
    }
    if (previous != NULL) {
        users_carry_over(previous, users);
    }
    Status status = users_parse_into(text, source, users, error);
    if (status != OK) {
        users_free(users);
        return status;
    }
    *out = users;
    return OK;
}

Status users_load(const char *path, const Users *previous, Users **out, Error *error) {
    Buffer text = {0};
    Status status = file_read(path, USERS_FILE_MAX, &text, error);
    if (status == OK) {
        status = users_parse((Bytes){text.data, text.length}, path, previous, out, error);
    }
    buffer_free(&text);
    return status;
}

Status users_open_to_all(Users **out, Error *error) {
    return users_parse(bytes_of_text("user everyone token=none\n"), "no users file", NULL, out,
                       error);
}

void users_free(Users *users) {
    free(users);
}

uint32_t users_count(const Users *users) {
    return users->count;
}

const ServerUser *users_at(const Users *users, uint32_t number) {
    REQUIRE(number < users->count);
    return &users->users[number];
}

bool users_find(const Users *users, Bytes token, uint32_t *number) {
    if (token.length == 0 || token.length > USER_TOKEN_MAX) {
        return false;
    }
    uint8_t hash[USER_TOKEN_HASH];
    crypto_generichash(hash, sizeof hash, token.data, token.length, NULL, 0);
    uint32_t found = 0; // number + 1
    for (uint32_t i = 0; i < users->count; i++) {
        const ServerUser *user = &users->users[i];
        bool equal = sodium_memcmp(hash, user->token_hash, sizeof hash) == 0;
        found |= (i + 1) & -(uint32_t)(equal & user->has_token);
    }
    *number = found - 1;
    return found != 0;
}

bool users_anonymous(const Users *users, uint32_t *number) {
    for (uint32_t i = 0; i < users->count; i++) {
        if (!users->users[i].removed && !users->users[i].has_token) {
            *number = i;
            return true;
        }
    }
    return false;
}

Status users_make_token(const char *name, char token[USER_TOKEN_TEXT], char line[USER_LINE_TEXT],
                        Error *error) {
    if (!users_name_valid(bytes_of_text(name))) {
        return error_set(error, E_ARGUMENT,
                         "'%.80s' is not a user name: 1 to %d letters, digits, '.', '_' and '-'",
                         name, USER_NAME_MAX);
    }
    if (sodium_init() < 0) {
        return error_set(error, E_INTERNAL, "libsodium cannot be initialised");
    }
    // The first part lets secret scanners and people see what it is.
    static const char prefix[] = "tessera_";
    uint8_t bits[32], hash[USER_TOKEN_HASH];
    randombytes_buf(bits, sizeof bits);
    memcpy(token, prefix, sizeof prefix);
    sodium_bin2base64(token + sizeof prefix - 1, USER_TOKEN_TEXT - sizeof prefix + 1, bits,
                      sizeof bits, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(bits, sizeof bits);
    crypto_generichash(hash, sizeof hash, (const uint8_t *)token, strlen(token), NULL, 0);
    char hex[2 * USER_TOKEN_HASH + 1];
    sodium_bin2hex(hex, sizeof hex, hash, sizeof hash);
    snprintf(line, USER_LINE_TEXT, "user %s token=%s", name, hex);
    return OK;
}
