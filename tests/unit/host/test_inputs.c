// SPDX-License-Identifier: Apache-2.0
// Inputs: files, folders, patterns and lists become one list of paths, every file once.
#include "host/jobs/inputs.h"

#include "tests/unit/host/scratch.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static Scratch scratch;
static Inputs inputs;
static Error error;

static void make(void) {
    scratch_make(&scratch);
}

static void drop(void) {
    inputs_free(&inputs);
    scratch_remove(&scratch);
}

TestSuite(inputs, .init = make, .fini = drop);

static Status add(const char *name) {
    return inputs_add(&inputs, scratch_path(&scratch, name), NULL, '\n', &error);
}

// The listed paths without the scratch folder, with commas between them.
static const char *listed(void) {
    static Buffer text;
    buffer_clear(&text);
    for (size_t i = 0; i < inputs.count; i++) {
        const char *path = inputs.paths[i];
        size_t length = strlen(scratch.folder);
        bool inside = strncmp(path, scratch.folder, length) == 0;
        buffer_printf(&text, "%s%s", i > 0 ? "," : "", inside ? path + length + 1 : path);
    }
    return (const char *)text.data;
}

Test(inputs, a_folder_is_searched_to_its_end_in_order_and_by_extension) {
    scratch_folder(&scratch, "f");
    scratch_folder(&scratch, "f/sub");
    scratch_write(&scratch, "f/b.png", "");
    scratch_write(&scratch, "f/a.JPG", "");
    scratch_write(&scratch, "f/notes.txt", "");
    scratch_write(&scratch, "f/png", "");
    scratch_write(&scratch, "f/sub/c.webp", "");
    scratch_write(&scratch, "f/z.jpeg", "");
    cr_assert_eq(add("f"), OK);
    cr_expect_str_eq(listed(), "f/a.JPG,f/b.png,f/sub/c.webp,f/z.jpeg");
}

Test(inputs, a_file_named_directly_needs_no_extension) {
    scratch_write(&scratch, "picture", "");
    cr_assert_eq(add("picture"), OK);
    cr_expect_str_eq(listed(), "picture");
}

Test(inputs, a_file_reached_twice_is_listed_once) {
    scratch_folder(&scratch, "f");
    scratch_write(&scratch, "f/a.png", "");
    cr_assert_eq(symlink("a.png", scratch_path(&scratch, "f/link.png")), 0);
    cr_assert_eq(add("f/a.png"), OK);
    cr_assert_eq(add("f"), OK);
    cr_assert_eq(add("f/../f/a.png"), OK);
    cr_expect_str_eq(listed(), "f/a.png");
}

Test(inputs, links_that_lead_round_are_walked_once) {
    scratch_folder(&scratch, "f");
    scratch_folder(&scratch, "f/g");
    scratch_write(&scratch, "f/g/a.png", "");
    cr_assert_eq(symlink("..", scratch_path(&scratch, "f/g/up")), 0);
    cr_assert_eq(symlink("loop", scratch_path(&scratch, "f/loop")), 0);
    cr_assert_eq(add("f"), OK);
    cr_expect_str_eq(listed(), "f/g/a.png");
}

Test(inputs, what_does_not_exist_stays_in_the_list) {
    cr_assert_eq(add("gone.png"), OK);
    cr_assert_eq(symlink("nowhere", scratch_path(&scratch, "dangling.png")), 0);
    cr_assert_eq(inputs_add(&inputs, scratch.folder, NULL, '\n', &error), OK);
    cr_expect_str_eq(listed(), "gone.png,dangling.png");
}

Test(inputs, a_pattern_is_expanded_and_must_match) {
    scratch_write(&scratch, "a1.png", "");
    scratch_write(&scratch, "a2.png", "");
    scratch_write(&scratch, "b.png", "");
    cr_assert_eq(add("a*.png"), OK);
    cr_expect_str_eq(listed(), "a1.png,a2.png");
    cr_expect_eq(add("c*.png"), E_NOT_FOUND);
    cr_expect(strstr(error.text, "c*.png") != NULL);
}

