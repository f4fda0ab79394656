// SPDX-License-Identifier: Apache-2.0
// The journal: whole lines only, found again by what made them, nobody else's file harmed.
#include "host/jobs/journal.h"

#include "base/json.h"
#include "tests/unit/host/scratch.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static Scratch scratch;
static Error error;

static void make(void) {
    scratch_make(&scratch);
}

static void drop(void) {
    scratch_remove(&scratch);
}

TestSuite(journal, .init = make, .fini = drop);

static Record sample(const char *file) {
    return (Record){
        .file = file,
        .id = "0123456789abcdef0123456789abcdef",
        .prompt = "p",
        .model = "m",
        .settings = "s",
        .weights = "bf16",
        .seed = 7,
        .caption = bytes_of_text("a \"cat\"\non a mat \xf0\x9f\x90\x88"),
        .finish = "stop",
        .tokens_in = 80,
        .tokens_out = 9,
        .tokens_image = 64,
        .ms = 12.5,
    };
}

static Journal *reopen(void) {
    Journal *journal = NULL;
    Status status = journal_open(scratch_path(&scratch, "j"), &journal, &error);
    cr_assert_eq(status, OK, "%s", error.text);
    return journal;
}

static void write_two(void) {
    Journal *journal = reopen();
    Record record = sample("a.png");
    cr_assert_eq(journal_append(journal, &record, &error), OK);
    record = sample("b.png");
    record.error = E_IMAGE_DAMAGED;
    record.error_text = "b.png: ends early";
    cr_assert_eq(journal_append(journal, &record, &error), OK);
    cr_assert_eq(journal_close(journal, &error), OK);
}

Test(journal, a_line_is_one_json_record) {
    write_two();
    char *text = scratch_read(&scratch, "j");
    char *second = strchr(text, '\n') + 1;
    json_t *root;
    cr_assert_eq(json_parse((Bytes){(uint8_t *)text, (size_t)(second - text)}, "j", &root, &error),
                 OK, "%s", error.text);
    cr_expect_str_eq(json_string_value(json_object_get(root, "file")), "a.png");
    cr_expect_str_eq(json_string_value(json_object_get(root, "caption")),
                     "a \"cat\"\non a mat \xf0\x9f\x90\x88");
    cr_expect_eq(json_integer_value(json_object_get(root, "tokens_image")), 64);
    cr_expect_eq(json_integer_value(json_object_get(root, "seed")), 7);
    cr_expect_float_eq(json_number_value(json_object_get(root, "ms")), 12.5, 0);
    cr_expect(json_is_null(json_object_get(root, "error")));
    json_decref(root);
    cr_assert_eq(json_parse(bytes_of_text(second), "j", &root, &error), OK, "%s", error.text);
    json_t *fault = json_object_get(root, "error");
    cr_expect_str_eq(json_string_value(json_object_get(fault, "code")), "E_IMAGE_DAMAGED");
    cr_expect_null(json_object_get(root, "caption"));
    json_decref(root);
    free(text);
}

Test(journal, a_record_is_found_by_all_that_made_it_and_by_nothing_less) {
    write_two();
    Journal *journal = reopen();
    JournalPlace place;
    Record key = sample("a.png");
    cr_assert(journal_find(journal, &key, &place));
    cr_expect(!place.is_error);
    JournalEntry entry;
    cr_assert_eq(journal_read(journal, place, &entry, &error), OK);
    cr_expect_str_eq((char *)entry.caption.data, "a \"cat\"\non a mat \xf0\x9f\x90\x88");
    cr_expect_eq(entry.tokens_in, 80);
    cr_expect_eq(entry.tokens_out, 9);
    journal_entry_free(&entry);

    key = sample("b.png");
    cr_assert(journal_find(journal, &key, &place));
    cr_expect(place.is_error);

    const char **fields[] = {&key.file, &key.id, &key.prompt, &key.model, &key.settings};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        key = sample("a.png");
        *fields[i] = "other";
        cr_expect(!journal_find(journal, &key, &place), "field %zu does not count", i);
    }
    key = sample("a.png");
    key.id = NULL;
    cr_expect(!journal_find(journal, &key, &place));
    journal_close(journal, NULL);
}

