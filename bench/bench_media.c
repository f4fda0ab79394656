// SPDX-License-Identifier: Apache-2.0
// Pictures per second of media_load on one thread: decode, resize and patches of every picture of a
// folder, from memory that was read once. bench/media_peers.py measures the peers on the same
// folder; run both in one sitting and compare rows, by processor time when the machine is shared.
#include "bench/arguments.h"
#include "bench/bench.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/num.h"
#include "bench/row.h"
#include "host/media/child.h"
#include "host/media/media.h"
#include "host/media/resize.h"

typedef struct Picture {
    char name[256];
    Buffer file;
} Picture;

typedef struct Pictures {
    Picture *items;
    size_t count;
} Pictures;

typedef struct Options {
    const char *folder;
    uint32_t budget;
    double seconds;
    bool each;
} Options;

// ARGUMENTS_GO_ON or the exit status.
static int read_options(int argc, char **argv, Options *options) {
    *options = (Options){.budget = IMAGE_TOKEN_BUDGET_DEFAULT, .seconds = 5};
    const Argument rows[] = {
        ROW_COUNT("--budget", "N", "most image tokens of a picture (default 280)", &options->budget,
                  1, 1120),
        ROW_REAL("--seconds", "S", "how long it is measured (default 5)", &options->seconds, 0,
                 1e9),
        ROW_FLAG("--each", "adds one row per picture", &options->each),
    };
    const Arguments arguments = {
        .bench = "media",
        .operands = "FOLDER",
        .about = "Loads every picture of FOLDER again and again on one thread.\n"
                 "bench/media_peers.py FOLDER measures the Python peers.\n",
        .rows = rows,
        .row_count = sizeof rows / sizeof rows[0],
        .operand = argument_single,
        .at = &options->folder,
    };
    return arguments_read(&arguments, argc, argv);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const Picture *)a)->name, ((const Picture *)b)->name);
}

// Keeps the files that probe as pictures.
static Pictures read_folder(const char *folder) {
    Pictures out = {0};
    MediaLimits limits = media_limits_default();
    DIR *directory = opendir(folder);
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        Picture picture = {0};
        snprintf(picture.name, sizeof picture.name, "%s", entry->d_name);
        ImageInfo info;
        if (entry->d_name[0] == '.' ||
            file_read(path, limits.file_bytes_max, &picture.file, NULL) != OK ||
            media_probe((Bytes){picture.file.data, picture.file.length}, &limits, &info, NULL) !=
                OK) {
            buffer_free(&picture.file);
            continue;
        }
        Picture *items = realloc(out.items, (out.count + 1) * sizeof *items);
        if (items == NULL) {
            buffer_free(&picture.file);
            break;
        }
        out.items = items;
        out.items[out.count++] = picture;
    }
    if (directory != NULL) {
        closedir(directory);
    }
    if (out.count > 0) {
        qsort(out.items, out.count, sizeof *out.items, by_name);
    }
    return out;
}

static void pictures_free(Pictures *pictures) {
    for (size_t i = 0; i < pictures->count; i++) {
        buffer_free(&pictures->items[i].file);
    }
    free(pictures->items);
}

// The patches must be those of the plain reference before anything is timed.
static bool check(const Picture *picture, uint32_t budget, MediaScratch *scratch, Error *error) {
    MediaLimits limits = media_limits_default();
    Bytes file = {picture->file.data, picture->file.length};
    Patches fast = {0};
    Image image = {0};
    ImageGeometry geometry;
    Resize resize;
    bool same = false;
    uint8_t *plain = malloc((size_t)budget * PATCH_BYTES);
    if (plain != NULL && media_load(file, &limits, budget, scratch, &fast, error) == OK &&
        media_decode(file, &limits, scratch, &image, error) == OK &&
        media_geometry(image.width, image.height, budget, &geometry, error) == OK &&
        resize_begin(&resize,
                     &(ResizeSizes){image.width, image.height, geometry.target_width,
                                    geometry.target_height},
                     RESIZE_SCALAR, scratch, error) == OK) {
        resize_push(&resize, image.pixels.data, (size_t)image.width * 3, 0, image.height);
        resize_finish(&resize, plain);
        same = memcmp(plain, fast.pixels, (size_t)fast.count * PATCH_BYTES) == 0;
        if (!same) {
            error_set(error, E_INTERNAL, "the patches are not those of the plain reference");
        }
    }
    free(plain);
    patches_free(&fast);
    image_free(&image);
    return same;
}

