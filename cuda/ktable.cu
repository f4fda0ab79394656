// SPDX-License-Identifier: Apache-2.0
#include "cuda/ktable.h"

extern "C" {
#include "base/file.h"
}

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const uint32_t buckets[] = {1,  2,   4,   8,   16,  24,   32,   48,  64,
                                   96, 128, 192, 256, 512, 1024, 2048, 4096};
enum { BUCKETS = sizeof buckets / sizeof *buckets, FILE_BYTES_MAX = 1024 * 1024 };

static const char *const kind_names[ACTIVATION_KIND_COUNT] = {"f32", "bf16", "int8"};

uint32_t ktable_bucket(uint32_t tokens) {
    for (uint32_t bucket : buckets) {
        if (tokens <= bucket) {
            return bucket;
        }
    }
    return buckets[BUCKETS - 1];
}

KernelKey ktable_key(const LinearArgs *args, int compute) {
    return {args->weight.level,   args->kind,
            args->weight.group,   args->weight.panels * MATRIX_PANEL,
            args->weight.columns, ktable_bucket(args->rows),
            (uint32_t)compute};
}

bool ktable_fits(const LinearVariant *variant, const KernelKey *key) {
    if (variant == &linear_plain_variant) {
        return true;
    }
    return variant->level == key->level && variant->kind == key->kind &&
           variant->group == key->group;
}

static bool same_key(const KernelKey *a, const KernelKey *b) {
    return a->level == b->level && a->kind == b->kind && a->group == b->group &&
           a->outputs == b->outputs && a->columns == b->columns && a->tokens == b->tokens &&
           a->compute == b->compute;
}

// Factors of two between a tile and the one that is wanted.
static uint32_t distance(uint32_t a, uint32_t b) {
    uint32_t steps = 0;
    for (uint32_t low = a < b ? a : b, high = a < b ? b : a; low < high; low *= 2) {
        steps++;
    }
    return steps;
}

static const LinearVariant *choose_by_rule(const KernelKey *key) {
    uint32_t m = key->tokens;
    uint32_t tokens = m <= 8 ? 8 : m <= 16 ? 16 : m <= 32 ? 32 : m <= 256 ? 64 : 128;
    uint32_t outputs = m <= 64 ? 32 : 128, least = UINT32_MAX;
    const LinearVariant *best = &linear_plain_variant;
    for (uint32_t i = 0; i < linear_variant_count; i++) {
        const LinearVariant *v = &linear_variants[i];
        uint32_t off = distance(v->tokens, tokens) + distance(v->outputs, outputs);
        if (ktable_fits(v, key) && off < least) {
            best = v;
            least = off;
        }
    }
    return best;
}

const LinearVariant *ktable_choose(const KernelTable *table, const KernelKey *key) {
    for (uint32_t i = 0; table != NULL && i < table->count; i++) {
        if (same_key(&table->entries[i].key, key)) {
            return table->entries[i].variant;
        }
    }
    return choose_by_rule(key);
}

bool ktable_set(KernelTable *table, const KernelKey *key, const LinearVariant *variant) {
    for (uint32_t i = 0; i < table->count; i++) {
        if (same_key(&table->entries[i].key, key)) {
            table->entries[i].variant = variant;
            return true;
        }
    }
    if (table->count == KTABLE_MAX) {
        return false;
    }
    table->entries[table->count++] = {*key, variant};
    return true;
}

// ---- Text ---------------------------------------------------------------------------------------

Status ktable_save(const KernelTable *table, const char *path, Error *error) {
    Buffer text = {};
    for (uint32_t i = 0; i < table->count; i++) {
        const KernelKey *k = &table->entries[i].key;
        buffer_printf(&text, "%s %s %u %u %u %u %u %s\n", weight_level_name(k->level),
                      kind_names[k->kind], k->group, k->outputs, k->columns, k->tokens, k->compute,
                      table->entries[i].variant->name);
    }
    Status status = text.failed ? error_set(error, E_MEMORY, "No memory for the kernel table.")
                                : file_write_whole(path, {text.data, text.length}, error);
    buffer_free(&text);
    return status;
}

static const LinearVariant *variant_named(const char *name) {
    for (uint32_t i = 0; i < linear_variant_count; i++) {
        if (strcmp(linear_variants[i].name, name) == 0) {
            return &linear_variants[i];
        }
    }
    return strcmp(linear_plain_variant.name, name) == 0 ? &linear_plain_variant : NULL;
}