Test(journal, the_later_record_of_a_key_counts) {
    write_two();
    Journal *journal = reopen();
    Record record = sample("b.png");
    cr_assert_eq(journal_append(journal, &record, &error), OK);
    journal_close(journal, NULL);
    journal = reopen();
    JournalPlace place;
    cr_assert(journal_find(journal, &record, &place));
    cr_expect(!place.is_error);
    journal_close(journal, NULL);
}

Test(journal, names_that_are_not_utf8_are_found_again) {
    Journal *journal = reopen();
    Record record = sample("caf\xe9.png");
    cr_assert_eq(journal_append(journal, &record, &error), OK);
    journal_close(journal, NULL);
    journal = reopen();
    JournalPlace place;
    cr_expect(journal_find(journal, &record, &place));
    journal_close(journal, NULL);
}

Test(journal, a_cut_line_is_removed_wherever_the_cut_was) {
    write_two();
    char *whole = scratch_read(&scratch, "j");
    size_t total = strlen(whole);
    size_t first = (size_t)(strchr(whole, '\n') + 1 - whole);
    for (size_t length = 0; length <= total; length += length + 7 < total ? 7 : 1) {
        scratch_write_bytes(&scratch, "j", whole, length);
        Journal *journal = reopen();
        size_t kept = length < first ? 0 : length < total ? first : total;
        cr_expect_eq(journal_cut_bytes(journal), length - kept);
        Record record = sample("c.png");
        cr_assert_eq(journal_append(journal, &record, &error), OK);
        journal_close(journal, NULL);
        char *text = scratch_read(&scratch, "j");
        cr_assert(strncmp(text, whole, kept) == 0);
        cr_assert(strncmp(text + kept, "{\"file\":\"c.png\"", 15) == 0, "cut at %zu: %s", length,
                  text + kept);
        free(text);
    }
    free(whole);
}

Test(journal, a_file_that_is_no_journal_is_refused_and_left_as_it_was) {
    const char *const texts[] = {"hello", "{\"file\":1}\n", "{\"name\":\"x\"}\n{\"fi", "\n",
                                 "\xff\xd8\xff\xe0 picture"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        scratch_write(&scratch, "j", texts[i]);
        Journal *journal = NULL;
        cr_expect_eq(journal_open(scratch_path(&scratch, "j"), &journal, &error), E_ARGUMENT);
        cr_expect_null(journal);
        char *text = scratch_read(&scratch, "j");
        cr_expect_str_eq(text, texts[i]);
        free(text);
    }
}

Test(journal, a_damaged_line_is_named) {
    write_two();
    char *whole = scratch_read(&scratch, "j");
    *strchr(strchr(whole, '\n') + 1, ':') = ';';
    scratch_write(&scratch, "j", whole);
    free(whole);
    Journal *journal = NULL;
    cr_expect_eq(journal_open(scratch_path(&scratch, "j"), &journal, &error), E_ARGUMENT);
    cr_expect(strstr(error.text, "line 2") != NULL, "%s", error.text);
}

Test(journal, two_processes_never_write_the_same_journal) {
    Journal *first = reopen();
    pid_t child = fork();
    if (child == 0) {
        Journal *second = NULL;
        _exit(journal_open(scratch_path(&scratch, "j"), &second, NULL) == E_BUSY ? 0 : 1);
    }
    int state;
    waitpid(child, &state, 0);
    cr_expect_eq(WEXITSTATUS(state), 0);
    journal_close(first, NULL);
}

Test(journal, a_full_disk_leaves_no_half_line) {
    write_two();
    char *before = scratch_read(&scratch, "j");
    Journal *journal = reopen();
    // The disk ends 20 bytes after what is there.
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){strlen(before) + 20, old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    Record record = sample("c.png");
    Status status = journal_append(journal, &record, &error);
    setrlimit(RLIMIT_FSIZE, &old);
    cr_expect_eq(status, E_IO);
    char *after = scratch_read(&scratch, "j");
    cr_expect_str_eq(after, before);
    free(after);
    // And the next record is whole again.
    cr_expect_eq(journal_append(journal, &record, &error), OK);
    journal_close(journal, NULL);
    journal = reopen();
    cr_expect_eq(journal_cut_bytes(journal), 0);
    JournalPlace place;
    cr_expect(journal_find(journal, &record, &place));
    journal_close(journal, NULL);
    free(before);
}

