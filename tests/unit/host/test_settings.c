// SPDX-License-Identifier: Apache-2.0
// Options from a file and the environment: arguments first, then the environment, then the file;
// what is wrong is named by line.
#include "host/cli/settings.h"

#include "tests/unit/host/scratch.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static Status parse(const char *text, Options *options, Error *error) {
    return settings_parse(COMMAND_SERVE, bytes_of_text(text), "f", options, error);
}

static void arguments(Options *options, int argc, const char *const *argv) {
    cr_assert_eq(options_parse(COMMAND_SERVE, argc, (char **)(uintptr_t)argv, options, NULL), OK);
}

Test(settings, a_file_gives_what_arguments_did_not) {
    Options options;
    const char *argv[] = {"--images", "5"};
    Error error;
    arguments(&options, 2, argv);
    Status status = parse("# all of it\n\n  images=3\ncontext = 320 # short\r\nlog-prompts = true\n"
                          "socket = /a b\nusers=u",
                          &options, &error);
    cr_assert_eq(status, OK, "%s", error.text);
    cr_expect_eq(options.values[OPT_IMAGES].number, 5);
    cr_expect_eq(options.values[OPT_CONTEXT].number, 320);
    cr_expect(options.values[OPT_LOG_PROMPTS].given);
    cr_expect_str_eq(options.values[OPT_SOCKET].text, "/a b");
    cr_expect_str_eq(options.values[OPT_USERS].text, "u");
    cr_expect_eq(options.values[OPT_REQUESTS].number, 1024, "the default stays");
    options_free(&options);
}

Test(settings, a_wrong_line_is_named) {
    const char *const wrong[][2] = {
        {"\ncontext = 1", "f:2: --context: '1' is not a whole number from 16 to 1048576"},
        {"contxt = 320", "f:1: --contxt: there is no such option"},
        {"prompt = hi", "f:1: --prompt: there is no such option"}, // of another command
        {"context 320", "f:1: a line is NAME = VALUE"},
        {"log-prompts = yes", "f:1: --log-prompts: 'yes' is not one of true, false"},
        {"images = 1\nimages = 1", "f:2: images is there twice"},
        {"config = g", "f:1: config is for the command line only"},
        {"socket =", "f:1: --socket: the name is empty"},
        {"socket = \"/run/t.sock\"", "f:1: --socket: the value begins with a quote, which would be "
                                     "part of it; leave the quotes out"},
        {"users = 'u'", "f:1: --users: the value begins with a quote, which would be part of it; "
                        "leave the quotes out"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        Options options;
        Error error = {0};
        arguments(&options, 0, NULL);
        cr_expect_eq(parse(wrong[i][0], &options, &error), E_ARGUMENT);
        cr_expect_str_eq(error.text, wrong[i][1]);
        options_free(&options);
    }
}

Test(settings, a_byte_order_mark_is_passed_over_and_zero_bytes_are_refused) {
    Options options;
    Error error;
    arguments(&options, 0, NULL);
    cr_assert_eq(parse("\xef\xbb\xbfimages = 3\n", &options, &error), OK, "%s", error.text);
    cr_expect_eq(options.values[OPT_IMAGES].number, 3);
    static const char zeros[] = "users = a\0b\n";
    Bytes text = {(const uint8_t *)zeros, sizeof zeros - 1};
    cr_expect_eq(settings_parse(COMMAND_SERVE, text, "f", &options, &error), E_ARGUMENT);
    cr_expect_str_eq(error.text, "f:1: the line has zero bytes; the file must be UTF-8 text");
    options_free(&options);
}

Test(settings, a_quoted_variable_is_refused) {
    Options options;
    Error error;
    arguments(&options, 0, NULL);
    setenv("TESSERA_USERS", "\"u\"", 1);
    cr_expect_eq(settings_add(COMMAND_SERVE, &options, &error), E_ARGUMENT);
    cr_expect(strstr(error.text, "TESSERA_USERS: --users: the value begins with a quote") != NULL,
              "%s", error.text);
    options_free(&options);
}

Test(settings, the_environment_goes_before_the_file) {
    Options options;
    Error error;
    Scratch scratch;
    scratch_make(&scratch);
    scratch_write(&scratch, "f.conf", "context = 320\nsocket-mode = 0660\nimages = 2\n");
    char *file = strdup(scratch_path(&scratch, "f.conf"));
    setenv("TESSERA_CONTEXT", "336", 1);
    setenv("TESSERA_SOCKET_MODE", "0666", 1);
    const char *argv[] = {"--config", file, "--socket-mode", "0600"};
    arguments(&options, 4, argv);
    cr_assert_eq(settings_add(COMMAND_SERVE, &options, &error), OK, "%s", error.text);
    cr_expect_eq(options.values[OPT_CONTEXT].number, 336);
    cr_expect_str_eq(options.values[OPT_SOCKET_MODE].text, "0600");
    cr_expect_eq(options.values[OPT_IMAGES].number, 2);
    options_free(&options);
    setenv("TESSERA_CONTEXT", "much", 1);
    arguments(&options, 4, argv);
    cr_expect_eq(settings_add(COMMAND_SERVE, &options, &error), E_ARGUMENT);
    cr_expect_str_eq(error.text,
                     "TESSERA_CONTEXT: --context: 'much' is not a whole number from 16 to 1048576");
    options_free(&options);
    free(file);
    scratch_remove(&scratch);
}

Test(settings, other_commands_look_at_neither) {
    Options options;
    setenv("TESSERA_MAX_TOKENS", "much", 1);
    cr_assert_eq(options_parse(COMMAND_CAPTION, 0, NULL, &options, NULL), OK);
    cr_expect_eq(settings_add(COMMAND_CAPTION, &options, NULL), OK);
    cr_expect_eq(options.values[OPT_MAX_TOKENS].number, 256);
    options_free(&options);
}
