// SPDX-License-Identifier: Apache-2.0
// The engine: opens the network on a backend and runs steps. All memory is taken at open. A step is
//
//     copy pages -> upload -> forward_decoder -> forward_logits -> sample -> wait
//
// Where the backend can record, a decode step (one row of every sequence, all sampled) is recorded
// up to its logits the first time it has this many rows, and replayed from then on: a few hundred
// launches become one.
//
// A step that fails leaves the cache in doubt, so the engine stays failed: every later step returns
// the first failure again.
#include "model/engine.h"

#include "base/check.h"
#include "base/num.h"
#include "model/forward.h"
#include "model/mem_plan.h"
#include "model/placed.h"
#include "model/rope.h"

#include <stdlib.h>

struct Engine {
    Model model;
    uint32_t sequences_max;
    void *workspace_memory;                 // device
    unsigned char *staging;                 // host, workspace.step_bytes
    const BatchSequence **sampled;          // host [sequences_max]
    float *frequencies[LAYER_KIND_COUNT];   // host, what inverse_frequency was placed from
    bool records;                           // decode steps are recorded and replayed
    const Batch *batches[ENGINE_STEPS_MAX]; // of the steps under way, the oldest first
    uint32_t under_way;
    Status failed; // OK, or the first failure
    Error failure;
};

MemoryPlan engine_plan(const Weights *weights, const Backend *backend,
                       const EngineOptions *options) {
    return mem_plan_sum(weights, backend, options);
}

static Status check_options(const Weights *weights, const EngineOptions *options, Error *error) {
    const Gemma4Config *config = &weights->config;
    if (options->rows_max == 0 || options->sequences_max == 0) {
        return error_set(error, E_ARGUMENT,
                         "rows_max is %u and sequences_max is %u; both must be at least 1.",
                         options->rows_max, options->sequences_max);
    }
    uint32_t head_dim[LAYER_KIND_COUNT] = {0};
    for (uint32_t l = 0; l < config->layer_count; l++) {
        const LayerShape *shape = &config->layers[l];
        if (options->pages[shape->kind] == 0) {
            return error_set(error, E_ARGUMENT, "pages of the %s layers must be at least 1.",
                             shape->kind == LAYER_SLIDING ? "sliding" : "full");
        }
        if (head_dim[shape->kind] != 0 && head_dim[shape->kind] != shape->head_dim) {
            return error_set(error, E_UNSUPPORTED,
                             "Layer %u has a head size of %u where others of its kind have %u; "
                             "one size per kind is supported.",
                             l, shape->head_dim, head_dim[shape->kind]);
        }
        head_dim[shape->kind] = shape->head_dim;
    }
    return precision_check(options->activation, weights->level, error);
}

static Status place_frequencies(Engine *engine) {
    Model *model = &engine->model;
    const Backend *backend = model->backend;
    for (int kind = 0; kind < LAYER_KIND_COUNT; kind++) {
        uint32_t head_dim = model->shape.head_dim[kind];
        if (head_dim == 0) {
            continue;
        }
        engine->frequencies[kind] = malloc(head_dim / 2 * sizeof(float));
        if (engine->frequencies[kind] == NULL) {
            return E_MEMORY;
        }
        rope_inverse_frequency(&model->weights.config.rope[kind], head_dim,
                               engine->frequencies[kind]);
        TRY(backend->device->place_floats(backend->context, engine->frequencies[kind], head_dim / 2,
                                          &model->inverse_frequency[kind]));
    }
    return OK;
}

static Status take_memory(Engine *engine, const EngineOptions *options, size_t workspace_bytes) {
    Model *model = &engine->model;
    const Gemma4Config *config = &model->weights.config;
    const Backend *backend = model->backend;
    TRY(place_frequencies(engine));
    TRY(kv_store_open(&model->kv, config, options->kv, options->pages, backend));
    engine->workspace_memory = backend->device->take(backend->context, workspace_bytes);
    if (engine->workspace_memory == NULL) {
        return E_MEMORY;
    }
    model->workspace = workspace_lay_out(&model->shape, config, engine->workspace_memory);
    engine->staging = malloc(model->workspace.step_bytes);
    engine->sampled = malloc(options->sequences_max * sizeof(BatchSequence *));
    return engine->staging == NULL || engine->sampled == NULL ? E_MEMORY : OK;
}