Test(inputs, two_stars_are_any_number_of_folders) {
    scratch_folder(&scratch, "in");
    scratch_folder(&scratch, "in/a");
    scratch_folder(&scratch, "in/a/b");
    scratch_folder(&scratch, "in/.hidden");
    scratch_write(&scratch, "in/1.jpg", "");
    scratch_write(&scratch, "in/a/2.jpg", "");
    scratch_write(&scratch, "in/a/b/3.jpg", "");
    scratch_write(&scratch, "in/a/b/4.png", "");
    scratch_write(&scratch, "in/.hidden/5.jpg", "");
    cr_assert_eq(symlink("a", scratch_path(&scratch, "in/link")), 0);
    cr_assert_eq(add("in/**/*.jpg"), OK);
    cr_expect_str_eq(listed(), "in/1.jpg,in/a/2.jpg,in/a/b/3.jpg");
    cr_expect_eq(inputs.hidden, 1);
    cr_assert_eq(add("**/b/*.png"), OK);
    cr_expect_str_eq(listed(), "in/1.jpg,in/a/2.jpg,in/a/b/3.jpg,in/a/b/4.png");
    cr_expect_eq(add("in/**/*.webp"), E_NOT_FOUND);
}

Test(inputs, two_stars_at_the_end_are_the_folder) {
    scratch_folder(&scratch, "in");
    scratch_folder(&scratch, "in/a");
    scratch_write(&scratch, "in/a/1.jpg", "");
    scratch_write(&scratch, "in/notes.txt", "");
    cr_assert_eq(add("in/**"), OK);
    cr_expect_str_eq(listed(), "in/a/1.jpg");
}

// glob(3) is the judge of all that has no **.
Test(inputs, a_pattern_means_what_it_means_to_the_shell) {
    static const char *const files[] = {"a1.png",   "a2.png",     "b[1].png", ".a3.png",
                                        "x/a4.png", "x/y/a5.png", "x/.h.png", "odd\\name.png"};
    scratch_folder(&scratch, "x");
    scratch_folder(&scratch, "x/y");
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        scratch_write(&scratch, files[i], "");
    }
    static const char *const patterns[] = {
        "*.png",     "?1.png",     "[ab]*.png", ".*.png",       "*/*.png",     "x/*/*.png",
        "x//a?.png", "b\\[1*.png", "*/.h*",     "[!a]*.png",    "x/../a*.png", "*/y/*.png",
        "*/",        "a1.png/*",   "none/*",    "odd\\\\*.png", "x/./a*.png",  "x/y/*/",
    };
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        Inputs by_glob = {0};
        inputs_free(&inputs);
        glob_t found;
        int result = glob(scratch_path(&scratch, patterns[i]), 0, NULL, &found);
        for (size_t k = 0; result == 0 && k < found.gl_pathc; k++) {
            cr_assert_eq(inputs_add(&by_glob, found.gl_pathv[k], NULL, '\n', &error), OK);
        }
        cr_expect_eq(add(patterns[i]), result == 0 ? OK : E_NOT_FOUND, "%s", patterns[i]);
        cr_expect_eq(inputs.count, by_glob.count, "%s: %zu and %zu", patterns[i], inputs.count,
                     by_glob.count);
        for (size_t k = 0; k < inputs.count && k < by_glob.count; k++) {
            char *names[2] = {realpath(inputs.paths[k], NULL), realpath(by_glob.paths[k], NULL)};
            cr_expect_str_eq(names[0], names[1], "%s", patterns[i]);
            free(names[0]);
            free(names[1]);
        }
        if (result == 0) {
            globfree(&found);
        }
        inputs_free(&by_glob);
    }
}

// ---- Nothing is left out without a word ---------------------------------------------------------

static const char *left_out(void) {
    static Buffer text;
    buffer_clear(&text);
    inputs_left_out_text(&inputs, &text);
    buffer_append_text(&text, "");
    return (const char *)text.data;
}