Test(journal, a_writer_killed_at_any_time_leaves_whole_lines_for_the_next) {
    unsigned seed = 20261124;
    cr_log_info("seed %u", seed);
    for (int round = 0; round < 30; round++) {
        int written[2]; // a byte for each record
        char bytes[64];
        cr_assert_eq(pipe(written), 0);
        pid_t child = fork();
        if (child == 0) {
            Journal *journal = NULL;
            if (journal_open(scratch_path(&scratch, "j"), &journal, NULL) != OK) {
                _exit(1);
            }
            for (int i = 0;; i++) {
                char name[32];
                snprintf(name, sizeof name, "%d-%d.png", round, i);
                Record record = sample(name);
                journal_append(journal, &record, NULL);
                if (write(written[1], "", 1) != 1) {
                    _exit(1);
                }
            }
        }
        // Killed somewhere in the record after one of the first.
        close(written[1]);
        for (ssize_t left = 1 + rand_r(&seed) % 60, count; left > 0; left -= count) {
            count = read(written[0], bytes, (size_t)left);
            cr_assert_gt(count, 0, "the writer has ended");
        }
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        close(written[0]);
        journal_close(reopen(), NULL); // opens only when every line parses
    }
}

static void expect_found(const char *file, bool found) {
    Journal *journal = reopen();
    Record key = sample(file);
    JournalPlace place;
    cr_expect_eq(journal_find(journal, &key, &place), found, "%s", file);
    journal_close(journal, NULL);
}

Test(journal, names_that_are_not_utf8_are_told_apart_and_found_again) {
    static const char *const names[] = {"caf\xe9.jpg", "caf\xe8.jpg", "caf\xef\xbf\xbd.jpg"};
    for (size_t i = 0; i < 3; i++) {
        expect_found(names[i], false);
        Journal *journal = reopen();
        Record record = sample(names[i]);
        cr_assert_eq(journal_append(journal, &record, &error), OK);
        journal_close(journal, NULL);
        for (size_t k = 0; k < 3; k++) {
            expect_found(names[k], k <= i);
        }
    }
    const char *text = scratch_read(&scratch, "j");
    cr_expect(
        strstr(text, "{\"file\":\"caf\xef\xbf\xbd.jpg\",\"file_hex\":\"636166e92e6a7067\",") !=
        NULL);
    const char *last = strstr(strstr(text, "file_hex") + 1, "file_hex") + 1;
    cr_expect_null(strstr(last, "file_hex"), "a name that is UTF-8 needs none");
}

Test(journal, a_file_hex_that_is_no_hex_is_no_record) {
    static const char *const values[] = {"\"6g\"", "\"616\"", "7", "\"6A\""};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char line[64];
        snprintf(line, sizeof line, "{\"file\":\"a\",\"file_hex\":%s}\n", values[i]);
        scratch_write(&scratch, "j", line);
        Journal *journal = NULL;
        cr_expect_eq(journal_open(scratch_path(&scratch, "j"), &journal, &error), E_ARGUMENT, "%s",
                     line);
    }
}

Test(journal, empty_lines_and_a_byte_order_mark_are_passed_over) {
    write_two();
    char *text = scratch_read(&scratch, "j");
    Buffer edited = {0};
    buffer_printf(&edited, "\xef\xbb\xbf\n%s\r\n \n", text);
    scratch_write(&scratch, "j", (const char *)edited.data);
    expect_found("a.png", true);
    cr_expect_str_eq(scratch_read(&scratch, "j"), (const char *)edited.data, "it is left as it is");
    scratch_write(&scratch, "j", "\xef\xbb\xbf{\"file\":\"cut");
    Journal *journal = reopen();
    cr_expect_eq(journal_cut_bytes(journal), 12);
    journal_close(journal, NULL);
    scratch_write(&scratch, "j", "\xef\xbb\xbfmy diary");
    cr_expect_eq(journal_open(scratch_path(&scratch, "j"), &journal, &error), E_ARGUMENT);
}