Status engine_open(const Weights *weights, const Backend *backend, const EngineOptions *options,
                   Engine **out, Error *error) {
    *out = NULL;
    TRY(check_options(weights, options, error));
    MemoryPlan plan = mem_plan_sum(weights, backend, options);
    Engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) {
        return mem_plan_check(&plan, options, backend, true, error);
    }
    Model *model = &engine->model;
    engine->sequences_max = options->sequences_max;
    engine->records = backend->device->graphs != NULL && !options->eager;
    model->backend = backend;
    model->activation = options->activation;
    model->shape = workspace_shape(weights, options);
    Status status = placed_weights(weights, backend, &model->weights);
    if (status == OK) {
        status = mem_plan_check(&plan, options, backend, false, error);
        if (status != OK) {
            engine_close(engine);
            return status;
        }
        status = take_memory(engine, options, plan.workspace);
    }
    if (status != OK) {
        engine_close(engine);
        return status == E_MEMORY ? mem_plan_check(&plan, options, backend, true, error)
                                  : error_set(error, status, "The device refused the weights: %s.",
                                              status_text(status));
    }
    *out = engine;
    return OK;
}

void engine_close(Engine *engine) {
    if (engine == NULL) {
        return;
    }
    const Backend *backend = engine->model.backend;
    if (backend->device->graphs != NULL) {
        backend->device->graphs->forget(backend->context);
    }
    kv_store_close(&engine->model.kv, backend);
    if (engine->workspace_memory != NULL) {
        backend->device->give(backend->context, engine->workspace_memory);
    }
    for (int kind = 0; kind < LAYER_KIND_COUNT; kind++) {
        free(engine->frequencies[kind]);
    }
    free(engine->staging);
    free(engine->sampled);
    free(engine);
}

// Raw logits of every row to the host, a few rows at a time.
static Status all_logits(const Model *model, uint32_t row_count, float *out) {
    const Backend *backend = model->backend;
    size_t vocab = model->weights.config.vocab_count;
    for (uint32_t first = 0; first < row_count; first += model->shape.logits_rows) {
        uint32_t count = (uint32_t)num_min(model->shape.logits_rows, row_count - first);
        TRY(forward_logits(model, NULL, first, count));
        TRY(backend->device->download(backend->context, out + first * vocab,
                                      model->workspace.logits, count * vocab * sizeof(float)));
    }
    return OK;
}

static uint32_t find_sampled(Engine *engine, const Batch *batch) {
    uint32_t sampled = 0;
    for (uint32_t s = 0; s < batch->sequence_count; s++) {
        if (batch->sequences[s].sample) {
            engine->sampled[sampled++] = &batch->sequences[s];
        }
    }
    return sampled;
}

// Draws for the sampled sequences [first, first + count), whose logits are in the workspace.
static Status sample(const Engine *engine, uint32_t first, uint32_t count, StepResult *result) {
    const Model *model = &engine->model;
    const GenerationDefaults *generation = &model->weights.config.generation;
    return model->backend->ops->sample(model->backend->context,
                                       &(OpSample){.count = count,
                                                   .sequences = engine->sampled + first,
                                                   .logits = model->workspace.logits,
                                                   .vocab_count = model->weights.config.vocab_count,
                                                   .suppress_ids = generation->suppress_ids,
                                                   .suppress_count = generation->suppress_count,
                                                   .out = result->samples + first});
}

static Status compute_and_sample(const Engine *engine, const Batch *batch, const Step *step,
                                 StepResult *result) {
    const Model *model = &engine->model;
    TRY(forward_decoder(model, step));
    if (batch->all_logits != NULL) {
        TRY(all_logits(model, batch->row_count, batch->all_logits));
    }
    uint32_t sampled = step->sample_count;
    for (uint32_t first = 0; first < sampled; first += model->shape.logits_rows) {
        uint32_t count = (uint32_t)num_min(model->shape.logits_rows, sampled - first);
        TRY(forward_logits(model, step->sample_rows + first, 0, count));
        TRY(sample(engine, first, count, result));
    }
    return OK;
}

