// SPDX-License-Identifier: Apache-2.0
// What decoding in another process costs: each WebP of the arguments is decoded in turn by libwebp
// here and by tessera-decoder, and a line says the medians of both, in microseconds: of processor
// time, the decoder's included, and by the clock; then the first picture of a decoder.
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "host/decoder/webp.h"
#include "host/media/child.h"

enum { ROUNDS = 200 };

typedef struct Costs {
    uint64_t cpu[ROUNDS], wall[ROUNDS];
} Costs;

typedef struct Trial {
    ChildTask task;
    MediaChild *child;
    uint8_t *pixels;
    Costs here, there;
} Trial;

static int by_size(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double median_us(uint64_t *values) {
    qsort(values, ROUNDS, sizeof *values, by_size);
    uint64_t median = values[ROUNDS / 2];
    return (double)median * 1e-3;
}

static uint64_t cpu_ns(const Trial *trial) {
    uint64_t decoder = 0;
    if (child_process(trial->child) != 0) {
        clock_process_ns(child_process(trial->child), &decoder);
    }
    return clock_thread_ns() + decoder;
}

static bool decode(Trial *trial, bool here) {
    DecoderAnswer answer = {0};
    const uint8_t *pixels;
    if (here) {
        answer = webp_decode(&trial->task.call, trial->task.input, trial->pixels);
    } else if (child_decode(&trial->child, &trial->task, &answer, &pixels, NULL) != OK) {
        return false;
    }
    return answer.fault == DECODER_DONE;
}

static bool measure(Trial *trial, bool here, int round) {
    Costs *costs = here ? &trial->here : &trial->there;
    uint64_t cpu = cpu_ns(trial), wall = clock_ns();
    bool good = decode(trial, here);
    costs->wall[round] = clock_ns() - wall;
    costs->cpu[round] = cpu_ns(trial) - cpu;
    return good;
}

static bool measure_file(const char *path, Trial *trial) {
    uint64_t begin = clock_ns();
    bool good = decode(trial, false);
    uint64_t first = clock_ns() - begin;
    for (int round = 0; good && round < ROUNDS; round++) {
        good = measure(trial, true, round) && measure(trial, false, round);
    }
    if (good) {
        printf("%s %ux%u cpu_us %.0f here %.0f there, wall_us %.0f here %.0f there %.0f first\n",
               path, trial->task.call.width, trial->task.call.height, median_us(trial->here.cpu),
               median_us(trial->there.cpu), median_us(trial->here.wall),
               median_us(trial->there.wall), (double)first * 1e-3);
    }
    return good;
}

static bool try_file(const char *path) {
    Buffer file = {0};
    const MediaLimits limits = media_limits_default();
    ImageInfo info;
    Trial *trial = calloc(1, sizeof *trial);
    bool good = trial != NULL && file_read(path, limits.file_bytes_max, &file, NULL) == OK &&
                media_probe((Bytes){file.data, file.length}, &limits, &info, NULL) == OK;
    if (good) {
        uint64_t pixels = (uint64_t)info.stored_width * info.stored_height;
        trial->task.call = (DecoderCall){
            .codec = DECODER_WEBP, .width = info.stored_width, .height = info.stored_height};
        trial->task.input = (Bytes){file.data, file.length};
        trial->task.limits = child_limits(pixels);
        trial->pixels = malloc(pixels * 3);
        good = trial->pixels != NULL && measure_file(path, trial);
        child_free(trial->child);
        free(trial->pixels);
    }
    free(trial);
    buffer_free(&file);
    return good;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (!try_file(argv[i])) {
            fprintf(stderr, "%s: not a WebP that can be decoded\n", argv[i]);
            return EXIT_FAILURE;
        }
    }
    return EXIT_SUCCESS;
}