Test(inputs, other_picture_formats_and_hidden_names_are_counted) {
    static const char *const folders[] = {"f", "f/.git", "f/__MACOSX", "f/@eaDir", "f/sub"};
    static const char *const files[] = {"f/a.jpg",          "f/b.gif",        "f/c.HEIC",
                                        "f/d.Gif",          "f/._a.jpg",      "f/.DS_Store",
                                        "f/__MACOSX/a.jpg", "f/@eaDir/a.jpg", "f/.git/a.jpg",
                                        "f/sub/e.gif",      "f/notes.txt"};
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        scratch_folder(&scratch, folders[i]);
    }
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        scratch_write(&scratch, files[i], "");
    }
    cr_assert_eq(add("f"), OK);
    cr_expect_str_eq(listed(), "f/a.jpg");
    cr_expect_str_eq(left_out(), "3 .gif, 1 .heic, 4 hidden");
}

Test(inputs, a_hidden_name_that_was_given_is_taken) {
    scratch_folder(&scratch, ".h");
    scratch_write(&scratch, ".h/a.jpg", "");
    scratch_write(&scratch, ".h/.b.jpg", "");
    cr_assert_eq(add(".h"), OK);
    cr_assert_eq(add(".h/.b.jpg"), OK);
    cr_expect_str_eq(listed(), ".h/a.jpg,.h/.b.jpg");
}

// Rights mean nothing to root.
static void as_somebody(void) {
    cr_assert_eq(chmod(scratch.folder, 0777), 0);
    if (geteuid() == 0) {
        cr_assert_eq(seteuid(65534), 0);
    }
}

static void as_before(void) {
    cr_assert_eq(seteuid(getuid()), 0);
}

// The fault of the only input that has one.
static const char *only_fault(const char *name) {
    const Error *fault = NULL;
    for (size_t i = 0; i < inputs.count; i++) {
        if (inputs.faults[i] != NULL) {
            cr_assert_null(fault, "two faults: %s", inputs.faults[i]->text);
            cr_expect_str_eq(inputs.paths[i], scratch_path(&scratch, name));
            fault = inputs.faults[i];
        }
    }
    cr_assert_not_null(fault, "no fault");
    return fault->text;
}

ParameterizedTestParameters(inputs, a_folder_that_cannot_be_read_is_a_fault_and_the_rest_goes_on) {
    static const mode_t modes[] = {0000, 0444, 0111};
    return cr_make_param_array(mode_t, (void *)modes, sizeof modes / sizeof modes[0]);
}

ParameterizedTest(mode_t *mode, inputs,
                  a_folder_that_cannot_be_read_is_a_fault_and_the_rest_goes_on) {
    scratch_folder(&scratch, "f");
    scratch_folder(&scratch, "f/shut");
    scratch_folder(&scratch, "f/shut/inner");
    scratch_write(&scratch, "f/shut/inner/a.jpg", "");
    scratch_write(&scratch, "f/z.jpg", "");
    cr_assert_eq(chmod(scratch_path(&scratch, "f/shut"), *mode), 0);
    as_somebody();
    cr_assert_eq(add("f"), OK);
    cr_expect_str_eq(listed(), "f/shut,f/z.jpg");
    cr_expect(
        strstr(only_fault("f/shut"), "f/shut: this folder cannot be read: Permission denied"));
    inputs_free(&inputs);
    cr_assert_eq(add("f/shut"), OK, "named directly");
    (void)only_fault("f/shut");
    inputs_free(&inputs);
    cr_assert_eq(add("f/*/*.jpg"), OK, "by a pattern");
    (void)only_fault("f/shut");
    inputs_free(&inputs);
    cr_assert_eq(add("f/**/*.jpg"), OK, "by a pattern through folders");
    cr_expect_str_eq(listed(), "f/z.jpg,f/shut");
    (void)only_fault("f/shut");
    as_before();
    cr_assert_eq(chmod(scratch_path(&scratch, "f/shut"), 0700), 0);
}

// Folders of 200 bytes each in one another, made from inside so that their path may be too long.
static void make_deep(int depth, int length) {
    char name[201];
    memset(name, 'd', (size_t)length);
    name[length] = '\0';
    cr_assert_eq(chdir(scratch.folder), 0);
    for (int i = 0; i < depth; i++) {
        cr_assert(mkdir(name, 0777) == 0 && chdir(name) == 0);
        FILE *file = fopen("a.jpg", "w");
        cr_assert_not_null(file);
        fclose(file);
    }
    cr_assert_eq(chdir("/"), 0);
}

