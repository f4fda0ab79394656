// SPDX-License-Identifier: Apache-2.0
// tessera bench roofline: what the cards could do at best with the 12B, and what we expect of our
// kernels on them. Predictions, every one, and marked so; figures that a card really gave stand
// beside them when ci/gpu has left some under bench/results/.
#include "base/bytes.h"
#include "base/file.h"
#include "bench/arguments.h"
#include "bench/bench.h"
#include "bench/roofline.h"
#include "bench/row.h"
#include "weights/synthetic.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What docs/cuda.md asks of the kernels: shares of bandwidth and of the mma rate.
static const double EXPECTED_BANDWIDTH = 0.85, EXPECTED_COMPUTE = 0.55;
enum { RESULT_BYTES_MAX = 16 << 20, GPUS_MAX = 32, CHUNK_ROWS = 2048 };

typedef struct Setting {
    const char *name;
    WeightLevel level;
    EngineActivation activation;
    KvKind sliding;
} Setting;

static const Setting settings[] = {
    {"W4A8 kv int8", LEVEL_INT4, ENGINE_ACTIVATION_INT8, KV_INT8},
    {"W4A8 kv bf16", LEVEL_INT4, ENGINE_ACTIVATION_INT8, KV_BF16},
    {"W4 mixed kv bf16", LEVEL_INT4, ENGINE_ACTIVATION_MIXED, KV_BF16},
    {"W4A8x2 kv bf16", LEVEL_INT4, ENGINE_ACTIVATION_INT8X2, KV_BF16},
    {"W4A16 kv bf16", LEVEL_INT4, ENGINE_ACTIVATION_BF16, KV_BF16},
    {"W8A8 kv int8", LEVEL_INT8, ENGINE_ACTIVATION_INT8, KV_INT8},
    {"bf16 kv bf16", LEVEL_BF16, ENGINE_ACTIVATION_BF16, KV_BF16},
};

typedef struct RooflineOptions {
    const Card *cards[GPUS_MAX];
    uint32_t card_count;
    uint32_t prompt, output, group;
    const char *results;
} RooflineOptions;

static bool read_card(const char *value, void *at) {
    RooflineOptions *o = at;
    const Card *card = card_of(value);
    bool good = card != NULL && o->card_count < GPUS_MAX;
    o->cards[good ? o->card_count++ : 0] = card;
    return good;
}

// ARGUMENTS_GO_ON or the exit status.
static int read_options(int argc, char **argv, RooflineOptions *o) {
    *o = (RooflineOptions){.prompt = 330, .output = 80, .group = 32, .results = "bench/results"};
    const Argument rows[] = {
        ROW_READ("--gpu", "ID", "a card; may be given again (default: all)", read_card, o),
        ROW_COUNT("--prompt", "N", "tokens (default 330)", &o->prompt, 1, 1 << 18),
        ROW_COUNT("--output", "N", "tokens (default 80)", &o->output, 1, 1 << 18),
        ROW_COUNT("--group", "N", "weights a scale (default 32)", &o->group, 32, 128),
        ROW_TEXT("--results", "FOLDER", "what was measured (default bench/results)", &o->results),
    };
    Buffer about = {0};
    buffer_append_text(&about, "Predictions for gemma-4-12b from the bytes and operations of its "
                               "shapes. ID is one of:\n");
    for (uint32_t i = 0; i < card_count; i++) {
        buffer_printf(&about, "  %-10s %s\n", cards[i].id, cards[i].name);
    }
    const Arguments arguments = {.bench = "roofline",
                                 .operands = "",
                                 .about = (const char *)about.data,
                                 .rows = rows,
                                 .row_count = sizeof rows / sizeof rows[0]};
    int status = arguments_read(&arguments, argc, argv);
    buffer_free(&about);
    if (o->card_count == 0) {
        for (uint32_t i = 0; i < card_count; i++) {
            o->cards[o->card_count++] = &cards[i];
        }
    }
    return status;
}

// The best of all files that ci/gpu left.
static double measured(const char *folder, const Card *card, const char *setting) {
    DIR *directory = opendir(folder);
    double best = 0;
    struct dirent *entry;
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        const char *dot = strrchr(entry->d_name, '.');
        if (strncmp(entry->d_name, "gpu-", 4) != 0 || dot == NULL || strcmp(dot, ".jsonl") != 0) {
            continue;
        }
        char path[4096];
        Buffer text = {0};
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (file_read(path, RESULT_BYTES_MAX, &text, NULL) == OK) {
            best = fmax(best, roofline_measured((Bytes){text.data, text.length}, card, setting));
        }
        buffer_free(&text);
    }
    if (directory != NULL) {
        closedir(directory);
    }
    return best;
}