// Processor time of this thread and of the decoder that it has started, if it has.
static uint64_t cpu_ns(const MediaScratch *scratch) {
    uint64_t decoder = 0;
    if (child_process(scratch->child) != 0) {
        clock_process_ns(child_process(scratch->child), &decoder);
    }
    return clock_thread_ns() + decoder;
}

// Whole rounds over the pictures until the time is up.
static void measure(const char *what, const Picture *items, size_t count, const Options *options,
                    MediaScratch *scratch, Patches *patches) {
    MediaLimits limits = media_limits_default();
    uint64_t pixels = 0, rounds = 0, begin = clock_ns(), cpu_begin = cpu_ns(scratch), now;
    do {
        for (size_t i = 0; i < count; i++) {
            Bytes file = {items[i].file.data, items[i].file.length};
            media_load(file, &limits, options->budget, scratch, patches, NULL);
        }
        rounds++;
        now = clock_ns();
    } while ((double)(now - begin) < options->seconds * 1e9);
    uint64_t cpu_used = cpu_ns(scratch) - cpu_begin;
    for (size_t i = 0; i < count; i++) {
        ImageInfo info;
        Bytes file = {items[i].file.data, items[i].file.length};
        media_probe(file, &limits, &info, NULL);
        pixels += (uint64_t)info.width * info.height;
    }
    double seconds = (double)(now - begin) * 1e-9;
    double cpu_seconds = (double)cpu_used * 1e-9;
    double loads = (double)(rounds * count);
    fprintf(stderr, "%-36s %9.1f pictures/s %9.1f pictures/cpu-s %9.1f megapixels/cpu-s\n", what,
            loads / seconds, loads / cpu_seconds, (double)(rounds * pixels) * 1e-6 / cpu_seconds);
    Row row = row_begin("media", what);
    row_text(&row, "peer", "tessera");
    row_number(&row, "budget", options->budget);
    row_number(&row, "threads", 1);
    row_number(&row, "pictures", (double)count);
    row_number(&row, "pictures_per_s", loads / seconds);
    row_number(&row, "pictures_per_cpu_s", loads / cpu_seconds);
    row_number(&row, "megapixels_per_cpu_s", (double)(rounds * pixels) * 1e-6 / cpu_seconds);
    row_end(&row);
}

int bench_media(int argc, char **argv) {
    Options options;
    int wrong = read_options(argc, argv, &options);
    if (wrong != ARGUMENTS_GO_ON) {
        return wrong;
    }
    Pictures pictures = read_folder(options.folder);
    MediaScratch scratch = {0};
    Patches patches = {0};
    int status = 0;
    if (pictures.count == 0) {
        fprintf(stderr, "tessera bench media: %s holds no pictures\n", options.folder);
        status = 1;
    }
    for (size_t i = 0; i < pictures.count && status == 0; i++) {
        Error error = {0};
        if (!check(&pictures.items[i], options.budget, &scratch, &error)) {
            fprintf(stderr, "tessera bench media: %s: %s\n", pictures.items[i].name, error.text);
            status = 1;
        }
    }
    if (status == 0) {
        measure(options.folder, pictures.items, pictures.count, &options, &scratch, &patches);
        for (size_t i = 0; options.each && i < pictures.count; i++) {
            measure(pictures.items[i].name, &pictures.items[i], 1, &options, &scratch, &patches);
        }
    }
    patches_free(&patches);
    media_scratch_free(&scratch);
    pictures_free(&pictures);
    return status;
}
