// SPDX-License-Identifier: Apache-2.0
// The engine: opens the network on a backend and runs steps. All memory is taken at open. A step is
//
//     copy pages -> upload -> forward_decoder -> forward_logits -> sample -> download, mark
//
// all of it queued by engine_begin; engine_end waits for the mark. What is on its way between host
// and device lies in one half of the host memory for each of the two steps that may be under way.
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
#include "model/rope.h"
#include "model/weights_on_device.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

// What the host keeps of a step until it ends. The memory that copies come from and go to.
typedef struct UnderWay {
    unsigned char *staging; // the step's arrays, pixels and samples on their way to the device
    StepSample *results;    // [samples] on their way back
    uint64_t *tags;         // [samples]
    uint32_t sample_count;
} UnderWay;

struct Engine {
    Model model;
    void *workspace_memory; // device
    void *host_memory;      // the device's, staging and results of all steps under way
    UnderWay steps[ENGINE_STEPS_MAX];
    uint32_t next, under_way;             // the one that begins next; how many before it run
    BatchSequence *draws;                 // host [samples] of the step that begins
    const BatchSequence **sampled;        // host [samples] each of them
    float *frequencies[LAYER_KIND_COUNT]; // host, what inverse_frequency was placed from
    bool records;                         // decode steps are recorded and replayed
    Status failed;                        // OK, or the first failure
    Error failure;
};

static_assert((int)ENGINE_STEPS_MAX <= (int)DEVICE_MARKS, "a mark for every step under way");

MemoryPlan engine_plan(const Weights *weights, const Backend *backend,
                       const EngineOptions *options) {
    return mem_plan_sum(weights, backend, options);
}

