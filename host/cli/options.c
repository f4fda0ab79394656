// SPDX-License-Identifier: Apache-2.0
#include "host/cli/options.h"

#include "base/check.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CAPTION  COMMAND_CAPTION
#define ASK      COMMAND_ASK
#define LOGITS   COMMAND_LOGITS
#define INFO     COMMAND_INFO
#define QUANTIZE COMMAND_QUANTIZE
#define HELP     COMMAND_HELP
#define TOKEN    COMMAND_TOKEN
#define TOP      COMMAND_TOP
#define SERVE    COMMAND_SERVE
const OptionRow option_rows[OPTION_COUNT] = {
#define OPTION(id, name, letter, argument, kind, preset, rule, commands, help)                     \
    {name, letter, argument, OPTION_##kind, preset, rule, commands, help},
#include "host/cli/options.def"
#undef OPTION
};
#undef CAPTION
#undef ASK
#undef LOGITS
#undef INFO
#undef QUANTIZE
#undef HELP
#undef TOKEN
#undef TOP
#undef SERVE

static bool option_parse_number(const char *text, uint64_t *out) {
    if (*text < '0' || *text > '9') {
        return false;
    }
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    *out = value;
    return errno == 0 && *end == '\0';
}

static bool option_parse_real(const char *text, double *out) {
    if ((*text < '0' || *text > '9') && *text != '.') {
        return false;
    }
    char *end;
    *out = strtod(text, &end);
    return *end == '\0' && isfinite(*out);
}

// The two ends of a rule "least..most" as texts in `low` and `high`.
static void option_split_rule(const char *rule, char low[32], char high[32]) {
    const char *dots = strstr(rule, "..");
    REQUIRE(dots != NULL && (size_t)(dots - rule) < 32 && strlen(dots + 2) < 32);
    memcpy(low, rule, (size_t)(dots - rule));
    low[dots - rule] = '\0';
    memcpy(high, dots + 2, strlen(dots + 2) + 1);
}

static bool option_is_choice(const char *rule, const char *text) {
    size_t length = strlen(text);
    for (const char *word = rule;; word++) {
        const char *end = strchr(word, '|');
        size_t word_length = end != NULL ? (size_t)(end - word) : strlen(word);
        if (length == word_length && memcmp(word, text, length) == 0) {
            return true;
        }
        if (end == NULL) {
            return false;
        }
        word = end;
    }
}

static Status option_check(const OptionRow *row, const char *text, OptionValue *value,
                           Error *error) {
    char low[32], high[32];
    if (row->kind == OPTION_NUMBER) {
        uint64_t least, most;
        option_split_rule(row->rule, low, high);
        REQUIRE(option_parse_number(low, &least) && option_parse_number(high, &most));
        if (!option_parse_number(text, &value->number) || value->number < least ||
            value->number > most) {
            return error_set(error, E_ARGUMENT, "--%s: '%s' is not a whole number from %s to %s",
                             row->name, text, low, high);
        }
    } else if (row->kind == OPTION_REAL) {
        double least, most;
        option_split_rule(row->rule, low, high);
        REQUIRE(option_parse_real(low, &least) && option_parse_real(high, &most));
        if (!option_parse_real(text, &value->real) || value->real < least || value->real > most) {
            return error_set(error, E_ARGUMENT, "--%s: '%s' is not a number from %s to %s",
                             row->name, text, low, high);
        }
    } else if (row->kind == OPTION_CHOICE) {
        if (!option_is_choice(row->rule, text)) {
            return error_set(error, E_ARGUMENT, "--%s: '%s' is not one of %s", row->name, text,
                             row->rule);
        }
        (void)option_parse_number(text, &value->number);
    } else if (row->kind == OPTION_PATH || row->kind == OPTION_PATHS) {
        if (*text == '\0') {
            return error_set(error, E_ARGUMENT, "--%s: the name is empty", row->name);
        }
    }
    value->text = text;
    return OK;
}

static Status option_take(Options *options, OptionId id, const char *text, int argc, Error *error) {
    OptionValue *value = &options->values[id];
    const OptionRow *row = &option_rows[id];
    TRY(option_check(row, text, value, error));
    value->given = true;
    if (row->kind == OPTION_TEXTS || row->kind == OPTION_PATHS) {
        if (value->list == NULL) {
            value->list = arena_take_array(&options->arena, (size_t)argc, sizeof *value->list);
            if (value->list == NULL) {
                return error_set(error, E_MEMORY, "no memory for the arguments");
            }
        }
        value->list[value->list_count++] = text;
    }
    return OK;
}

// The row of an argument "--name", "--name=value", "-n" or "-nvalue"; *value is what follows inside
// the same argument, or NULL.
static bool option_find(CommandSet command, const char *argument, OptionId *id,
                        const char **value) {
    bool is_long = argument[1] == '-';
    const char *equals = is_long ? strchr(argument, '=') : NULL;
    size_t length = equals != NULL ? (size_t)(equals - argument - 2) : strlen(argument) - 2;
    for (int i = 0; i < OPTION_COUNT; i++) {
        const OptionRow *row = &option_rows[i];
        if ((row->commands & (unsigned)command) == 0) {
            continue;
        }
        if (is_long && strlen(row->name) == length &&
            memcmp(row->name, argument + 2, length) == 0) {
            *id = (OptionId)i;
            *value = equals != NULL ? equals + 1 : NULL;
            return true;
        }
        if (!is_long && row->letter == argument[1]) {
            *id = (OptionId)i;
            *value = argument[2] != '\0' ? argument + 2 : NULL;
            return true;
        }
    }
    return false;
}

Status options_parse(CommandSet command, int argc, char **argv, Options *out, Error *error) {
    *out = (Options){0};
    for (int i = 0; i < OPTION_COUNT; i++) {
        const OptionRow *row = &option_rows[i];
        if (row->preset[0] != '\0') {
            Status preset = option_check(row, row->preset, &out->values[i], NULL);
            REQUIRE(preset == OK);
        }
    }
    out->operands = arena_take_array(&out->arena, (size_t)argc + 1, sizeof *out->operands);
    if (out->operands == NULL) {
        return error_set(error, E_MEMORY, "no memory for the arguments");
    }
    bool ended = false;
    for (int i = 0; i < argc; i++) {
        const char *argument = argv[i];
        if (ended || argument[0] != '-' || argument[1] == '\0') {
            out->operands[out->operand_count++] = argument;
            continue;
        }
        if (strcmp(argument, "--") == 0) {
            ended = true;
            continue;
        }
        OptionId id;
        const char *value;
        if (!option_find(command, argument, &id, &value)) {
            return error_set(error, E_ARGUMENT,
                             "%s: there is no such option; --help lists what there is", argument);
        }
        const OptionRow *row = &option_rows[id];
        if (row->kind == OPTION_FLAG) {
            if (value != NULL) {
                return error_set(error, E_ARGUMENT, "--%s: takes no value, but has '%s'", row->name,
                                 value);
            }
            out->values[id].given = true;
            continue;
        }
        if (value == NULL && i + 1 == argc) {
            return error_set(error, E_ARGUMENT, "--%s: needs a value: %s", row->name,
                             row->rule[0] != '\0' ? row->rule : row->argument);
        }
        TRY(option_take(out, id, value != NULL ? value : argv[++i], argc, error));
    }
    return OK;
}

Status options_set(CommandSet command, const char *name, const char *text, Options *options,
                   Error *error) {
    for (int i = 0; i < OPTION_COUNT; i++) {
        const OptionRow *row = &option_rows[i];
        if ((row->commands & (unsigned)command) == 0 || strcmp(row->name, name) != 0) {
            continue;
        }
        if (row->kind != OPTION_FLAG) {
            return option_take(options, (OptionId)i, text, 1, error);
        }
        options->values[i].given = strcmp(text, "true") == 0;
        return options->values[i].given || strcmp(text, "false") == 0
                   ? OK
                   : error_set(error, E_ARGUMENT, "--%s: '%s' is not one of true, false", name,
                               text);
    }
    return error_set(error, E_ARGUMENT, "--%s: there is no such option", name);
}

void options_free(Options *options) {
    arena_free(&options->arena);
    *options = (Options){0};
}