// One row of every sequence, all sampled, no more than one piece of logits.
static bool is_decode_step(const Engine *engine, const Batch *batch, const Step *step) {
    return batch->row_count == batch->sequence_count && step->sample_count == batch->row_count &&
           batch->image_count == 0 && batch->audio_count == 0 && batch->all_logits == NULL &&
           step->sample_count <= engine->model.shape.logits_rows;
}

// A recording serves all steps of as many rows whose longest sequence has the same power of two
// above it: that is the one number of a step that is not in device memory.
static Status replay_and_sample(const Engine *engine, Step *step, StepResult *result) {
    const Model *model = &engine->model;
    const GraphTable *graphs = model->backend->device->graphs;
    void *context = model->backend->context;
    uint32_t length = KV_PAGE_TOKENS;
    while (length < step->rows.kv_length_max) {
        length *= 2;
    }
    step->rows.kv_length_max = length;
    uint64_t key = (uint64_t)length << 32 | step->sample_count;
    if (!graphs->has(context, key)) {
        TRY(graphs->begin(context));
        Status status = forward_decoder(model, step);
        if (status == OK) {
            status = forward_logits(model, step->sample_rows, 0, step->sample_count);
        }
        Status ended = graphs->end(context, key);
        TRY(status);
        TRY(ended);
    }
    TRY(graphs->launch(context, key));
    return sample(engine, 0, step->sample_count, result);
}

static Status run_step(Engine *engine, const Batch *batch, StepResult *result) {
    Model *model = &engine->model;
    Step step;
    TRY(kv_store_copy(&model->kv, batch, model->backend));
    TRY(step_upload(batch, &model->weights.config, &model->workspace, engine->staging,
                    model->backend, &step));
    result->sample_count = find_sampled(engine, batch);
    if (engine->records && is_decode_step(engine, batch, &step)) {
        return replay_and_sample(engine, &step, result);
    }
    return compute_and_sample(engine, batch, &step, result);
}

static void check_batch(const Engine *engine, const Batch *batch) {
    const Model *model = &engine->model;
    REQUIRE_MESSAGE(batch->row_count > 0 && batch->row_count <= model->shape.rows,
                    "%u rows in a step of at most %u", batch->row_count, model->shape.rows);
    REQUIRE_MESSAGE(batch->sequence_count <= engine->sequences_max,
                    "%u sequences in a step of at most %u", batch->sequence_count,
                    engine->sequences_max);
    REQUIRE(batch->image_count == 0 || model->weights.config.has_vision);
    REQUIRE(batch->audio_count == 0 || model->weights.config.has_audio);
}

static Status failure_of(const Engine *engine, Error *error) {
    return engine->failed == OK ? OK : error_set(error, engine->failed, "%s", engine->failure.text);
}

Status engine_begin(Engine *engine, const Batch *batch, Error *error) {
    REQUIRE_MESSAGE(engine->under_way < ENGINE_STEPS_MAX, "%u steps are under way",
                    engine->under_way);
    check_batch(engine, batch);
    TRY(failure_of(engine, error));
    engine->batches[engine->under_way++] = batch;
    return OK;
}

Status engine_end(Engine *engine, StepResult *result, Error *error) {
    REQUIRE_MESSAGE(engine->under_way > 0, "no step is under way");
    const Batch *batch = engine->batches[0];
    engine->batches[0] = engine->batches[1];
    engine->under_way--;
    result->sample_count = 0;
    if (engine->failed == OK) {
        const Backend *backend = engine->model.backend;
        Status status = run_step(engine, batch, result);
        Status waited = backend->device->wait(backend->context, &engine->failure);
        engine->failed = status != OK ? status : waited;
        if (status != OK && waited == OK) { // else the device has said more
            error_set(&engine->failure, status, "A step of the engine failed: %s.",
                      status_text(status));
        }
    }
    if (engine->failed != OK) {
        result->sample_count = 0;
    }
    return failure_of(engine, error);
}

bool engine_overlaps(const Engine *engine) {
    (void)engine;
    return false;
}

Status engine_step(Engine *engine, const Batch *batch, StepResult *result, Error *error) {
    result->sample_count = 0;
    TRY(engine_begin(engine, batch, error));
    return engine_end(engine, result, error);
}
