// SPDX-License-Identifier: Apache-2.0
#include "cuda/ktable.h"

extern "C" {
#include "base/file.h"
#include "base/file_write.h"
}

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

const uint32_t ktable_buckets[KTABLE_BUCKETS] = {1,  2,   4,   8,   16,  24,   32,   48,  64,
                                                 96, 128, 192, 256, 512, 1024, 2048, 4096};
enum { FILE_BYTES_MAX = 1024 * 1024 };

static const char *const kind_names[ACTIVATION_KIND_COUNT] = {"f32", "bf16", "int8", "int8x2"};

uint32_t ktable_bucket_index(uint32_t tokens) {
    uint32_t index = 0;
    while (index < KTABLE_BUCKETS - 1 && ktable_buckets[index] < tokens) {
        index++;
    }
    return index;
}

uint32_t ktable_bucket(uint32_t tokens) {
    return ktable_buckets[ktable_bucket_index(tokens)];
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

Status ktable_card(int device, char out[KTABLE_CARD_MAX], Error *error) {
    cudaDeviceProp properties;
    CU(cudaGetDeviceProperties(&properties, device));
    snprintf(out, KTABLE_CARD_MAX, "tessera %s, sm_%d, %d multiprocessors, %.200s", TESSERA_VERSION,
             10 * properties.major + properties.minor, properties.multiProcessorCount,
             properties.name);
    return OK;
}

Status ktable_save(const KernelTable *table, const char *card, const char *path, Error *error) {
    Buffer text = {};
    buffer_printf(&text, "%s\n", card);
    for (uint32_t i = 0; i < table->count; i++) {
        const KernelKey *k = &table->entries[i].key;
        buffer_printf(&text, "%s %s %u %u %u %u %u %s\n", weight_level_name(k->level),
                      kind_names[k->kind], k->group, k->outputs, k->columns, k->tokens, k->compute,
                      table->entries[i].variant->name);
    }
    buffer_printf(&text, "%u entries\n", table->count);
    Status status = text.failed ? error_set(error, E_MEMORY, "no memory for the kernel table")
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

#define KTABLE_AGAIN "measure it anew with 'tessera bench gpu --tune', or delete the file"

// The line that begins at *text, which then is what follows; NULL: there is no whole line left.
static char *next_line(char **text) {
    char *line = *text, *end = line != NULL ? strchr(line, '\n') : NULL;
    if (end == NULL) {
        return NULL;
    }
    *end = '\0';
    *text = end + 1;
    return line;
}

// The line after the entries: their number, and nothing after it.
static bool is_last(const char *line, const char *rest, uint32_t count) {
    char wanted[32];
    snprintf(wanted, sizeof wanted, "%u entries", count);
    return strcmp(line, wanted) == 0 && *rest == '\0';
}

static Status read_text(char *text, const char *path, const char *card, KernelTable *table,
                        Error *error) {
    const char *first = next_line(&text);
    if (first == NULL || strncmp(first, "tessera ", 8) != 0) {
        return error_set(error, E_CONFIG, "%s is no kernel table; " KTABLE_AGAIN, path);
    }
    if (strcmp(first, card) != 0) {
        return error_set(error, E_CONFIG,
                         "%s was measured by \"%s\"; this is \"%s\"; " KTABLE_AGAIN, path, first,
                         card);
    }
    for (uint32_t number = 2;; number++) {
        const char *line = next_line(&text);
        if (line != NULL && is_last(line, text, table->count)) {
            return OK;
        }
        if (line == NULL || !read_line(line, table)) {
            return error_set(error, E_CONFIG, "%s, line %u is %s; " KTABLE_AGAIN, path, number,
                             line == NULL ? "missing, the file is cut short"
                                          : "not an entry of this program's kernel table");
        }
    }
}

Status ktable_load(const char *path, const char *card, KernelTable *table, Error *error) {
    Buffer text = {};
    table->count = 0;
    Status status = file_read(path, FILE_BYTES_MAX, &text, error);
    if (status == OK) {
        status = read_text((char *)text.data, path, card, table, error);
    }
    if (status != OK) {
        table->count = 0;
    }
    buffer_free(&text);
    return status;
}

// ---- Measuring ----------------------------------------------------------------------------------

// What a tuning measures with.
typedef struct Tuning {
    CudaContext *context;
    const OpLinear *ops;
    uint32_t count, repeats, turn;
    cudaEvent_t begin, end;
} Tuning;

// Gives the GPU something to do until `launches` launches are queued, so that none waits for the
// host: zeros to the scratch, tens of microseconds each.
static cudaError_t keep_busy(CudaContext *context, uint32_t launches) {
    cudaError_t status = cudaSuccess;
    for (uint32_t i = 0; launches > 1 && i < launches && status == cudaSuccess; i++) {
        status = cudaMemsetAsync(context->scratch, 0, CUDA_SCRATCH_BYTES - CUDA_TICKET_BYTES,
                                 context->stream);
    }
    return status;
}

// Milliseconds of one launch, of `launches` in a row.
static cudaError_t measure(Tuning *tuning, const LinearVariant *variant, uint32_t launches,
                           double *milliseconds) {
    CudaContext *context = tuning->context;
    cudaError_t status = keep_busy(context, launches);
    if (status == cudaSuccess) {
        status = cudaEventRecord(tuning->begin, context->stream);
    }
    for (uint32_t i = 0; i < launches && status == cudaSuccess; i++) {
        LinearArgs args = linear_args(&tuning->ops[tuning->turn++ % tuning->count]);
        status = variant->launch(context, &args);
    }
    if (status == cudaSuccess) {
        status = cudaEventRecord(tuning->end, context->stream);
    }
    if (status == cudaSuccess) {
        status = cudaEventSynchronize(tuning->end);
    }
    float elapsed = 0.0f;
    if (status == cudaSuccess) {
        status = cudaEventElapsedTime(&elapsed, tuning->begin, tuning->end);
    }
    *milliseconds = (double)elapsed / launches;
    return status;
}

// The first launch of a kernel loads it; one far behind is not measured further.
static Status tune(Tuning *tuning, KernelTable *table, Error *error) {
    const double FAR_BEHIND = 4.0;
    LinearArgs args = linear_args(&tuning->ops[0]);
    KernelKey key = ktable_key(&args, tuning->context->compute);
    const LinearVariant *best = NULL;
    double least = INFINITY;
    for (uint32_t i = 0; i < linear_variant_count; i++) {
        const LinearVariant *variant = &linear_variants[i];
        double milliseconds = 0.0;
        if (!ktable_fits(variant, &key)) {
            continue;
        }
        CU(measure(tuning, variant, 1, &milliseconds));
        CU(measure(tuning, variant, 1, &milliseconds));
        if (milliseconds > FAR_BEHIND * least) {
            continue;
        }
        CU(measure(tuning, variant, tuning->repeats, &milliseconds));
        if (milliseconds < least) {
            least = milliseconds;
            best = variant;
        }
    }
    if (best != NULL && !ktable_set(table, &key, best)) {
        return error_set(error, E_LIMIT, "the kernel table is full: %d entries", KTABLE_MAX);
    }
    return OK;
}

Status ktable_tune(CudaContext *context, const OpLinear *ops, uint32_t count, uint32_t repeats,
                   KernelTable *table, Error *error) {
    Tuning tuning = {context, ops, count, repeats, 0, NULL, NULL};
    CU(cudaEventCreate(&tuning.begin));
    cudaError_t second = cudaEventCreate(&tuning.end);
    Status status = OK;
    if (second == cudaSuccess) {
        status = tune(&tuning, table, error);
        cudaEventDestroy(tuning.end);
    } else {
        status = error_set(error, E_DEVICE, "cudaEventCreate: %s", cudaGetErrorString(second));
    }
    cudaEventDestroy(tuning.begin);
    return status;
}
