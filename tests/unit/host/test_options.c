// SPDX-License-Identifier: Apache-2.0
// Options: one table, every form of writing an option, errors that name the option and its rule.
#include "host/cli/options.h"

#include <criterion/criterion.h>
#include <string.h>

static Options options;
static Error error;

static Status parse(CommandSet command, int count, const char *const *arguments) {
    options_free(&options);
    error = (Error){0};
    return options_parse(command, count, (char **)arguments, &options, &error);
}

#define PARSE(command, ...)                                                                        \
    parse(command, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *),              \
          (const char *const[]){__VA_ARGS__})

static void forget(void) {
    options_free(&options);
}

Test(options, every_row_is_well_formed) {
    for (int i = 0; i < OPTION_COUNT; i++) {
        const OptionRow *row = &option_rows[i];
        cr_expect(row->name[0] != '\0' && row->help[0] != '\0');
        cr_expect_eq(row->argument[0] == '\0', row->kind == OPTION_FLAG, "--%s", row->name);
        bool ruled =
            row->kind == OPTION_NUMBER || row->kind == OPTION_REAL || row->kind == OPTION_CHOICE;
        cr_expect_eq(row->rule[0] != '\0', ruled, "--%s", row->name);
        for (int j = 0; j < i; j++) {
            cr_expect_str_neq(row->name, option_rows[j].name);
            bool together = (row->commands & option_rows[j].commands) != 0 && row->letter != 0;
            cr_expect(!together || row->letter != option_rows[j].letter, "-%c is taken twice",
                      row->letter);
        }
    }
}

Test(options, presets_keep_their_own_rules, .fini = forget) {
    const CommandSet all[] = {COMMAND_CAPTION, COMMAND_ASK,      COMMAND_LOGITS,
                              COMMAND_INFO,    COMMAND_QUANTIZE, COMMAND_HELP};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        cr_expect_eq(parse(all[i], 0, NULL), OK);
    }
    cr_expect_eq(options.values[OPT_BATCH].number, 16);
    cr_expect(!options.values[OPT_BATCH].given);
    cr_expect_null(options.values[OPT_TEMPERATURE].text);
}

Test(options, all_ways_to_write_a_value_are_equal, .fini = forget) {
    cr_assert_eq(PARSE(COMMAND_CAPTION, "--batch", "7"), OK);
    cr_expect_eq(options.values[OPT_BATCH].number, 7);
    cr_assert_eq(PARSE(COMMAND_CAPTION, "--batch=8"), OK);
    cr_expect_eq(options.values[OPT_BATCH].number, 8);
    cr_assert_eq(PARSE(COMMAND_CAPTION, "-b", "9"), OK);
    cr_expect_eq(options.values[OPT_BATCH].number, 9);
    cr_assert_eq(PARSE(COMMAND_CAPTION, "-b10", "--batch", "11"), OK);
    cr_expect_eq(options.values[OPT_BATCH].number, 11, "the last one counts");
    cr_expect(options.values[OPT_BATCH].given);
}

Test(options, operands_and_options_mix, .fini = forget) {
    cr_assert_eq(PARSE(COMMAND_CAPTION, "a", "-0", "-", "--", "-q", "--batch"), OK);
    cr_assert_eq(options.operand_count, 4);
    cr_expect_str_eq(options.operands[0], "a");
    cr_expect_str_eq(options.operands[1], "-");
    cr_expect_str_eq(options.operands[2], "-q");
    cr_expect_str_eq(options.operands[3], "--batch");
    cr_expect(options.values[OPT_NUL].given);
    cr_expect(!options.values[OPT_QUIET].given);
}

Test(options, repeated_options_keep_their_order, .fini = forget) {
    cr_assert_eq(PARSE(COMMAND_ASK, "-i", "a.png", "what", "--image=b.png"), OK);
    cr_assert_eq(options.values[OPT_IMAGE].list_count, 2);
    cr_expect_str_eq(options.values[OPT_IMAGE].list[0], "a.png");
    cr_expect_str_eq(options.values[OPT_IMAGE].list[1], "b.png");
}

Test(options, errors_name_the_option_and_the_rule, .fini = forget) {
    cr_expect_eq(PARSE(COMMAND_CAPTION, "--batch", "0"), E_ARGUMENT);
    cr_expect_str_eq(error.text, "--batch: '0' is not a whole number from 1 to 4096");
    cr_expect_eq(PARSE(COMMAND_CAPTION, "--batch", "-3"), E_ARGUMENT);
    cr_expect_eq(PARSE(COMMAND_CAPTION, "--batch", "3x"), E_ARGUMENT);
    cr_expect_eq(PARSE(COMMAND_CAPTION, "--batch", "99999999999999999999"), E_ARGUMENT);
    cr_expect_eq(PARSE(COMMAND_CAPTION, "--temperature", "nan"), E_ARGUMENT);
    cr_expect_eq(PARSE(COMMAND_CAPTION, "--top-p", "1.5"), E_ARGUMENT);
    cr_expect_str_eq(error.text, "--top-p: '1.5' is not a number from 0 to 1");
    cr_expect_eq(PARSE(COMMAND_CAPTION, "--budget", "100"), E_ARGUMENT);
    cr_expect_str_eq(error.text, "--budget: '100' is not one of 70|140|280|560|1120");
    cr_expect_eq(PARSE(COMMAND_CAPTION, "--budget"), E_ARGUMENT);
    cr_expect_str_eq(error.text, "--budget: needs a value: 70|140|280|560|1120");
    cr_expect_eq(PARSE(COMMAND_CAPTION, "--quiet=yes"), E_ARGUMENT);
    cr_expect_str_eq(error.text, "--quiet: takes no value, but has 'yes'");
    cr_expect_eq(PARSE(COMMAND_CAPTION, "-o", ""), E_ARGUMENT);
    cr_expect_eq(PARSE(COMMAND_CAPTION, "--nonsense"), E_ARGUMENT);
    cr_expect(strstr(error.text, "--nonsense") != NULL);
}

Test(options, an_option_of_another_command_is_unknown, .fini = forget) {
    cr_expect_eq(PARSE(COMMAND_LOGITS, "--sidecar"), E_ARGUMENT);
    cr_expect_eq(PARSE(COMMAND_CAPTION, "--sidecar"), OK);
}
