// SPDX-License-Identifier: Apache-2.0
// tessera info: what a model is, how many bytes it takes, what memory a batch will need.
#include "host/cli/command.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/json_write.h"
#include "base/text.h"
#include "host/cli/model_options.h"
#include "host/cli/summary.h"
#include "host/runtime/cards.h"
#include "host/runtime/runtime.h"
#include "weights/manifest.h"

#include <string.h>

enum { INFO_CONTEXT_DEFAULT = 1024, INFO_BATCH_MOST = 4096 };

// What is shown, beside the runtime.
typedef struct InfoFacts {
    double seconds;     // to open
    const Card *card;   // the card that is planned for, NULL: this machine
    uint32_t batch_max; // requests at once that fit whole; 0: unknown, or not one
} InfoFacts;

// One section of the weights, summed up.
typedef struct InfoKind {
    const char *name;
    uint64_t matrices, parameters, bytes;
} InfoKind;

enum { INFO_KIND_COUNT = SECTION_COUNT };

static void info_kinds(const Weights *w, InfoKind out[INFO_KIND_COUNT]) {
    static const SectionKind order[INFO_KIND_COUNT] = {
        SECTION_DECODER, SECTION_EMBEDDING, SECTION_VISION, SECTION_AUDIO, SECTION_NORMS};
    static const char *const names[SECTION_COUNT] = {"norms", "embedding", "decoder", "vision",
                                                     "audio"};
    const Manifest *manifest = weights_manifest(w);
    InfoKind sums[SECTION_COUNT] = {0};
    for (uint32_t i = 0; i < manifest->count; i++) {
        const Piece *piece = &manifest->pieces[i];
        InfoKind *kind = &sums[piece->section];
        bool matrix = piece->kind == PIECE_MATRIX;
        kind->matrices += matrix;
        kind->parameters +=
            matrix ? (uint64_t)piece->matrix.rows * piece->matrix.columns : piece->length;
        kind->bytes += piece->bytes + piece->scales_bytes;
    }
    for (int i = 0; i < INFO_KIND_COUNT; i++) {
        out[i] = sums[order[i]];
        out[i].name = names[order[i]];
    }
}

static void info_write_layer(JsonWriter *json, const LayerShape *layer) {
    json_write_text(json, "kind", bytes_of_text(layer->kind == LAYER_FULL ? "full" : "sliding"));
    json_write_unsigned(json, "heads", layer->head_count);
    json_write_unsigned(json, "kv_heads", layer->kv_head_count);
    json_write_unsigned(json, "head_dim", layer->head_dim);
    json_write_bool(json, "value_is_key", layer->value_is_key);
}

static void info_write_architecture(JsonWriter *json, const Gemma4Config *c) {
    json_write_open(json, "architecture", '{');
    json_write_unsigned(json, "layers", c->layer_count);
    json_write_unsigned(json, "hidden", c->hidden);
    json_write_unsigned(json, "intermediate", c->intermediate);
    json_write_unsigned(json, "vocabulary", c->vocab_count);
    json_write_unsigned(json, "window", c->window);
    json_write_unsigned(json, "positions", c->position_max);
    json_write_bool(json, "vision", c->has_vision);
    json_write_bool(json, "audio", c->has_audio);
    json_write_unsigned(json, "image_budget", c->image_budget);
    json_write_open(json, "layer_shapes", '[');
    for (uint32_t i = 0; i < c->layer_count; i++) {
        json_write_open(json, NULL, '{');
        info_write_layer(json, &c->layers[i]);
        json_write_close(json, '}');
    }
    json_write_close(json, ']');
    json_write_close(json, '}');
}

static void info_write_tensors(JsonWriter *json, const Weights *w) {
    InfoKind kinds[INFO_KIND_COUNT];
    info_kinds(w, kinds);
    json_write_open(json, "tensors", '{');
    for (int i = 0; i < INFO_KIND_COUNT; i++) {
        json_write_open(json, kinds[i].name, '{');
        json_write_unsigned(json, "matrices", kinds[i].matrices);
        json_write_unsigned(json, "parameters", kinds[i].parameters);
        json_write_unsigned(json, "bytes", kinds[i].bytes);
        json_write_close(json, '}');
    }
    json_write_close(json, '}');
}

static void info_write_memory(JsonWriter *json, const Runtime *runtime, uint32_t batch_max) {
    const MemoryPlan *plan = &runtime->plan;
    json_write_open(json, "memory", '{');
    json_write_unsigned(json, "batch", runtime->sizes.batch);
    json_write_unsigned(json, "context", runtime->sizes.context);
    json_write_unsigned(json, "step_tokens", runtime->sizes.rows);
    json_write_unsigned(json, "weights_bytes", plan->weights);
    json_write_unsigned(json, "kv_sliding_bytes", plan->kv[PAGE_SLIDING]);
    json_write_unsigned(json, "kv_full_bytes", plan->kv[PAGE_FULL]);
    json_write_unsigned(json, "workspace_bytes", plan->workspace);
    json_write_unsigned(json, "total_bytes", plan->total);
    json_write_unsigned(json, "host_bytes", plan->host);
    json_write_unsigned(json, "batch_max", batch_max);
    json_write_close(json, '}');
}

