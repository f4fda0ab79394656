// SPDX-License-Identifier: Apache-2.0
#include "bench/arguments.h"

#include "cpu/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void usage(FILE *out, const Arguments *arguments) {
    fprintf(out, "usage: tessera bench %s%s%s%s\n\n", arguments->bench,
            arguments->operands[0] != '\0' ? " " : "", arguments->operands,
            arguments->row_count > 0 ? " [options]" : "");
    for (size_t i = 0; i < arguments->row_count; i++) {
        const Argument *row = &arguments->rows[i];
        char head[64];
        snprintf(head, sizeof head, "%s %s", row->name, row->value);
        fprintf(out, "  %-20s %s\n", head, row->text);
    }
    if (arguments->about != NULL) {
        fprintf(out, "%s%s", arguments->row_count > 0 ? "\n" : "", arguments->about);
    }
}

int arguments_wrong(const Arguments *arguments) {
    usage(stderr, arguments);
    return 2;
}

// ---- Values -------------------------------------------------------------------------------------

static bool in_range(const Argument *row, double value) {
    return row->kind == ARGUMENT_BIG || (value >= row->low && value <= row->high);
}

static bool read_whole(const char *text, uint64_t most, uint64_t *out) {
    uint64_t value = 0;
    bool good = *text != '\0';
    for (; good && *text != '\0'; text++) {
        uint64_t digit = (uint64_t)(*text - '0');
        good = *text >= '0' && *text <= '9' && value <= (most - digit) / 10;
        value = value * 10 + digit;
    }
    *out = value;
    return good;
}

static bool read_number(const Argument *row, const char *value) {
    uint64_t whole;
    if (row->kind == ARGUMENT_REAL) {
        char *end;
        double real = strtod(value, &end);
        *(double *)row->at = real;
        return end != value && *end == '\0' && in_range(row, real); // NaN is in no range
    }
    bool count = row->kind == ARGUMENT_COUNT;
    if (!read_whole(value, count ? UINT32_MAX : UINT64_MAX, &whole) ||
        !in_range(row, (double)whole)) {
        return false;
    }
    if (count) {
        *(uint32_t *)row->at = (uint32_t)whole;
    } else {
        *(uint64_t *)row->at = whole;
    }
    return true;
}

static bool read_value(const Argument *row, const char *value) {
    switch (row->kind) {
    case ARGUMENT_TEXT:
        *(const char **)row->at = value;
        return true;
    case ARGUMENT_READ:
        return row->read(value, row->at);
    case ARGUMENT_FLAG:
        *(bool *)row->at = true;
        return true;
    default:
        return read_number(row, value);
    }
}

bool argument_single(const char *operand, void *at) {
    const char **single = at;
    bool first = *single == NULL;
    *single = operand;
    return first;
}

bool argument_isa(const char *value, void *at) {
    return cpu_isa_parse(value, at, NULL) == OK;
}

// ---- Reading ------------------------------------------------------------------------------------

static const Argument *find(const Arguments *arguments, const char *name) {
    for (size_t i = 0; i < arguments->row_count; i++) {
        if (strcmp(name, arguments->rows[i].name) == 0) {
            return &arguments->rows[i];
        }
    }
    return NULL;
}

// Reads the argument at argv[i]; returns how many words it has, 0 when it is not understood.
static int read_one(const Arguments *arguments, int argc, char **argv, int i) {
    const Argument *row = find(arguments, argv[i]);
    if (row == NULL) {
        bool operand = argv[i][0] != '-' && arguments->operand != NULL;
        return operand && arguments->operand(argv[i], arguments->at) ? 1 : 0;
    }
    if (row->kind == ARGUMENT_FLAG) {
        return read_value(row, NULL) ? 1 : 0;
    }
    return i + 1 < argc && read_value(row, argv[i + 1]) ? 2 : 0;
}

int arguments_read(const Arguments *arguments, int argc, char **argv) {
    bool missing = arguments->operand != NULL;
    for (int i = 1; i < argc;) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            usage(stdout, arguments);
            return 0;
        }
        int words = read_one(arguments, argc, argv, i);
        if (words == 0) {
            bool value = find(arguments, argv[i]) != NULL && i + 1 < argc;
            fprintf(stderr, "tessera bench %s: '%s%s%s' is not understood\n\n", arguments->bench,
                    argv[i], value ? " " : "", value ? argv[i + 1] : "");
            return arguments_wrong(arguments);
        }
        missing = missing && find(arguments, argv[i]) != NULL;
        i += words;
    }
    return missing ? arguments_wrong(arguments) : ARGUMENTS_GO_ON;
}
