// SPDX-License-Identifier: Apache-2.0
// A folder of the Hugging Face cache opens as its snapshot. The snapshots here are links to a
// fixture.
#include "base/file_write.h"
#include "weights/weights.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FLAT TEST_ROOT "/tests/golden/weights/flat"

typedef struct Hub {
    char root[64];
    char folder[128];
} Hub;

static void path_in(const Hub *hub, const char *name, char out[256]) {
    snprintf(out, 256, "%s/%s", hub->folder, name);
}

static void make_folder(const Hub *hub, const char *name) {
    char path[256];
    path_in(hub, name, path);
    cr_assert_eq(mkdir(path, 0700), 0, "%s", path);
}

static Hub hub_open(void) {
    Hub hub = {.root = "/tmp/tessera-hub-XXXXXX"};
    cr_assert_not_null(mkdtemp(hub.root));
    snprintf(hub.folder, sizeof hub.folder, "%s/models--google--x", hub.root);
    cr_assert_eq(mkdir(hub.folder, 0700), 0);
    make_folder(&hub, "blobs");
    make_folder(&hub, "refs");
    make_folder(&hub, "snapshots");
    return hub;
}

static void add_snapshot(const Hub *hub, const char *name) {
    char path[256], inner[64];
    snprintf(inner, sizeof inner, "snapshots/%s", name);
    path_in(hub, inner, path);
    cr_assert_eq(symlink(FLAT, path), 0);
}

static void set_main(const Hub *hub, const char *text) {
    char path[256];
    path_in(hub, "refs/main", path);
    cr_assert_eq(file_write_whole(path, bytes_of_text(text), NULL), OK);
}

static void hub_close(Hub *hub) {
    static const char *const names[] = {"snapshots/one", "snapshots/two", "refs/main", "blobs",
                                        "refs",          "snapshots",     ""};
    char path[256];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        path_in(hub, names[i], path);
        remove(path);
    }
    rmdir(hub->root);
}

// Opens the hub's folder and closes everything; `words` are in the error, or in the folder's name.
static void expect_opened(Hub *hub, Status expected, const char *words) {
    const WeightsOptions options = {.level = LEVEL_COUNT};
    Weights *weights;
    Error error = {0};
    Status status = weights_open(hub->folder, &options, &weights, &error);
    cr_expect_eq(status, expected, "%s: %s", status_name(status), error.text);
    const char *text = status == OK ? weights->tokenizer.path : error.text;
    cr_expect_not_null(strstr(text, words), "no %s in: %s", words, text);
    weights_close(weights);
    hub_close(hub);
}

Test(hub, takes_the_snapshot_of_main) {
    Hub hub = hub_open();
    add_snapshot(&hub, "one");
    add_snapshot(&hub, "two");
    set_main(&hub, "two\n");
    expect_opened(&hub, OK, "models--google--x/snapshots/two");
}

Test(hub, takes_the_only_snapshot_without_main) {
    Hub hub = hub_open();
    add_snapshot(&hub, "one");
    expect_opened(&hub, OK, "models--google--x/snapshots/one");
}

Test(hub, does_not_choose_among_several) {
    Hub hub = hub_open();
    add_snapshot(&hub, "one");
    add_snapshot(&hub, "two");
    expect_opened(&hub, E_NOT_FOUND, "holds 2 snapshots");
}

Test(hub, says_that_nothing_was_downloaded) {
    Hub hub = hub_open();
    expect_opened(&hub, E_NOT_FOUND, "holds 0 snapshots");
    hub = hub_open();
    set_main(&hub, "one");
    expect_opened(&hub, E_NOT_FOUND, "snapshots/one: is named by refs/main and is not there");
}

Test(hub, does_not_leave_the_folder) {
    static const char *const names[] = {"../one", "a/b", "", ".", ".."};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        Hub hub = hub_open();
        add_snapshot(&hub, "one");
        set_main(&hub, names[i]);
        expect_opened(&hub, E_CHECKPOINT, "refs/main: does not hold the name of a snapshot");
    }
}