static bool read_line(const char *line, KernelTable *table) {
    char level[16], kind[16], name[64];
    KernelKey key = {};
    if (sscanf(line, "%15s %15s %u %u %u %u %u %63s", level, kind, &key.group, &key.outputs,
               &key.columns, &key.tokens, &key.compute, name) != 8) {
        return false;
    }
    int known = 0;
    for (int i = 0; i < LEVEL_COUNT; i++) {
        if (strcmp(level, weight_level_name((WeightLevel)i)) == 0) {
            key.level = (WeightLevel)i;
            known++;
        }
    }
    for (int i = 0; i < ACTIVATION_KIND_COUNT; i++) {
        if (strcmp(kind, kind_names[i]) == 0) {
            key.kind = (ActivationKind)i;
            known++;
        }
    }
    const LinearVariant *variant = variant_named(name);
    return known == 2 && variant != NULL && ktable_fits(variant, &key) &&
           ktable_bucket(key.tokens) == key.tokens && ktable_set(table, &key, variant);
}

Status ktable_load(const char *path, KernelTable *table, Error *error) {
    Buffer text = {};
    Status status = file_read(path, FILE_BYTES_MAX, &text, error);
    table->count = 0;
    uint32_t number = 1;
    char *line = (char *)text.data;
    for (; status == OK && line != NULL && *line != '\0'; number++) {
        char *end = strchr(line, '\n');
        if (end != NULL) {
            *end = '\0';
        }
        if (!read_line(line, table)) {
            status = error_set(error, E_CONFIG,
                               "%s, line %u is not an entry of this program's kernel table. Delete "
                               "the file; it is measured again.",
                               path, number);
        }
        line = end != NULL ? end + 1 : NULL;
    }
    buffer_free(&text);
    return status;
}

// ---- Measuring ----------------------------------------------------------------------------------

static cudaError_t measure(CudaContext *context, const LinearVariant *variant,
                           const LinearArgs *args, uint32_t repeats, const cudaEvent_t events[2],
                           float *milliseconds) {
    cudaError_t status = variant->launch(context, args);
    if (status == cudaSuccess) {
        status = cudaEventRecord(events[0], context->stream);
    }
    for (uint32_t i = 0; i < repeats && status == cudaSuccess; i++) {
        status = variant->launch(context, args);
    }
    if (status == cudaSuccess) {
        status = cudaEventRecord(events[1], context->stream);
    }
    if (status == cudaSuccess) {
        status = cudaEventSynchronize(events[1]);
    }
    return status == cudaSuccess ? cudaEventElapsedTime(milliseconds, events[0], events[1])
                                 : status;
}

static Status tune(CudaContext *context, const LinearArgs *args, uint32_t repeats,
                   const cudaEvent_t events[2], KernelTable *table, Error *error) {
    KernelKey key = ktable_key(args, context->compute);
    const LinearVariant *best = NULL;
    float least = INFINITY;
    for (uint32_t i = 0; i < linear_variant_count; i++) {
        float milliseconds = 0.0f;
        if (!ktable_fits(&linear_variants[i], &key)) {
            continue;
        }
        CU(measure(context, &linear_variants[i], args, repeats, events, &milliseconds));
        if (milliseconds < least) {
            least = milliseconds;
            best = &linear_variants[i];
        }
    }
    if (best != NULL && !ktable_set(table, &key, best)) {
        return error_set(error, E_LIMIT, "The kernel table is full: %d entries.", KTABLE_MAX);
    }
    return OK;
}

Status ktable_tune(CudaContext *context, const OpLinear *op, uint32_t repeats, KernelTable *table,
                   Error *error) {
    LinearArgs args = linear_args(op);
    cudaEvent_t events[2] = {};
    CU(cudaEventCreate(&events[0]));
    cudaError_t second = cudaEventCreate(&events[1]);
    Status status = OK;
    if (second == cudaSuccess) {
        status = tune(context, &args, repeats, events, table, error);
        cudaEventDestroy(events[1]);
    } else {
        status = error_set(error, E_DEVICE, "cudaEventCreate: %s", cudaGetErrorString(second));
    }
    cudaEventDestroy(events[0]);
    return status;
}