static void print_row(const Card *card, const Setting *setting, const Roofline *floor,
                      const Roofline *expected, double seen) {
    char captions[64] = "";
    if (seen > 0) {
        snprintf(captions, sizeof captions, "  measured %.1f", seen);
    }
    if (floor->batch_max == 0) {
        fprintf(stderr, "  %-16s does not fit: weights of %.1f GB\n", setting->name,
                floor->weight_bytes / 1e9);
    } else {
        fprintf(stderr, "  %-16s %7.2f %8.1f %6u %6u %9.2f %9.1f %10.1f%s\n", setting->name,
                floor->decode_ms, floor->prefill_ms, floor->batch_max, floor->batch,
                floor->batch_ms, floor->captions_per_second, expected->captions_per_second,
                captions);
    }
    Row row = row_begin("roofline", "prediction");
    row_text(&row, "gpu", card->name);
    row_text(&row, "setting", setting->name);
    row_number(&row, "weight_gb", floor->weight_bytes / 1e9);
    row_number(&row, "request_mb", floor->request_bytes / 1e6);
    row_number(&row, "batch_max", floor->batch_max);
    if (floor->batch_max > 0) {
        row_number(&row, "batch", floor->batch);
        row_number(&row, "floor_decode_ms", floor->decode_ms);
        row_number(&row, "floor_prefill_ms", floor->prefill_ms);
        row_number(&row, "floor_batch_step_ms", floor->batch_ms);
        row_number(&row, "floor_captions_per_second", floor->captions_per_second);
        row_number(&row, "predicted_captions_per_second", expected->captions_per_second);
        if (seen > 0) {
            row_number(&row, "measured_captions_per_second", seen);
        }
    }
    row_end(&row);
}

int bench_roofline(int argc, char **argv) {
    RooflineOptions o;
    Error error = {0};
    Gemma4Config config;
    int wrong = read_options(argc, argv, &o);
    if (wrong != ARGUMENTS_GO_ON) {
        return wrong;
    }
    if (synthetic_config("gemma-4-12b", &config, &error) != OK) {
        fprintf(stderr, "tessera bench roofline: %s\n", error.text);
        return 3;
    }
    fprintf(stderr,
            "PREDICTIONS, not measurements: gemma-4-12b, %u prompt and %u answer tokens, groups of "
            "%u.\n'floor' divides counted bytes and operations by the card's rated speeds; "
            "'expect' takes %.0f %% of the\nbandwidth and %.0f %% of the mma rate. Prompts and "
            "answers one after the other; at most 256 requests.\n",
            o.prompt, o.output, o.group, EXPECTED_BANDWIDTH * 100, EXPECTED_COMPUTE * 100);
    for (uint32_t c = 0; c < o.card_count; c++) {
        const Card *card = o.cards[c];
        fprintf(stderr,
                "\n%s (sm_%d, %.0f GB/s, bf16 %.0f, int8 %.0f T/s)\n  %-16s %7s %8s %6s %6s "
                "%9s %9s %10s\n",
                card->name, card->compute, card->memory_gbs, card->bf16_tflops, card->int8_tops, "",
                "decode", "prefill", "fit", "batch", "its step", "captions", "captions");
        fprintf(stderr, "  %-16s %7s %8s %6s %6s %9s %9s %10s\n", "", "ms", "ms", "", "", "ms",
                "/s floor", "/s expect");
        for (size_t s = 0; s < sizeof settings / sizeof settings[0]; s++) {
            RooflinePlan plan = {
                .level = settings[s].level,
                .group = o.group,
                .activation = settings[s].activation,
                .kv = {[LAYER_SLIDING] = settings[s].sliding, [LAYER_FULL] = KV_BF16},
                .prompt = o.prompt,
                .output = o.output,
                .chunk = CHUNK_ROWS,
                .bandwidth_share = 1,
                .compute_share = 1};
            Roofline floor = roofline_of(&config, card, &plan, 0);
            plan.bandwidth_share = EXPECTED_BANDWIDTH;
            plan.compute_share = EXPECTED_COMPUTE;
            Roofline expected = roofline_of(&config, card, &plan, 0);
            print_row(card, &settings[s], &floor, &expected,
                      measured(o.results, card, settings[s].name));
        }
    }
    return 0;
}
