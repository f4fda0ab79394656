// SPDX-License-Identifier: Apache-2.0
// tessera bench serve: a load on a running server, or with --bar one of the promises about serving
// that can be measured from outside (serve_bars.c).
#include "bench/arguments.h"
#include "bench/bench.h"
#include "bench/load.h"
#include "bench/serve_bars.h"
#include "bench/serve_report.h"

#include "base/check.h"
#include "base/file.h"
#include "host/media/extensions.h"
#include "rpc/generate.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES_MAX = 1 << 26, TRACE_MAX = 1 << 20, PICTURES_MAX = 1024 };

typedef struct ServeInputs {
    Bytes tokens[SERVE_USERS_MAX];
    uint32_t user_count;
    Buffer token_text;
    Bytes pictures[PICTURES_MAX];
    Buffer files[PICTURES_MAX];
    uint32_t picture_count;
} ServeInputs;

// ---- Inputs -------------------------------------------------------------------------------------

static Status read_pictures(const char *folder, ServeInputs *inputs, Error *error) {
    DIR *directory = opendir(folder);
    if (directory == NULL) {
        return error_set(error, E_NOT_FOUND, "%s: no such folder", folder);
    }
    Status status = OK;
    for (struct dirent *entry; status == OK && (entry = readdir(directory)) != NULL;) {
        if (!media_is_picture_name(entry->d_name) || inputs->picture_count == PICTURES_MAX) {
            continue;
        }
        char path[4096];
        Buffer *file = &inputs->files[inputs->picture_count];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        status = file_read(path, FILE_BYTES_MAX, file, error);
        inputs->pictures[inputs->picture_count++] = (Bytes){file->data, file->length};
    }
    closedir(directory);
    if (status == OK && inputs->picture_count == 0) {
        return error_set(error, E_NOT_FOUND, "%s: no JPEG, PNG or WebP in it", folder);
    }
    return status;
}

// One value per line of a file.
static Status read_lines(const char *path, Buffer *text, char **lines, uint32_t lines_max,
                         uint32_t *count, Error *error) {
    TRY(file_read(path, FILE_BYTES_MAX, text, error));
    char *rest = (char *)text->data;
    for (char *line; rest != NULL && (line = strsep(&rest, "\n")) != NULL;) {
        if (line[0] == '\0' || line[0] == '#') {
            continue;
        }
        if (*count == lines_max) {
            return error_set(error, E_LIMIT, "%s: more than %u lines", path, lines_max);
        }
        lines[(*count)++] = line;
    }
    return OK;
}

static Status read_tokens(const char *path, ServeInputs *inputs, Error *error) {
    char *lines[SERVE_USERS_MAX];
    uint32_t count = 0;
    TRY(read_lines(path, &inputs->token_text, lines, SERVE_USERS_MAX, &count, error));
    for (uint32_t i = 0; i < count; i++) {
        inputs->tokens[i] = bytes_of_text(lines[i]);
    }
    inputs->user_count = count > 0 ? count : 1;
    return OK;
}

static Status read_trace(const char *path, LoadOptions *load, Error *error) {
    Buffer text = {0};
    char **lines = calloc(TRACE_MAX, sizeof *lines);
    double *times = calloc(TRACE_MAX, sizeof *times);
    REQUIRE(lines != NULL && times != NULL);
    Status status = read_lines(path, &text, lines, TRACE_MAX, &load->trace_count, error);
    for (uint32_t i = 0; i < load->trace_count && status == OK; i++) {
        REQUIRE(lines[i] != NULL);
        char *end;
        times[i] = strtod(lines[i], &end) * 1e3;
        if (*end != '\0' || !(times[i] >= 0 && times[i] < 1e12)) {
            status = error_set(error, E_ARGUMENT, "%s: line %u is no time in seconds", path, i + 1);
        } else if (i > 0 && times[i] < times[i - 1]) {
            status =
                error_set(error, E_ARGUMENT, "%s: line %u is before the one above", path, i + 1);
        }
    }
    load->trace_ms = times;
    free(lines);
    buffer_free(&text);
    return status;
}

// ---- The command --------------------------------------------------------------------------------

typedef struct ServeArguments {
    ServeInputs inputs;
    LoadOptions load;
    double slo_first_ms, slo_token_ms;
    const char *pictures, *token_file, *trace;
    const char *bar;
    uint32_t pid;
} ServeArguments;

static bool read_class(const char *value, void *at) {
    bool *batch = at;
    *batch = strcmp(value, "batch") == 0;
    return *batch;
}