Test(inputs, folders_nested_too_deep_are_a_fault_and_the_rest_goes_on) {
    make_deep(70, 1);
    cr_assert_eq(inputs_add(&inputs, scratch.folder, NULL, '\n', &error), OK);
    cr_assert_eq(inputs.count, 65);
    const Error *fault = inputs.faults[64] != NULL ? inputs.faults[64] : inputs.faults[0];
    for (size_t i = 0; i < inputs.count; i++) {
        fault = inputs.faults[i] != NULL ? inputs.faults[i] : fault;
    }
    cr_assert_not_null(fault);
    cr_expect_eq(fault->status, E_LIMIT);
    cr_expect(strstr(fault->text, "more than 64 folders deep") != NULL, "%s", fault->text);
}

Test(inputs, a_path_that_is_too_long_is_a_fault_and_says_so) {
    make_deep(22, 200);
    cr_assert_eq(inputs_add(&inputs, scratch.folder, NULL, '\n', &error), OK);
    size_t faults = 0;
    for (size_t i = 0; i < inputs.count; i++) {
        if (inputs.faults[i] != NULL) {
            faults++;
            cr_expect(strstr(inputs.faults[i]->text, "File name too long") != NULL, "%s",
                      inputs.faults[i]->text);
        }
    }
    cr_expect_eq(faults, 1);
    cr_expect_eq(inputs.count, 21);
    char remove[128]; // nftw cannot reach them by name
    snprintf(remove, sizeof remove, "rm -r %s/*", scratch.folder);
    cr_assert_eq(system(remove), 0);
}

Test(inputs, a_pipe_named_as_a_picture_is_not_passed_over) {
    scratch_folder(&scratch, "f");
    cr_assert_eq(mkfifo(scratch_path(&scratch, "f/pipe.png"), 0600), 0);
    cr_assert_eq(add("f"), OK);
    cr_expect_str_eq(listed(), "f/pipe.png");
}

Test(inputs, a_name_that_looks_like_a_pattern_but_exists_is_a_name) {
    scratch_write(&scratch, "x[1].png", "");
    scratch_write(&scratch, "x1.png", "");
    cr_assert_eq(add("x[1].png"), OK);
    cr_expect_str_eq(listed(), "x[1].png");
}

static void add_list(const char *text, size_t length, char end) {
    FILE *list = fmemopen((void *)text, length, "r");
    cr_assert_eq(inputs_add(&inputs, "-", list, end, &error), OK);
    fclose(list);
}

Test(inputs, a_list_may_end_names_with_newlines_or_zero_bytes) {
    static const char lines[] = "one.png\r\n\ntwo.png\nthree.png";
    add_list(lines, sizeof lines - 1, '\n');
    cr_expect_str_eq(listed(), "one.png,two.png,three.png");
    static const char zeros[] = "fo\nur.png\0five.png\0";
    add_list(zeros, sizeof zeros - 1, '\0');
    cr_expect_str_eq(listed(), "one.png,two.png,three.png,fo\nur.png,five.png");
}

Test(inputs, a_list_of_lines_with_zero_bytes_names_the_option) {
    static const char zeros[] = "one.png\0two.png\0";
    FILE *list = fmemopen((void *)zeros, sizeof zeros - 1, "r");
    cr_expect_eq(inputs_add(&inputs, "-", list, '\n', &error), E_ARGUMENT);
    cr_expect(strstr(error.text, "-0") != NULL, "%s", error.text);
    fclose(list);
}

Test(inputs, many_files_keep_their_place) {
    char name[32];
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "n%04d.png", i);
        cr_assert_eq(add(name), OK);
        cr_assert_eq(add(name), OK);
    }
    cr_assert_eq(inputs.count, 1000);
    cr_expect(strstr(inputs.paths[999], "n0999.png") != NULL);
}
