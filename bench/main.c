// SPDX-License-Identifier: Apache-2.0
// tessera-bench: the program behind `tessera bench`. A table of benches and nothing else.
#include "base/standard.h"
#include "bench/bench.h"

#include <stdio.h>
#include <string.h>

typedef struct Bench {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *text;
} Bench;

#ifndef TESSERA_CUDA
static int without_cuda(int argc, char **argv) {
    (void)argc;
    fprintf(stderr,
            "tessera bench %s: this program was built without the CUDA part; build it with "
            "the preset cuda, which needs nvcc\n",
            argv[0]);
    return 2;
}
#define bench_gpu without_cuda
#endif

static const Bench benches[] = {
    {"ops", bench_ops,
     "matrix products per weight level and rows, against the machine's measured peak"},
    {"attention", bench_attention, "paged attention, decode and prefill"},
    {"model", bench_model, "prefill and decode tokens/s of a model"},
    {"gpu", bench_gpu, "an NVIDIA GPU: ceilings, kernels, captioning end to end"},
    {"media", bench_media, "pictures/s of decode, resize and patches on one thread"},
    {"sched", bench_sched, "what the scheduler's plan and commit cost"},
    {"serve", bench_serve, "a load on a running server, and the bars about serving"},
    {"text", bench_text, "tokenizer MB/s on one thread"},
    {"roofline", bench_roofline, "what GPUs could do with the 12B: predictions, not measurements"},
};

static int usage(FILE *out) {
    fprintf(out,
            "usage: tessera bench NAME [ARGUMENTS]   (--help after NAME for its arguments)\n\n");
    for (size_t i = 0; i < sizeof benches / sizeof benches[0]; i++) {
        fprintf(out, "  %-10s %s\n", benches[i].name, benches[i].text);
    }
    fprintf(out, "\nRows of JSON go to stdout, a table for people to stderr.\n");
    return out == stdout ? 0 : 2;
}

static int run(int argc, char **argv) {
    if (argc < 2) {
        return usage(stderr);
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        return usage(stdout);
    }
    for (size_t i = 0; i < sizeof benches / sizeof benches[0]; i++) {
        if (strcmp(argv[1], benches[i].name) == 0) {
            return benches[i].run(argc - 1, argv + 1);
        }
    }
    fprintf(stderr, "tessera bench: there is no bench named '%s'\n", argv[1]);
    return usage(stderr);
}

int main(int argc, char **argv) {
    standard_open();
    int result = run(argc, argv);
    Error error;
    if (standard_close(&error) != OK && result == 0) {
        fprintf(stderr, "tessera bench: %s\n", error.text);
        result = 3;
    }
    return result;
}