// ARGUMENTS_GO_ON or the exit status.
static int read_arguments(int argc, char **argv, ServeArguments *a) {
    LoadOptions *load = &a->load;
    a->inputs.user_count = 1;
    *load = (LoadOptions){.connections = 16,
                          .picture_share = 1,
                          .question = "Describe the picture.",
                          .max_tokens = 80,
                          .temperature = -1,
                          .seed = 1};
    a->slo_first_ms = 1000;
    a->slo_token_ms = 100;
    const Argument rows[] = {
        ROW_COUNT("--concurrency", "N", "so many requests in flight (default 16), or",
                  &load->concurrency, 1, 65536),
        ROW_REAL("--rate", "R", "so many a second at random times, or", &load->rate, 0, 1e6),
        ROW_TEXT("--trace", "FILE", "one at each time of the file: seconds, one a line", &a->trace),
        ROW_REAL("--seconds", "S", "how long requests begin (default 10)", &load->seconds, 0, 1e9),
        ROW_COUNT("--requests", "N", "or how many", &load->requests_max, 1, UINT32_MAX),
        ROW_COUNT("--connections", "C", "dealt out to the users (default 16)", &load->connections,
                  1, 65536),
        ROW_TEXT("--token-file", "FILE",
                 "tokens of the users, one a line (default: one without a token)", &a->token_file),
        ROW_TEXT("--pictures", "FOLDER", "pictures to ask about", &a->pictures),
        ROW_REAL("--share", "X", "of the requests that carry one (default 1)", &load->picture_share,
                 0, 1),
        ROW_TEXT("--question", "TEXT", "(default: Describe the picture.)", &load->question),
        ROW_COUNT("--max-tokens", "N", "(default 80)", &load->max_tokens, 1, CALL_TOKENS_MAX),
        ROW_REAL("--temperature", "T",
                 "(default: the model's; 100 draws any token, so answers are long)",
                 &load->temperature, -1, 100),
        ROW_COUNT("--budget", "N", "image tokens of a picture (default: the model's)",
                  &load->budget, 0, 1120),
        ROW_READ("--class", "batch", "instead of interactive", read_class, &load->batch),
        ROW_FLAG("--whole", "answers whole, not streamed", &load->whole),
        ROW_FLAG("--unique", "no prompt begins like another: the prefix cache finds nothing",
                 &load->unique),
        ROW_REAL("--slo-first", "MS", "a good answer has its first token by then (default 1000)",
                 &a->slo_first_ms, 0, 1e9),
        ROW_REAL("--slo-token", "MS", "and every further one in this on average (default 100)",
                 &a->slo_token_ms, 0, 1e9),
        ROW_BIG("--seed", "N", "of arrival times and choices", &load->seed),
        ROW_TEXT("--bar", "NAME", "one of these instead, on a server as ci/bench starts it",
                 &a->bar),
        ROW_COUNT("--pid", "N", "the server's process, for its memory", &a->pid, 1, INT32_MAX),
    };
    const Arguments arguments = {
        .bench = "serve",
        .operands = "ADDRESS",
        .about = "ADDRESS is unix:PATH or HOST:PORT. Bars: batching prefix ping idle unread\n"
                 "disconnect overload.\n",
        .rows = rows,
        .row_count = sizeof rows / sizeof rows[0],
        .operand = argument_single,
        .at = &load->address,
    };
    return arguments_read(&arguments, argc, argv);
}

static Status read_inputs(ServeArguments *a, Error *error) {
    LoadOptions *load = &a->load;
    if (a->token_file != NULL) {
        TRY(read_tokens(a->token_file, &a->inputs, error));
    }
    if (a->pictures != NULL) {
        TRY(read_pictures(a->pictures, &a->inputs, error));
    }
    if (a->trace != NULL) {
        TRY(read_trace(a->trace, load, error));
    } else if (a->bar == NULL && load->rate <= 0 && load->concurrency == 0) {
        load->concurrency = 16;
    }
    if (a->bar == NULL && load->seconds <= 0 && load->requests_max == 0 && a->trace == NULL) {
        load->seconds = 10;
    }
    load->tokens = a->inputs.tokens;
    load->user_count = a->inputs.user_count;
    load->pictures = a->inputs.pictures;
    load->picture_count = a->inputs.picture_count;
    return OK;
}

static Status run_load(const ServeArguments *a, Error *error) {
    LoadReport report;
    Status status = load_run(&a->load, &report, error);
    if (status == OK) {
        const char *what = a->trace != NULL   ? "load, trace"
                           : a->load.rate > 0 ? "load, open loop"
                                              : "load, closed loop";
        serve_report_row(what, &a->load, &report, a->slo_first_ms, a->slo_token_ms);
    }
    load_free(&report);
    return status;
}

int bench_serve(int argc, char **argv) {
    static ServeArguments a;
    Error error = {0};
    int wrong = read_arguments(argc, argv, &a);
    if (wrong != ARGUMENTS_GO_ON) {
        return wrong;
    }
    Status status = read_inputs(&a, &error);
    bool good = true;
    if (status == OK) {
        status = a.bar != NULL ? serve_bar(a.bar, &a.load, (int)a.pid, &good, &error)
                               : run_load(&a, &error);
    }
    for (uint32_t i = 0; i < a.inputs.picture_count; i++) {
        buffer_free(&a.inputs.files[i]);
    }
    buffer_free(&a.inputs.token_text);
    free((void *)(uintptr_t)a.load.trace_ms);
    if (status != OK) {
        fprintf(stderr, "tessera bench serve: %s\n", error.text);
        return 3;
    }
    return good ? 0 : 1;
}