static void info_json(const Runtime *runtime, const InfoFacts *facts, Buffer *out) {
    const Weights *w = runtime->weights;
    JsonWriter json = {.out = out};
    char level[16];
    runtime_level_text(runtime, level);
    json_write_open(&json, NULL, '{');
    json_write_text(&json, "model", bytes_of_text(runtime->options.model));
    json_write_text(&json, "identity", bytes_of_text(w->identity));
    json_write_text(&json, "weights", bytes_of_text(level));
    json_write_text(&json, "device", bytes_of_text(device_name(runtime->backend)));
    json_write_real(&json, "open_seconds", facts->seconds, 4);
    if (facts->card != NULL) {
        json_write_text(&json, "predicted_for", bytes_of_text(facts->card->id));
    }
    info_write_architecture(&json, &w->config);
    info_write_tensors(&json, w);
    info_write_memory(&json, runtime, facts->batch_max);
    json_write_close(&json, '}');
    buffer_append_byte(out, '\n');
}

static double info_mib(uint64_t bytes) {
    return (double)bytes / (1024.0 * 1024.0);
}

// Layers of equal shape as one line: "40 sliding: 16 heads of 256, 8 kv heads".
static void info_layers(const Gemma4Config *c, Buffer *out) {
    for (int kind = 0; kind < LAYER_KIND_COUNT; kind++) {
        uint32_t count = 0;
        const LayerShape *shape = NULL;
        for (uint32_t i = 0; i < c->layer_count; i++) {
            if ((int)c->layers[i].kind == kind) {
                shape = &c->layers[i];
                count++;
            }
        }
        if (shape != NULL) {
            buffer_printf(out, "  %u %s layers: %u heads of %u, %u kv head%s%s\n", count,
                          kind == LAYER_FULL ? "full" : "sliding", shape->head_count,
                          shape->head_dim, shape->kv_head_count,
                          shape->kv_head_count == 1 ? "" : "s",
                          shape->value_is_key ? ", values are keys" : "");
        }
    }
}

// How many requests of these sizes fit, here or on a card.
static void info_fit(const Runtime *runtime, const InfoFacts *facts, Buffer *out) {
    const Card *card = facts->card;
    if (card != NULL) {
        buffer_printf(out,
                      "prediction for %s from the card table, nothing was measured: %.0f GiB, of "
                      "them %.1f for driver and display\n",
                      card->name, card->memory_gib, card->kept_gib);
    }
    if (facts->batch_max > 0) {
        buffer_printf(
            out, "  at most %u at once have room for all their tokens%s\n", facts->batch_max,
            runtime->options.memory_bytes != 0              ? " in --memory"
            : runtime->options.device.choice == DEVICE_CUDA ? " in what is free but for 256 MiB"
                                                            : " in nine tenths of what is free");
    }
}

static void info_text(const Runtime *runtime, const InfoFacts *facts, Buffer *out) {
    const Weights *w = runtime->weights;
    const Gemma4Config *c = &w->config;
    char level[16];
    runtime_level_text(runtime, level);
    text_escape(out, bytes_of_text(runtime->options.model), TEXT_LINE);
    buffer_printf(out, ": gemma4_unified, %s weights, opened in %.2f s\n", level, facts->seconds);
    buffer_printf(out, "  identity %s, device %s\n", w->identity, device_name(runtime->backend));
    buffer_printf(
        out,
        "architecture\n  %u layers, hidden %u, intermediate %u, vocabulary %u, window %u, "
        "positions %u\n",
        c->layer_count, c->hidden, c->intermediate, c->vocab_count, c->window, c->position_max);
    info_layers(c, out);
    if (c->has_vision) {
        buffer_printf(out, "  pictures: patches of %u pixels, at most %u tokens unless asked\n",
                      c->patch_side, c->image_budget);
    }
    buffer_printf(out, "tensors        matrices       parameters          MiB\n");
    InfoKind kinds[INFO_KIND_COUNT];
    info_kinds(w, kinds);
    InfoKind sum = {.name = "all"};
    for (int i = 0; i < INFO_KIND_COUNT; i++) {
        buffer_printf(out, "  %-10s %10llu %16llu %12.1f\n", kinds[i].name,
                      (unsigned long long)kinds[i].matrices,
                      (unsigned long long)kinds[i].parameters, info_mib(kinds[i].bytes));
        sum.matrices += kinds[i].matrices;
        sum.parameters += kinds[i].parameters;
        sum.bytes += kinds[i].bytes;
    }
    buffer_printf(out, "  %-10s %10llu %16llu %12.1f\n", sum.name, (unsigned long long)sum.matrices,
                  (unsigned long long)sum.parameters, info_mib(sum.bytes));
    const MemoryPlan *plan = &runtime->plan;
    buffer_printf(out, "memory for %u at once, %u tokens each, %u tokens a step          MiB\n",
                  runtime->sizes.batch, runtime->sizes.context, runtime->sizes.rows);
    buffer_printf(out, "  weights %46.1f\n  cache, sliding layers %32.1f\n",
                  info_mib(plan->weights), info_mib(plan->kv[PAGE_SLIDING]));
    buffer_printf(out, "  cache, full layers %35.1f\n  workspace %44.1f\n  all %50.1f\n",
                  info_mib(plan->kv[PAGE_FULL]), info_mib(plan->workspace), info_mib(plan->total));
    buffer_printf(out, "  beside it, of the host %31.1f\n", info_mib(plan->host));
    info_fit(runtime, facts, out);
}

