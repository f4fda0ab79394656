// SPDX-License-Identifier: Apache-2.0
// The contact sheet: whole, self-contained, every text escaped.
#include "host/jobs/html.h"

#include "base/file.h"
#include "tests/unit/host/scratch.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static Scratch scratch;
static Error error;

static void make(void) {
    scratch_make(&scratch);
}

static void drop(void) {
    scratch_remove(&scratch);
}

TestSuite(html, .init = make, .fini = drop);

Test(html, text_cannot_leave_its_place) {
    Buffer out = {0};
    html_escape(&out, bytes_of_text("<script>\"a\" & 'b'</script> \xf0\x9f\x90\x88 \xff!"));
    cr_expect_str_eq((char *)out.data,
                     "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt; "
                     "\xf0\x9f\x90\x88 \\xff!");
    buffer_free(&out);
}

Test(html, a_sheet_shows_captions_and_errors_and_needs_nothing_else) {
    const HtmlRow rows[] = {
        {.path = TEST_ROOT "/examples/pictures/01-fish.jpg",
         .caption = bytes_of_text("a <b>fish</b>"),
         .tokens_in = 80,
         .tokens_out = 7,
         .ms = 31.0},
        {.path = "<gone>.png", .error = "cannot be opened & read"},
    };
    const HtmlSheet sheet = {.model = "demo<1>",
                             .weights = "int4 g32",
                             .prompt = "What's \"this\"?",
                             .rows = rows,
                             .row_count = 2,
                             .errors = 1,
                             .pictures_per_second = 2.5};
    Status status = html_write(scratch_path(&scratch, "sheet.html"), &sheet, &error);
    cr_assert_eq(status, OK, "%s", error.text);
    char *text = scratch_read(&scratch, "sheet.html");
    cr_expect(strstr(text, "a &lt;b&gt;fish&lt;/b&gt;") != NULL);
    cr_expect(strstr(text, "&lt;gone&gt;.png") != NULL);
    cr_expect(strstr(text, "cannot be opened &amp; read") != NULL);
    cr_expect(strstr(text, "demo&lt;1&gt;") != NULL);
    cr_expect(strstr(text, "What&#39;s &quot;this&quot;?") != NULL);
    cr_expect(strstr(text, "<b>") == NULL);
    cr_expect(strstr(text, "<script") == NULL);
    cr_expect(strstr(text, "http") == NULL, "nothing is fetched");
    cr_expect(strstr(text, "prefers-color-scheme:dark") != NULL);
    cr_expect(strstr(text, "</html>") != NULL);
    free(text);
}

Test(html, an_embedded_picture_is_the_file_itself) {
    Buffer file = {0};
    cr_assert_eq(file_read(TEST_ROOT "/examples/pictures/01-fish.jpg", 1 << 20, &file, &error), OK);
    const HtmlRow row = {.path = TEST_ROOT "/examples/pictures/01-fish.jpg"};
    const HtmlSheet sheet = {
        .model = "m", .weights = "w", .prompt = "p", .rows = &row, .row_count = 1};
    cr_assert_eq(html_write(scratch_path(&scratch, "sheet.html"), &sheet, &error), OK);
    char *text = scratch_read(&scratch, "sheet.html");
    char *digits = strstr(text, "data:image/jpeg;base64,");
    cr_assert_not_null(digits);
    digits += strlen("data:image/jpeg;base64,");
    *strchr(digits, '"') = '\0';
    scratch_write(&scratch, "digits", digits);
    char command[8192];
    snprintf(command, sizeof command, "base64 -d < %s/digits | cmp - %s", scratch.folder,
             TEST_ROOT "/examples/pictures/01-fish.jpg");
    cr_expect_eq(system(command), 0, "another decoder gives the file's bytes back");
    free(text);
    buffer_free(&file);
}

Test(html, a_large_picture_becomes_a_small_jpeg) {
    Buffer file = {0};
    cr_assert_eq(file_read(TEST_ROOT "/examples/pictures/01-fish.jpg", 1 << 20, &file, &error), OK);
    // A comment segment (FF FE, length 65535) after SOI, four times, makes the file large.
    Buffer large = {0};
    buffer_append(&large, file.data, 2);
    static const uint8_t segment[4] = {0xff, 0xfe, 0xff, 0xff};
    static const uint8_t zeros[65533];
    for (int i = 0; i < 4; i++) {
        buffer_append(&large, segment, sizeof segment);
        buffer_append(&large, zeros, sizeof zeros);
    }
    buffer_append(&large, file.data + 2, file.length - 2);
    scratch_write_bytes(&scratch, "large.jpg", large.data, large.length);
    const HtmlRow row = {.path = strdup(scratch_path(&scratch, "large.jpg"))};
    const HtmlSheet sheet = {
        .model = "m", .weights = "w", .prompt = "p", .rows = &row, .row_count = 1};
    cr_assert_eq(html_write(scratch_path(&scratch, "sheet.html"), &sheet, &error), OK);
    char *text = scratch_read(&scratch, "sheet.html");
    cr_expect(strstr(text, "data:image/jpeg;base64,/9j/") != NULL);
    cr_expect_lt(strlen(text), 128 * 1024);
    free(text);
    free((char *)row.path);
    buffer_free(&large);
    buffer_free(&file);
}
