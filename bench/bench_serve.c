// SPDX-License-Identifier: Apache-2.0
// tessera bench serve: a load on a running server, or with --bar one of the promises about serving
// that can be measured from outside (serve_bars.c).
#include "bench/bench.h"
#include "bench/load.h"
#include "bench/serve_bars.h"
#include "bench/serve_report.h"

#include "base/check.h"
#include "base/file.h"
#include "host/media/extensions.h"

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

static int usage(FILE *out) {
    fprintf(out,
            "usage: tessera bench serve ADDRESS [options]   (unix:PATH or HOST:PORT)\n\n"
            "  --concurrency N   so many requests in flight (default 16), or\n"
            "  --rate R          so many a second at random times, or\n"
            "  --trace FILE      one at each time of the file: seconds, one a line\n"
            "  --seconds S       how long requests begin (default 10)\n"
            "  --requests N      or how many\n"
            "  --connections C   dealt out to the users (default 16)\n"
            "  --token-file FILE tokens of the users, one a line (default: one without a token)\n"
            "  --pictures FOLDER pictures to ask about\n"
            "  --share X         of the requests that carry one (default 1)\n"
            "  --question TEXT   (default: Describe the picture.)\n"
            "  --max-tokens N    (default 80)\n"
            "  --temperature T   (default: the model's; 100 draws any token, so answers are long)\n"
            "  --budget N        image tokens of a picture (default: the model's)\n"
            "  --class batch     instead of interactive\n"
            "  --whole           answers whole, not streamed\n"
            "  --unique          no prompt begins like another: the prefix cache finds nothing\n"
            "  --slo-first MS    a good answer has its first token by then (default 1000)\n"
            "  --slo-token MS    and every further one in this on average (default 100)\n"
            "  --seed N          of arrival times and choices\n"
            "  --bar NAME        measure one of these instead, on a server as ci/bench starts it:\n"
            "                    batching prefix ping idle unread disconnect overload\n"
            "  --pid N           the server's process, for its memory\n");
    return out == stdout ? 0 : 2;
}

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
        times[i] = strtod(lines[i], NULL) * 1e3;
        if (i > 0 && times[i] < times[i - 1]) {
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
    int pid;
} ServeArguments;

static bool read_flag(const char *name, ServeArguments *a) {
    bool whole = strcmp(name, "--whole") == 0, unique = strcmp(name, "--unique") == 0;
    a->load.whole = a->load.whole || whole;
    a->load.unique = a->load.unique || unique;
    return whole || unique;
}

static bool read_value(const char *name, const char *value, ServeArguments *a) {
    LoadOptions *load = &a->load;
    const struct {
        const char *name;
        uint32_t *number;
        double *real;
        const char **text;
    } options[] = {
        {"--concurrency", &load->concurrency, NULL, NULL},
        {"--requests", &load->requests_max, NULL, NULL},
        {"--connections", &load->connections, NULL, NULL},
        {"--max-tokens", &load->max_tokens, NULL, NULL},
        {"--budget", &load->budget, NULL, NULL},
        {"--rate", NULL, &load->rate, NULL},
        {"--seconds", NULL, &load->seconds, NULL},
        {"--temperature", NULL, &load->temperature, NULL},
        {"--share", NULL, &load->picture_share, NULL},
        {"--slo-first", NULL, &a->slo_first_ms, NULL},
        {"--slo-token", NULL, &a->slo_token_ms, NULL},
        {"--question", NULL, NULL, &load->question},
        {"--pictures", NULL, NULL, &a->pictures},
        {"--token-file", NULL, NULL, &a->token_file},
        {"--trace", NULL, NULL, &a->trace},
        {"--bar", NULL, NULL, &a->bar},
    };
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        if (strcmp(name, options[i].name) != 0) {
            continue;
        }
        if (options[i].number != NULL) {
            *options[i].number = (uint32_t)strtoul(value, NULL, 10);
        } else if (options[i].real != NULL) {
            *options[i].real = strtod(value, NULL);
        } else {
            *options[i].text = value;
        }
        return true;
    }
    if (strcmp(name, "--seed") == 0) {
        load->seed = strtoull(value, NULL, 10);
    } else if (strcmp(name, "--pid") == 0) {
        a->pid = (int)strtol(value, NULL, 10);
    } else if (strcmp(name, "--class") == 0 && strcmp(value, "batch") == 0) {
        load->batch = true;
    } else {
        return false;
    }
    return true;
}

static bool read_arguments(int argc, char **argv, ServeArguments *a) {
    a->inputs.user_count = 1;
    a->load = (LoadOptions){.connections = 16,
                            .picture_share = 1,
                            .question = "Describe the picture.",
                            .max_tokens = 80,
                            .temperature = -1,
                            .seed = 1};
    a->slo_first_ms = 1000;
    a->slo_token_ms = 100;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-' && a->load.address == NULL) {
            a->load.address = argv[i];
        } else if (!read_flag(argv[i], a)) {
            if (i + 1 >= argc || !read_value(argv[i], argv[i + 1], a)) {
                return false;
            }
            i++;
        }
    }
    return a->load.address != NULL && a->load.connections > 0;
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
    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        return usage(stdout);
    }
    static ServeArguments a;
    Error error = {0};
    if (!read_arguments(argc, argv, &a)) {
        return usage(stderr);
    }
    Status status = read_inputs(&a, &error);
    bool good = true;
    if (status == OK) {
        status =
            a.bar != NULL ? serve_bar(a.bar, &a.load, a.pid, &good, &error) : run_load(&a, &error);
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