static Status check_options(const Weights *weights, const EngineOptions *options, Error *error) {
    const Gemma4Config *config = &weights->config;
    if (options->rows_max == 0 || options->sequences_max == 0) {
        return error_set(error, E_ARGUMENT,
                         "rows_max is %u and sequences_max is %u; both must be at least 1",
                         options->rows_max, options->sequences_max);
    }
    uint32_t head_dim[LAYER_KIND_COUNT] = {0};
    for (uint32_t l = 0; l < config->layer_count; l++) {
        const LayerShape *shape = &config->layers[l];
        if (options->pages[shape->kind] == 0) {
            return error_set(error, E_ARGUMENT, "pages of the %s layers must be at least 1",
                             shape->kind == LAYER_SLIDING ? "sliding" : "full");
        }
        if (head_dim[shape->kind] != 0 && head_dim[shape->kind] != shape->head_dim) {
            return error_set(error, E_UNSUPPORTED,
                             "layer %u has a head size of %u where others of its kind have %u; "
                             "one size per kind is supported",
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

// The bits of a scan, the same in every step.
static Status upload_suppressed(const Engine *engine) {
    const Model *model = &engine->model;
    const Gemma4Config *config = &model->weights.config;
    const GenerationDefaults *generation = &config->generation;
    if (!model->shape.scans) {
        return OK;
    }
    uint32_t chunks = logit_chunks(config->vocab_count);
    uint32_t *bits = calloc(chunks, sizeof *bits);
    if (bits == NULL) {
        return E_MEMORY;
    }
    for (uint32_t i = 0; i < generation->suppress_count; i++) {
        int32_t id = generation->suppress_ids[i];
        if (id >= 0 && (uint32_t)id < config->vocab_count) {
            bits[id / LOGIT_CHUNK] |= 1u << id % LOGIT_CHUNK;
        }
    }
    Status status = model->backend->device->upload(
        model->backend->context, model->workspace.suppressed, bits, chunks * sizeof *bits);
    free(bits);
    return status;
}

// Staging and results of every step that may be under way, one behind the other.
static Status take_host_memory(Engine *engine, size_t bytes) {
    const Model *model = &engine->model;
    const Backend *backend = model->backend;
    size_t results = step_results_bytes(&model->shape);
    unsigned char *memory = backend->device->take_host(backend->context, bytes);
    engine->host_memory = memory;
    uint32_t samples = model->shape.samples;
    engine->draws = malloc(samples * sizeof *engine->draws);
    engine->sampled = malloc(samples * sizeof *engine->sampled);
    bool enough = memory != NULL && engine->draws != NULL && engine->sampled != NULL;
    for (uint32_t i = 0; enough && i < samples; i++) {
        engine->sampled[i] = &engine->draws[i];
    }
    for (int i = 0; i < ENGINE_STEPS_MAX && enough; i++, memory += bytes / ENGINE_STEPS_MAX) {
        UnderWay *step = &engine->steps[i];
        step->results = (StepSample *)memory;
        step->staging = memory + results;
        step->tags = malloc(samples * sizeof *step->tags);
        enough = step->tags != NULL;
    }
    return enough ? OK : E_MEMORY;
}

static Status take_memory(Engine *engine, const EngineOptions *options, const MemoryPlan *plan) {
    Model *model = &engine->model;
    const Gemma4Config *config = &model->weights.config;
    const Backend *backend = model->backend;
    TRY(place_frequencies(engine));
    TRY(kv_store_open(&model->kv, config, options->kv, options->pages, backend));
    engine->workspace_memory = backend->device->take(backend->context, plan->workspace);
    if (engine->workspace_memory == NULL) {
        return E_MEMORY;
    }
    model->workspace = workspace_lay_out(&model->shape, config, engine->workspace_memory);
    TRY(upload_suppressed(engine));
    return take_host_memory(engine, plan->host);
}

// Weights or memory were not to be had.
static Status refused(const Backend *backend, const MemoryPlan *plan, const EngineOptions *options,
                      Status status, Error *error) {
    if (status == E_MEMORY) {
        return mem_plan_check(plan, options, backend, true, error);
    }
    Error said = {0};
    bool more = backend->device->wait(backend->context, &said) != OK; // the device has said more
    return more ? error_set(error, status, "the device refused the weights: %s", said.text)
                : error_set(error, status, "the device refused the weights: %s",
                            status_text(status));
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
    engine->records = backend->device->graphs != NULL && !options->eager;
    model->backend = backend;
    model->activation = options->activation;
    model->shape = workspace_shape(weights, backend, options);
    Status status = weights_on_device(weights, backend, &model->weights);
    if (status == OK) {
        status = mem_plan_check(&plan, options, backend, false, error);
        if (status != OK) {
            engine_close(engine);
            return status;
        }
        status = take_memory(engine, options, &plan);
    }
    if (status != OK) {
        engine_close(engine);
        return refused(backend, &plan, options, status, error);
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
    if (engine->under_way > 0) {
        backend->device->wait(backend->context, &engine->failure); // what it uses is given back
    }
    kv_store_close(&engine->model.kv, backend);
    if (engine->workspace_memory != NULL) {
        backend->device->give(backend->context, engine->workspace_memory);
    }
    if (engine->host_memory != NULL) {
        backend->device->give_host(backend->context, engine->host_memory);
    }
    for (int kind = 0; kind < LAYER_KIND_COUNT; kind++) {
        free(engine->frequencies[kind]);
    }
    for (int i = 0; i < ENGINE_STEPS_MAX; i++) {
        free(engine->steps[i].tags);
    }
    free(engine->draws);
    free(engine->sampled);
    free(engine);
}

// Raw logits of every row to the host, a few rows at a time.
static Status all_logits(const Model *model, uint32_t row_count, float *out) {
    const Backend *backend = model->backend;
    size_t vocab = model->weights.config.vocab_count;
    for (uint32_t first = 0; first < row_count; first += model->shape.logits_rows) {
        uint32_t count = (uint32_t)num_min(model->shape.logits_rows, row_count - first);
        TRY(forward_logits(model, NULL, first, count, (LogitScan){0}));
        TRY(backend->device->download(backend->context, out + first * vocab,
                                      model->workspace.logits, count * vocab * sizeof(float)));
    }
    return OK;
}

static void find_sampled(Engine *engine, const Batch *batch, UnderWay *under_way) {
    uint32_t count = 0;
    for (uint32_t s = 0; s < batch->sequence_count; s++) {
        for (uint32_t i = 0; i < batch->sequences[s].sample_rows; i++) {
            under_way->tags[count] = batch->sequences[s].tag;
            engine->draws[count++] = step_draw(&batch->sequences[s], i);
        }
    }
    under_way->sample_count = count;
}

// Where the tokens of a step lie in workspace.drawn: the two steps that may be under way, and a
// step and the one before it, have different halves.
static uint32_t drawn_first(const Engine *engine, uint32_t step) {
    return step % 2 * engine->model.shape.samples;
}

// Of the logits of the sampled sequences from `first` on; none where the device makes none.
static LogitScan scan_of(const Model *model, const Step *step, uint32_t first) {
    const Workspace *w = &model->workspace;
    return model->shape.scans
               ? (LogitScan){w->suppressed, step->sample_inverse_temperature + first, w->chunks}
               : (LogitScan){0};
}

// Draws for the sampled sequences [first, first + count), whose logits are in the workspace.
static Status sample(const Engine *engine, const Step *step, uint32_t first, uint32_t count) {
    const Model *model = &engine->model;
    const Workspace *w = &model->workspace;
    const GenerationDefaults *generation = &model->weights.config.generation;
    OpSample op = {.count = count,
                   .sequences = engine->sampled + first,
                   .settings = step->sample_settings + first,
                   .drawn_before = w->drawn + drawn_first(engine, engine->next + 1),
                   .logits = w->logits,
                   .vocab_count = model->weights.config.vocab_count,
                   .suppress_ids = generation->suppress_ids,
                   .suppress_count = generation->suppress_count,
                   .scan = scan_of(model, step, first),
                   .out = w->results + first,
                   .drawn = w->drawn + drawn_first(engine, engine->next) + first};
    return model->backend->ops->sample(model->backend->context, &op);
}

static Status compute_and_sample(const Engine *engine, const Batch *batch, const Step *step) {
    const Model *model = &engine->model;
    TRY(forward_decoder(model, step));
    if (batch->all_logits != NULL) {
        TRY(all_logits(model, batch->row_count, batch->all_logits));
    }
    uint32_t sampled = step->sample_count;
    for (uint32_t first = 0; first < sampled; first += model->shape.logits_rows) {
        uint32_t count = (uint32_t)num_min(model->shape.logits_rows, sampled - first);
        TRY(forward_logits(model, step->sample_rows + first, 0, count,
                           scan_of(model, step, first)));
        TRY(sample(engine, step, first, count));
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
static Status replay_and_sample(const Engine *engine, Step *step) {
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
            status = forward_logits(model, step->sample_rows, 0, step->sample_count,
                                    scan_of(model, step, 0));
        }
        Status ended = graphs->end(context, key);
        TRY(status);
        TRY(ended);
    }
    TRY(graphs->launch(context, key));
    return sample(engine, step, 0, step->sample_count);
}

static Status queue_step(Engine *engine, const Batch *batch) {
    Model *model = &engine->model;
    const Backend *backend = model->backend;
    UnderWay *under_way = &engine->steps[engine->next];
    Step step;
    TRY(kv_store_copy(&model->kv, batch, backend));
    StepUpload with = {.config = &model->weights.config,
                       .workspace = &model->workspace,
                       .backend = backend,
                       .staging = under_way->staging,
                       .drawn_first = drawn_first(engine, engine->next + 1)};
    TRY(step_upload(batch, &with, &step));
    find_sampled(engine, batch, under_way);
    if (engine->records && is_decode_step(engine, batch, &step)) {
        TRY(replay_and_sample(engine, &step));
    } else {
        TRY(compute_and_sample(engine, batch, &step));
    }
    if (under_way->sample_count > 0) {
        TRY(backend->device->download(backend->context, under_way->results,
                                      model->workspace.results,
                                      under_way->sample_count * sizeof(StepSample)));
    }
    return backend->device->mark(backend->context, engine->next);
}

static void check_batch(const Engine *engine, const Batch *batch) {
    const Model *model = &engine->model;
    REQUIRE_MESSAGE(batch->row_count > 0 && batch->row_count <= model->shape.rows,
                    "%u rows in a step of at most %u", batch->row_count, model->shape.rows);
    REQUIRE_MESSAGE(batch->sequence_count <= model->shape.sequences,
                    "%u sequences in a step of at most %u", batch->sequence_count,
                    model->shape.sequences);
    uint64_t samples = 0;
    for (uint32_t s = 0; s < batch->sequence_count; s++) {
        samples += batch->sequences[s].sample_rows;
    }
    REQUIRE_MESSAGE(samples <= model->shape.samples, "%llu sampled rows in a step of at most %u",
                    (unsigned long long)samples, model->shape.samples);
    REQUIRE(batch->image_count == 0 || model->weights.config.has_vision);
    REQUIRE(batch->audio_count == 0 || model->weights.config.has_audio);
}

// Keeps the first failure, once nothing runs any more.
static void fail(Engine *engine, Status status) {
    const Backend *backend = engine->model.backend;
    engine->failed = status;
    if (backend->device->wait(backend->context, &engine->failure) == OK) { // else it has said more
        error_set(&engine->failure, status, "a step of the engine failed: %s", status_text(status));
    }
}

static Status failure_of(const Engine *engine, Error *error) {
    return engine->failed == OK ? OK : error_set(error, engine->failed, "%s", engine->failure.text);
}

Status engine_begin(Engine *engine, const Batch *batch, Error *error) {
    REQUIRE_MESSAGE(engine->under_way < ENGINE_STEPS_MAX, "%u steps are under way",
                    engine->under_way);
    check_batch(engine, batch);
    if (engine->failed == OK) {
        Status status = queue_step(engine, batch);
        if (status == OK) {
            engine->next = (engine->next + 1) % ENGINE_STEPS_MAX;
            engine->under_way++;
        } else {
            fail(engine, status);
        }
    }
    return failure_of(engine, error);
}

// What the device left of every sample, as a whole StepSample. E_INTERNAL: one has no token.
static Status unpack(const UnderWay *under_way, StepResult *result) {
    for (uint32_t i = 0; i < under_way->sample_count; i++) {
        const StepSample *from = &under_way->results[i];
        if (from->chosen.token < 0) {
            return E_INTERNAL;
        }
        StepSample *to = &result->samples[i];
        *to = (StepSample){
            .tag = under_way->tags[i], .chosen = from->chosen, .top_count = from->top_count};
        memcpy(to->top, from->top, from->top_count * sizeof *to->top);
    }
    result->sample_count = under_way->sample_count;
    return OK;
}

Status engine_end(Engine *engine, StepResult *result, Error *error) {
    REQUIRE_MESSAGE(engine->under_way > 0, "no step is under way");
    uint32_t oldest = (engine->next + ENGINE_STEPS_MAX - engine->under_way) % ENGINE_STEPS_MAX;
    engine->under_way--;
    result->sample_count = 0;
    if (engine->failed == OK) {
        const Backend *backend = engine->model.backend;
        Status status = backend->device->reach(backend->context, oldest);
        status = status == OK ? unpack(&engine->steps[oldest], result) : status;
        if (status != OK) {
            fail(engine, status);
        }
    }
    return failure_of(engine, error);
}

bool engine_overlaps(const Engine *engine) {
    return engine->model.backend->device->overlaps;
}

Status engine_step(Engine *engine, const Batch *batch, StepResult *result, Error *error) {
    REQUIRE_MESSAGE(engine->under_way == 0, "%u steps are under way", engine->under_way);
    result->sample_count = 0;
    TRY(engine_begin(engine, batch, error));
    return engine_end(engine, result, error);
}
