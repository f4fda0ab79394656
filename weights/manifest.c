// SPDX-License-Identifier: Apache-2.0
#include "weights/manifest.h"

#include "base/check.h"
#include "base/num.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum Scope { SCOPE_MODEL, SCOPE_LAYER, SCOPE_VISION, SCOPE_AUDIO } Scope;

typedef enum Form { FORM_DECODER, FORM_EMBEDDING, FORM_MEDIA } Form;

enum { PIECES_PER_LAYER_MAX = 16, PIECES_OTHER_MAX = 32, TENSOR_NAME_MAX = 160 };

static Piece *manifest_add(Manifest *manifest, Scope scope, uint32_t layer, const char *name,
                           size_t member, SectionKind section) {
    Piece *piece = &manifest->pieces[manifest->count++];
    *piece = (Piece){.section = section, .in_layer = scope == SCOPE_LAYER, .member = member};
    if (scope == SCOPE_LAYER) {
        piece->member += layer * sizeof(LayerWeights);
        snprintf(piece->name, sizeof piece->name, "layers.%u.%s", layer, name);
    } else {
        snprintf(piece->name, sizeof piece->name, "%s", name);
    }
    return piece;
}

static Matrix manifest_matrix(ManifestLevels levels, Form form, uint64_t rows, uint64_t columns) {
    WeightLevel level = levels.decoder;
    if (form == FORM_MEDIA) {
        level = levels.media;
    } else if (form == FORM_EMBEDDING && level == LEVEL_INT4) {
        level = LEVEL_INT8;
    }
    return matrix_shape(level, (uint32_t)rows, (uint32_t)columns, levels.group);
}

static void manifest_add_source(Manifest *manifest, uint32_t layer, const char *old_name,
                                const char *new_name, uint32_t rank, const uint64_t *shape) {
    Piece *piece = &manifest->pieces[manifest->count - 1];
    REQUIRE(piece->source_count < PIECE_SOURCES_MAX);
    PieceSource *source = &piece->sources[piece->source_count++];
    *source =
        (PieceSource){.layer = layer, .old_name = old_name, .new_name = new_name, .rank = rank};
    memcpy(source->shape, shape, rank * sizeof *shape);
}