// Reads the options; with --gpu the device is that card, which need not be here.
static Status info_options(const Options *options, RuntimeOptions *open, const Card **card,
                           Error *error) {
    Options named = *options;
    named.values[OPT_MODEL].text = options->operands[0];
    const char *id = options->values[OPT_GPU].text;
    *card = id != NULL ? card_of(id) : NULL;
    if (*card != NULL) {
        if (options->values[OPT_DEVICE].given) {
            return error_set(error, E_ARGUMENT, "--gpu names the device; leave out --device");
        }
        named.values[OPT_DEVICE].text = "cpu"; // what is here does not matter
    }
    TRY(model_options_runtime(&named, open, error));
    open->device.choice = *card != NULL ? DEVICE_CUDA : open->device.choice;
    open->weights.shape_only = true;
    return OK;
}

// The model, and the backend or what stands for it.
static Status info_open(const RuntimeOptions *open, const Card *card, Runtime *runtime,
                        Error *error) {
    if (card == NULL) {
        return runtime_open(open, runtime, error);
    }
    TRY(runtime_open_weights(open, runtime, error));
    return device_open_card(card, open->device.cublaslt, &runtime->backend, error);
}

static Exit info_run(Runtime *runtime, const Options *options, Error *error) {
    const OptionValue *v = options->values;
    if (options->operand_count != 1) {
        error_set(error, E_ARGUMENT, "name exactly one MODEL");
        return EXIT_USAGE;
    }
    RuntimeOptions open;
    InfoFacts facts = {0};
    Status status = info_options(options, &open, &facts.card, error);
    if (status != OK) {
        return command_start_exit(status);
    }
    if (v[OPT_VERIFY].given && weights_verify(open.model, error) != OK) {
        return EXIT_ITEMS;
    }
    uint64_t begin_ns = clock_ns();
    status = info_open(&open, facts.card, runtime, error);
    if (status != OK) {
        return command_start_exit(status);
    }
    facts.seconds = (double)(clock_ns() - begin_ns) * 1e-9;
    const ServingSizes sizes = {
        .batch = open.batch,
        .batch_least = open.batch_given ? 0 : 1,
        .media = 1,
        .context = open.context != 0 ? open.context : INFO_CONTEXT_DEFAULT,
        .context_least = open.context != 0 ? 0 : runtime_context_least(runtime),
    };
    status = runtime_size(runtime, &sizes, error);
    facts.batch_max = runtime_batch_max(runtime, &runtime->sizes, INFO_BATCH_MOST);
    Buffer out = {0};
    if (status == OK || status == E_MEMORY) {
        if (v[OPT_JSON].given) {
            info_json(runtime, &facts, &out);
        } else {
            info_text(runtime, &facts, &out);
        }
        fwrite(out.data, 1, out.length, stdout);
    }
    buffer_free(&out);
    return status == OK ? EXIT_GOOD : EXIT_START;
}

Exit command_info(const Options *options) {
    Runtime runtime = {0};
    Error error = {0};
    uint64_t begin_ns = clock_ns();
    Exit result = info_run(&runtime, options, &error);
    runtime_close(&runtime);
    if (result != EXIT_GOOD) {
        command_fail("info", &error, result);
    }
    const OptionValue *v = options->values;
    if (v[OPT_VERIFY].given && !v[OPT_QUIET].given && result != EXIT_USAGE) {
        summary_print_file("verified", result != EXIT_ITEMS, (double)(clock_ns() - begin_ns) * 1e-9,
                           NULL);
    }
    return result;
}
