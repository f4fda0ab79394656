// SPDX-License-Identifier: Apache-2.0
// What people read about the commands is made from the tables; the committed copies are fresh.
#include "host/cli/manual.h"

#include "base/file.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void expect_fresh(void (*make)(Buffer *), const char *path, const char *option) {
    Buffer made = {0}, committed = {0};
    Error error;
    make(&made);
    cr_assert_eq(file_read(path, 1 << 20, &committed, &error), OK, "%s", error.text);
    cr_expect(
        bytes_equal((Bytes){made.data, made.length}, (Bytes){committed.data, committed.length}),
        "%s is stale; make it with: tessera help --%s > %s", path, option, path);
    buffer_free(&made);
    buffer_free(&committed);
}

Test(manual, committed_copies_are_fresh) {
    expect_fresh(manual_markdown, TEST_ROOT "/docs/cli.md", "markdown");
    expect_fresh(manual_man, TEST_ROOT "/docs/man/tessera.1", "man");
    expect_fresh(manual_completion, TEST_ROOT "/docs/completion/tessera.bash", "completion");
}

Test(manual, the_help_of_a_command_lists_its_options_and_no_others) {
    for (size_t i = 0; i < command_count; i++) {
        Buffer help = {0};
        manual_help(&commands[i], &help);
        for (int id = 0; id < OPTION_COUNT; id++) {
            char name[64];
            snprintf(name, sizeof name, " --%s%s", option_rows[id].name,
                     option_rows[id].kind == OPTION_FLAG ? "" : " ");
            char *found = strstr((char *)help.data, "Options:");
            cr_assert_not_null(found);
            char *examples = strstr(found, "\nExamples:");
            char *hit = strstr(found, name);
            bool listed = hit != NULL && (examples == NULL || hit < examples);
            if ((option_rows[id].commands & (unsigned)commands[i].set) != 0) {
                cr_expect(listed, "%s --help does not list%s", commands[i].name, name);
            }
        }
        cr_expect(commands[i].hidden || strstr((char *)help.data, "Examples:") != NULL);
        buffer_free(&help);
    }
}

Test(manual, help_keeps_to_the_width_of_a_terminal) {
    for (size_t i = 0; i < command_count; i++) {
        Buffer help = {0};
        manual_help(&commands[i], &help);
        char *examples = strstr((char *)help.data, "\nExamples:");
        if (examples != NULL) {
            *examples = '\0';
        }
        char *rest = NULL;
        for (char *line = strtok_r((char *)help.data, "\n", &rest); line != NULL;
             line = strtok_r(NULL, "\n", &rest)) {
            cr_expect_leq(strlen(line), 100, "%s", line);
        }
        buffer_free(&help);
    }
}

Test(manual, bash_accepts_the_completion) {
    cr_expect_eq(system("bash -n " TEST_ROOT "/docs/completion/tessera.bash"), 0);
    cr_expect_eq(system("bash -c 'source " TEST_ROOT "/docs/completion/tessera.bash; "
                        "COMP_WORDS=(tessera caption --bud); COMP_CWORD=2; _tessera; "
                        "[ \"${COMPREPLY[*]}\" = --budget ] || exit 1; "
                        "COMP_WORDS=(tessera caption --budget 1); COMP_CWORD=3; _tessera; "
                        "[ \"${COMPREPLY[*]}\" = \"140 1120\" ]'"),
                 0);
}