// Adds the rows of manifest.def that belong to `wanted`, for layer number `number` when that is
// SCOPE_LAYER.
static void manifest_add_scope(Manifest *manifest, const Gemma4Config *config,
                               ManifestLevels levels, Scope wanted, uint32_t number) {
    const LayerShape *layer = &config->layers[number];
    Piece *piece = NULL;
#define VECTOR(scope, place, name, field, count)                                                   \
    if (SCOPE_##scope == wanted) {                                                                 \
        piece = manifest_add(manifest, wanted, number, name, offsetof(Weights, field),             \
                             SECTION_##place);                                                     \
        piece->kind = PIECE_VECTOR;                                                                \
        piece->length = (count);                                                                   \
    }
#define SCALAR(scope, place, name, field)                                                          \
    if (SCOPE_##scope == wanted) {                                                                 \
        piece = manifest_add(manifest, wanted, number, name, offsetof(Weights, field),             \
                             SECTION_##place);                                                     \
        piece->kind = PIECE_SCALAR;                                                                \
        piece->length = 1;                                                                         \
    }
#define MATRIX(scope, place, name, field, row_count, column_count, form, parts)                    \
    if (SCOPE_##scope == wanted) {                                                                 \
        piece = manifest_add(manifest, wanted, number, name, offsetof(Weights, field),             \
                             SECTION_##place);                                                     \
        piece->kind = PIECE_MATRIX;                                                                \
        piece->matrix = manifest_matrix(levels, FORM_##form, row_count, column_count);             \
        piece->order = ORDER_##parts;                                                              \
    }
#define SOURCE(scope, present, old_name, new_name, rank, ...)                                      \
    if (SCOPE_##scope == wanted && (present)) {                                                    \
        manifest_add_source(manifest, number, old_name, new_name, rank,                            \
                            (const uint64_t[]){__VA_ARGS__});                                      \
    }
#include "weights/manifest.def"
    (void)piece;
}

// Gives every piece its place: sections in order, pieces in order, 64 bytes apart.
static void manifest_place(Manifest *manifest) {
    for (uint32_t i = 0; i < manifest->count; i++) {
        Piece *piece = &manifest->pieces[i];
        if (piece->kind == PIECE_MATRIX) {
            const Matrix *m = &piece->matrix;
            piece->bytes = matrix_codes_bytes(m->level, m->rows, m->padded_columns);
            piece->scales_bytes =
                matrix_scales_bytes(m->level, m->rows, m->padded_columns, m->group);
        } else {
            piece->bytes = piece->length * sizeof(float);
        }
        uint64_t *end = &manifest->section_bytes[piece->section];
        piece->offset = *end;
        piece->scales_offset = num_round_up(piece->offset + piece->bytes, MATRIX_BYTES_ALIGN);
        *end = num_round_up(piece->scales_offset + piece->scales_bytes, MATRIX_BYTES_ALIGN);
    }
    for (int i = 0; i < SECTION_COUNT; i++) {
        manifest->section_bytes[i] = num_round_up(manifest->section_bytes[i], SECTION_ALIGN);
        manifest->total_bytes += manifest->section_bytes[i];
    }
}

Status manifest_build(const Gemma4Config *config, ManifestLevels levels, Manifest *out,
                      Error *error) {
    size_t most = (size_t)config->layer_count * PIECES_PER_LAYER_MAX + PIECES_OTHER_MAX;
    *out = (Manifest){.pieces = calloc(most, sizeof(Piece))};
    if (out->pieces == NULL) {
        return error_set(error, E_MEMORY, "no memory for the list of tensors");
    }
    manifest_add_scope(out, config, levels, SCOPE_MODEL, 0);
    for (uint32_t i = 0; i < config->layer_count; i++) {
        manifest_add_scope(out, config, levels, SCOPE_LAYER, i);
    }
    if (config->has_vision) {
        manifest_add_scope(out, config, levels, SCOPE_VISION, 0);
    }
    if (config->has_audio) {
        manifest_add_scope(out, config, levels, SCOPE_AUDIO, 0);
    }
    REQUIRE(out->count <= most);
    manifest_place(out);
    return OK;
}

void manifest_free(Manifest *manifest) {
    free(manifest->pieces);
    *manifest = (Manifest){0};
}

// A list of complaints that fits an Error: what no longer fits is counted.
typedef struct Report {
    char text[ERROR_TEXT_MAX - 64];
    size_t length, count, left_out;
} Report;

static void report_add(Report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void report_add(Report *report, const char *format, ...) {
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    size_t length = strlen(line);
    report->count++;
    if (report->left_out > 0 || report->length + length + 3 > sizeof report->text) {
        report->left_out++;
        return;
    }
    report->length +=
        (size_t)snprintf(report->text + report->length, sizeof report->text - report->length,
                         "%s%s", report->count > 1 ? "; " : "", line);
}

static void source_name(const Piece *piece, const PieceSource *source, const char *behind,
                        char out[TENSOR_NAME_MAX]) {
    if (piece->in_layer) {
        snprintf(out, TENSOR_NAME_MAX, "model.language_model.layers.%u.%s", source->layer, behind);
    } else {
        snprintf(out, TENSOR_NAME_MAX, "model.%s", behind);
    }
}

// Complains about a tensor that is there; what it should be is in `source`.
static void source_check(const Piece *piece, const PieceSource *source, const SourceTensor *tensor,
                         Report *report) {
    if (tensor->rank != source->rank ||
        memcmp(tensor->shape, source->shape, source->rank * sizeof *source->shape) != 0) {
        char found[128], expected[128];
        source_shape_text(tensor->shape, tensor->rank, found, sizeof found);
        source_shape_text(source->shape, source->rank, expected, sizeof expected);
        report_add(report, "%s has shape %s, expected %s", tensor->name, found, expected);
    } else if (tensor->codes != NULL && piece->kind != PIECE_MATRIX) {
        report_add(report,
                   "%s has codes (%s), which only a matrix may have; expected F32, F16 or BF16",
                   tensor->name, tensor->type_name);
    } else if (tensor->codes == NULL && tensor->type == ELEMENT_OTHER) {
        report_add(report, "%s has type %s, expected F32, F16 or BF16", tensor->name,
                   tensor->type_name);
    } else if (tensor->truncated) {
        report_add(report, "%s is truncated: %s ends before its last byte", tensor->name,
                   tensor->file);
    }
}

static int compare_pointers(const void *a, const void *b) {
    const SourceTensor *x = *(const SourceTensor *const *)a;
    const SourceTensor *y = *(const SourceTensor *const *)b;
    return x < y ? -1 : x > y;
}

static bool tensor_is_harmless(const SourceTensor *tensor, const SourceTensor *embedding,
                               Report *report) {
    size_t length = strlen(tensor->name);
    if (length > 8 && strcmp(tensor->name + length - 8, "inv_freq") == 0) {
        return true;
    }
    if (strcmp(tensor->name, "lm_head.weight") != 0 || embedding == NULL) {
        return false;
    }
    if (tensor->type != embedding->type || tensor->bytes != embedding->bytes ||
        tensor->data == NULL || embedding->data == NULL ||
        memcmp(tensor->data, embedding->data, tensor->bytes) != 0) {
        report_add(report, "lm_head.weight differs from the embedding, to which it is tied");
    }
    return true;
}

static void report_surplus(const TensorSource *tensors, const SourceTensor **used,
                           size_t used_count, const SourceTensor *embedding, Report *report) {
    if (used_count > 1) {
        qsort(used, used_count, sizeof *used, compare_pointers);
    }
    for (size_t i = 0; i < tensors->count; i++) {
        const SourceTensor *tensor = &tensors->tensors[i];
        bool found = used_count > 0 &&
                     bsearch(&tensor, used, used_count, sizeof *used, compare_pointers) != NULL;
        if (!found && !tensor_is_harmless(tensor, embedding, report)) {
            char shape[128];
            source_shape_text(tensor->shape, tensor->rank, shape, sizeof shape);
            report_add(report, "%.200s %s is surplus: config.json has no place for it",
                       tensor->name, shape);
        }
    }
}

Status manifest_match(const Manifest *manifest, const TensorSource *tensors,
                      const SourceTensor **found, Error *error) {
    Report report = {0};
    size_t used_count = 0;
    const SourceTensor **used =
        calloc((size_t)manifest->count * PIECE_SOURCES_MAX + 1, sizeof *used);
    if (used == NULL) {
        return error_set(error, E_MEMORY, "no memory for the list of tensors");
    }
    for (uint32_t i = 0; i < manifest->count; i++) {
        const Piece *piece = &manifest->pieces[i];
        for (uint32_t j = 0; j < piece->source_count; j++) {
            const PieceSource *source = &piece->sources[j];
            char name[TENSOR_NAME_MAX];
            if (source->new_name != NULL) {
                source_name(piece, source, source->new_name, name);
            }
            const SourceTensor *tensor =
                source->new_name != NULL ? source_find(tensors, name) : NULL;
            if (tensor == NULL) {
                source_name(piece, source, source->old_name, name);
                tensor = source_find(tensors, name);
            }
            if (tensor == NULL) {
                char shape[128];
                source_shape_text(source->shape, source->rank, shape, sizeof shape);
                report_add(&report, "%s %s is missing", name, shape);
                continue;
            }
            found[i * PIECE_SOURCES_MAX + j] = tensor;
            used[used_count++] = tensor;
            source_check(piece, source, tensor, &report);
        }
    }
    report_surplus(tensors, used, used_count, found[0], &report);
    free(used);
    if (report.count == 0) {
        return OK;
    }
    if (report.left_out > 0) {
        return error_set(error, E_TENSOR, "%s; and %zu more", report.text, report.left_out);
    }
    return error_set(error, E_TENSOR, "%s", report.text);
}

void manifest_attach(const Manifest *manifest, const uint8_t *const sections[SECTION_COUNT],
                     Weights *weights) {
    for (uint32_t i = 0; i < manifest->count; i++) {
        const Piece *piece = &manifest->pieces[i];
        const uint8_t *bytes = sections[piece->section] + piece->offset;
        void *member = (char *)weights + piece->member;
        if (piece->kind == PIECE_SCALAR) {
            memcpy(member, bytes, sizeof(float));
        } else if (piece->kind == PIECE_VECTOR) {
            const float *vector = (const float *)bytes;
            memcpy(member, &vector, sizeof vector);
        } else {
            Matrix matrix = piece->matrix;
            matrix.codes = bytes;
            if (piece->scales_bytes > 0) {
                matrix.scales = (const uint16_t *)(sections[piece->section] + piece->scales_offset);
            }
            memcpy(member, &matrix, sizeof matrix);
        }
    }
}
