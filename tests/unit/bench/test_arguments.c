// SPDX-License-Identifier: Apache-2.0
// arguments.h: what is a number in its range is taken, and everything else is refused.
#include "bench/arguments.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <string.h>

typedef struct Values {
    uint32_t count;
    uint64_t big;
    double real;
    const char *text, *operand;
    bool flag;
} Values;

static int read_words(Values *out, const char *words) {
    char copy[256], *rest = NULL, *argv[16];
    int argc = 0;
    snprintf(copy, sizeof copy, "bench %s", words);
    for (char *word = strtok_r(copy, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        argv[argc++] = word;
    }
    *out = (Values){0};
    const Argument rows[] = {
        ROW_COUNT("--count", "N", "a count", &out->count, 1, 100),
        ROW_BIG("--big", "N", "any number", &out->big),
        ROW_REAL("--real", "X", "a real", &out->real, 0, 10),
        ROW_TEXT("--text", "T", "a text", &out->text),
        ROW_FLAG("--flag", "a flag", &out->flag),
    };
    const Arguments arguments = {.bench = "test",
                                 .operands = "WHAT",
                                 .rows = rows,
                                 .row_count = sizeof rows / sizeof rows[0],
                                 .operand = argument_single,
                                 .at = &out->operand};
    return arguments_read(&arguments, argc, argv);
}

Test(arguments, what_is_right_is_taken) {
    Values v;
    cr_assert_eq(read_words(&v, "--count 7 --flag --real 0.5 here --big 18446744073709551615"),
                 ARGUMENTS_GO_ON);
    cr_assert(v.count == 7 && v.flag && v.real == 0.5 && v.big == UINT64_MAX);
    cr_assert_not_null(v.operand);
    cr_assert_eq(read_words(&v, "here"), ARGUMENTS_GO_ON);
}

Test(arguments, an_operand_that_is_missing_is_refused, .init = cr_redirect_stderr) {
    Values v;
    cr_assert_eq(read_words(&v, ""), 2);
    cr_assert_eq(read_words(&v, "--count 7 --flag"), 2);
}

Test(arguments, what_is_no_number_in_its_range_is_refused, .init = cr_redirect_stderr) {
    static const char *const wrong[] = {
        "--count",    "--count -1",  "--count 0",   "--count 101", "--count 4294967297",
        "--count 7x", "--count 1.5", "--count +1",  "--real nan",  "--real inf",
        "--real 11",  "--real 1x",   "--real -0.1", "--big -1",    "--big 18446744073709551616",
        "--cuont 7",  "there",       "--text"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        Values v;
        char words[64];
        snprintf(words, sizeof words, "here %s", wrong[i]); // the operand is not what is wrong
        cr_assert_eq(read_words(&v, words), 2, "%s", wrong[i]);
    }
}

Test(arguments, the_usage_is_the_table, .init = cr_redirect_stdout) {
    Values v;
    cr_assert_eq(read_words(&v, "--help"), 0);
    fflush(stdout);
    cr_assert_stdout_eq_str("usage: tessera bench test WHAT [options]\n\n"
                            "  --count N            a count\n"
                            "  --big N              any number\n"
                            "  --real X             a real\n"
                            "  --text T             a text\n"
                            "  --flag               a flag\n");
}
