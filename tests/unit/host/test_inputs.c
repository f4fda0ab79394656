// SPDX-License-Identifier: Apache-2.0
// Inputs: files, folders, patterns and lists become one list of paths, every file once.
#include "host/inputs.h"

#include "tests/unit/host/scratch.h"

#include <criterion/criterion.h>
#include <string.h>
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
