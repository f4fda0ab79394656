// SPDX-License-Identifier: Apache-2.0
// Nothing of the file is believed before it is checked: first magic, byte order and version, then
// the checksum over header and section table, then that every section lies exactly where the one
// before ends. The small sections (config texts, tensor table) are compared with their checksums;
// from the config the manifest is built anew, and the tensor table must say the same.
#include "weights/pack_file.h"

#include "base/check.h"
#include "base/file_write.h"
#include "base/hash.h"
#include "weights/finite.h"
#include "weights/identity.h"
#include "weights/store.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PACK_VERSION = 1,
    PACK_ENDIAN = 0x01020304,
    // Sections in the order of the file.
    PACK_TEXTS = 0, // three config texts
    PACK_TABLE = PACK_TEXTS + CONFIG_TEXT_COUNT,
    PACK_TOKENIZER,
    PACK_DATA, // SECTION_COUNT of them
    PACK_SECTION_COUNT = PACK_DATA + SECTION_COUNT,
};

static const char PACK_MAGIC[8] = {'T', 'E', 'S', 'S', 'E', 'R', 'A', 0};
static const char PACK_LAYOUT[16] = "panel16";

static const char *const SECTION_NAMES[PACK_SECTION_COUNT] = {
    "config.json",
    "generation_config.json",
    "processor_config.json",
    "tensor table",
    "tokenizer",
    "norms",
    "embedding",
    "decoder",
    "vision",
    "audio",
};

typedef struct PackSection {
    uint64_t offset;   // from the start of the file, a multiple of SECTION_ALIGN
    uint64_t bytes;    // without the zeros up to the next section
    uint64_t checksum; // XXH3-64, seed 0
} PackSection;

typedef struct PackHeader {
    char magic[8];
    uint32_t endian;
    uint32_t version;
    char layout[16];
    uint32_t level, group, media_level, source_type;
    uint32_t section_count, piece_count;
    uint64_t file_bytes;
    char identity[32];
    PackSection sections[PACK_SECTION_COUNT];
    uint64_t checksum; // XXH3-64 of everything above
} PackHeader;

typedef struct PackPiece {
    char name[PIECE_NAME_MAX];
    uint32_t kind, section, level, group;
    uint32_t rows, columns; // of a matrix; 0
    uint64_t offset, bytes, scales_offset, scales_bytes;
} PackPiece;

// The structures are the format: no padding may hide in them.
_Static_assert(sizeof(PackSection) == 24, "PackSection has padding");
_Static_assert(sizeof(PackHeader) == 96 + 24 * PACK_SECTION_COUNT + 8, "PackHeader has padding");
_Static_assert(sizeof(PackPiece) == PIECE_NAME_MAX + 24 + 32, "PackPiece has padding");
_Static_assert(sizeof(PackHeader) <= SECTION_ALIGN, "the first section follows the header");

static uint64_t header_checksum(const PackHeader *header) {
    return hash64((Bytes){(const uint8_t *)header, offsetof(PackHeader, checksum)}, 0);
}

static void piece_describe(const Piece *piece, PackPiece *out) {
    *out = (PackPiece){
        .kind = piece->kind,
        .section = piece->section,
        .level = piece->kind == PIECE_MATRIX ? piece->matrix.level : LEVEL_F32,
        .group = piece->matrix.group,
        .rows = piece->matrix.rows,
        .columns = piece->matrix.columns,
        .offset = piece->offset,
        .bytes = piece->bytes,
        .scales_offset = piece->scales_offset,
        .scales_bytes = piece->scales_bytes,
    };
    memcpy(out->name, piece->name, strlen(piece->name));
}

static Status header_check_kind(Bytes bytes, PackHeader *header, Error *error) {
    if (file_is_lfs_pointer(bytes)) {
        return error_set(error, E_PACK,
                         "it is a Git LFS pointer, fetch the file with `git lfs pull`");
    }
    if (bytes.length < sizeof PACK_MAGIC ||
        memcmp(bytes.data, PACK_MAGIC, sizeof PACK_MAGIC) != 0) {
        return error_set(error, E_PACK,
                         "it is not a packed model: give a file made by `tessera quantize` or a "
                         "Hugging Face folder");
    }
    if (bytes.length < sizeof *header) {
        return error_set(error, E_PACK, "it is truncated: %zu bytes do not hold the header",
                         bytes.length);
    }
    memcpy(header, bytes.data, sizeof *header);
    if (header->endian != PACK_ENDIAN) {
        return error_set(error, E_PACK, "it was written on a machine of the other byte order");
    }
    if (header->version != PACK_VERSION) {
        return error_set(error, E_PACK, "it has version %" PRIu32 ", this program reads %d",
                         header->version, PACK_VERSION);
    }
    if (memcmp(header->layout, PACK_LAYOUT, sizeof PACK_LAYOUT) != 0) {
        return error_set(error, E_PACK, "its matrices are not in the layout \"%s\"", PACK_LAYOUT);
    }
    if (header->checksum != header_checksum(header)) {
        return error_set(error, E_PACK, "its header is damaged: the checksum does not fit");
    }
    return OK;
}

// Whether the numbers of the header are ones the code below may work with.
static Status header_check_values(Bytes bytes, const PackHeader *header, Error *error) {
    bool grouped = header->level >= LEVEL_INT8;
    bool group_good = grouped ? header->group == 32 || header->group == 64 || header->group == 128
                              : header->group == 0;
    if (header->level >= LEVEL_COUNT || !group_good || header->media_level > LEVEL_BF16 ||
        header->source_type >= ELEMENT_OTHER || header->section_count != PACK_SECTION_COUNT) {
        return error_set(error, E_PACK,
                         "its header names a level, group or section count that does not exist");
    }
    if (header->file_bytes != bytes.length) {
        return error_set(error, E_PACK,
                         "it has %zu bytes and says %" PRIu64 ": it is truncated or grew",
                         bytes.length, header->file_bytes);
    }
    uint64_t at = SECTION_ALIGN;
    for (int i = 0; i < PACK_SECTION_COUNT; i++) {
        const PackSection *section = &header->sections[i];
        if (section->offset != at || !num_in_range(section->offset, section->bytes, bytes.length)) {
            return error_set(error, E_PACK, "its section %s does not lie where it should",
                             SECTION_NAMES[i]);
        }
        at = num_round_up(section->offset + section->bytes, SECTION_ALIGN);
    }
    if (at != bytes.length) {
        return error_set(error, E_PACK, "it does not end where its last section ends");
    }
    return OK;
}

static Bytes section_bytes(Bytes file, const PackHeader *header, int index) {
    const PackSection *section = &header->sections[index];
    return (Bytes){file.data + section->offset, section->bytes};
}

static Status section_check(Bytes file, const PackHeader *header, int index, Error *error) {
    if (identity_checksum(section_bytes(file, header, index)) != header->sections[index].checksum) {
        return error_set(error, E_PACK, "its section %s is damaged: the checksum does not fit",
                         SECTION_NAMES[index]);
    }
    return OK;
}

static Status table_check(Bytes table, const PackHeader *header, const Manifest *manifest,
                          Error *error) {
    if (header->piece_count != manifest->count ||
        table.length != (uint64_t)manifest->count * sizeof(PackPiece)) {
        return error_set(error, E_PACK, "it has %" PRIu32 " tensors; its config asks for %" PRIu32,
                         header->piece_count, manifest->count);
    }
    for (uint32_t i = 0; i < manifest->count; i++) {
        PackPiece expected;
        piece_describe(&manifest->pieces[i], &expected);
        if (memcmp(table.data + i * sizeof expected, &expected, sizeof expected) != 0) {
            return error_set(error, E_PACK, "its tensor %s is not what its config asks for",
                             manifest->pieces[i].name);
        }
    }
    for (int i = 0; i < SECTION_COUNT; i++) {
        if (header->sections[PACK_DATA + i].bytes != manifest->section_bytes[i]) {
            return error_set(error, E_PACK, "its section %s has not the size its tensors take",
                             SECTION_NAMES[PACK_DATA + i]);
        }
    }
    return OK;
}

static Status options_fit(const PackHeader *header, const WeightsOptions *options, Error *error) {
    if (options->level != LEVEL_COUNT && options->level != (WeightLevel)header->level) {
        return error_set(error, E_ARGUMENT,
                         "it is packed at %s and %s was asked for; pack it again from the original",
                         weight_level_name(header->level), weight_level_name(options->level));
    }
    TRY(store_check_group(options, (WeightLevel)header->level, error));
    if (options->group != 0 && options->group != header->group) {
        return error_set(error, E_ARGUMENT,
                         "it is packed in groups of %" PRIu32 " and %" PRIu32
                         " was asked for; pack it again from the original",
                         header->group, options->group);
    }
    return OK;
}

static Checksums header_checksums(const PackHeader *header) {
    Checksums out = {.tokenizer = header->sections[PACK_TOKENIZER].checksum};
    for (int i = 0; i < SECTION_COUNT; i++) {
        out.sections[i] = header->sections[PACK_DATA + i].checksum;
    }
    return out;
}

Status pack_file_parse(Bytes bytes, const WeightsOptions *options, Weights *weights, Error *error) {
    WeightsStore *store = weights->store;
    PackHeader header;
    TRY(header_check_kind(bytes, &header, error));
    TRY(header_check_values(bytes, &header, error));
    TRY(options_fit(&header, options, error));
    for (int i = 0; i <= PACK_TABLE; i++) {
        TRY(section_check(bytes, &header, i, error));
    }
    for (int i = 0; i < CONFIG_TEXT_COUNT; i++) {
        store->texts.text[i] = section_bytes(bytes, &header, PACK_TEXTS + i);
    }
    TRY(config_parse(&store->texts, &weights->config, error));
    store->source = (ElementType)header.source_type;
    config_set_source(&weights->config, store->source);
    store->levels =
        (ManifestLevels){(WeightLevel)header.level, header.group, (WeightLevel)header.media_level};
    TRY(manifest_build(&weights->config, store->levels, &store->manifest, error));
    TRY(table_check(section_bytes(bytes, &header, PACK_TABLE), &header, &store->manifest, error));
    for (int i = 0; i < SECTION_COUNT; i++) {
        store->sections[i] = bytes.data + header.sections[PACK_DATA + i].offset;
    }
    Bytes tables = section_bytes(bytes, &header, PACK_TOKENIZER);
    if (tables.length > 0) {
        weights->tokenizer = (TokenizerOrigin){.form = TOKENIZER_TABLES, .tables = tables};
    }
    store->checksums = header_checksums(&header);
    return OK;
}

Status pack_file_open(const char *path, const WeightsOptions *options, Weights *weights,
                      Error *error) {
    TRY(file_map_open(path, &weights->store->map, error));
    return pack_file_parse(weights->store->map.bytes, options, weights, error);
}

enum { PACK_PARTS = 2 * (PACK_SECTION_COUNT + 1) };

// The file as a list of parts: header, then each section, each followed by zeros. Fills the
// header's table of sections.
static void lay_out(const Bytes sections[PACK_SECTION_COUNT], PackHeader *header,
                    Bytes parts[PACK_PARTS]) {
    static const uint8_t zeros[SECTION_ALIGN] = {0};
    size_t count = 0;
    header->file_bytes = SECTION_ALIGN;
    parts[count++] = (Bytes){(const uint8_t *)header, sizeof *header};
    parts[count++] = (Bytes){zeros, SECTION_ALIGN - sizeof *header};
    for (int i = 0; i < PACK_SECTION_COUNT; i++) {
        header->sections[i] =
            (PackSection){header->file_bytes, sections[i].length, identity_checksum(sections[i])};
        uint64_t end = header->file_bytes + sections[i].length;
        header->file_bytes = num_round_up(end, SECTION_ALIGN);
        parts[count++] = sections[i];
        parts[count++] = (Bytes){zeros, header->file_bytes - end};
    }
}

// The file's identity may differ from the model's as it is open: in the tokenizer.
static Status seal(const WeightsStore *store, PackHeader *header, Error *error) {
    const Checksums checksums = header_checksums(header);
    char identity[33];
    TRY(identity_make(store, &checksums, identity, error));
    memcpy(header->identity, identity, sizeof header->identity);
    header->checksum = header_checksum(header);
    return OK;
}

static Status pack_write(const WeightsStore *store, Bytes table, Bytes tokenizer_blob,
                         const char *path, Error *error) {
    Bytes sections[PACK_SECTION_COUNT];
    for (int i = 0; i < CONFIG_TEXT_COUNT; i++) {
        sections[PACK_TEXTS + i] = store->texts.text[i];
    }
    sections[PACK_TABLE] = table;
    sections[PACK_TOKENIZER] = tokenizer_blob;
    for (int i = 0; i < SECTION_COUNT; i++) {
        sections[PACK_DATA + i] = (Bytes){store->sections[i], store->manifest.section_bytes[i]};
    }
    PackHeader header = {
        .endian = PACK_ENDIAN,
        .version = PACK_VERSION,
        .level = store->levels.decoder,
        .group = store->levels.group,
        .media_level = store->levels.media,
        .source_type = store->source,
        .section_count = PACK_SECTION_COUNT,
        .piece_count = store->manifest.count,
    };
    memcpy(header.magic, PACK_MAGIC, sizeof header.magic);
    memcpy(header.layout, PACK_LAYOUT, sizeof header.layout);
    Bytes parts[PACK_PARTS];
    lay_out(sections, &header, parts);
    TRY(seal(store, &header, error));
    return file_write_parts(path, parts, PACK_PARTS, error);
}

Status pack_file_write(const Weights *weights, Bytes tokenizer_blob, const char *path,
                       Error *error) {
    const WeightsStore *store = weights->store;
    const Manifest *manifest = &store->manifest;
    if (store->map.base != NULL) { // other sources were looked at while they were made
        TRY(finite_check_pieces(manifest, store->sections, error));
    }
    PackPiece *table = calloc(manifest->count, sizeof *table);
    if (table == NULL) {
        return error_set(error, E_MEMORY, "%s: no memory for the tensor table", path);
    }
    for (uint32_t i = 0; i < manifest->count; i++) {
        piece_describe(&manifest->pieces[i], &table[i]);
    }
    Bytes bytes = {(const uint8_t *)table, manifest->count * sizeof *table};
    Status status = pack_write(store, bytes, tokenizer_blob, path, error);
    free(table);
    return status;
}

// The zeros between sections are not under a checksum; damage there is damage all the same.
static Status gaps_check(Bytes file, const PackHeader *header, Error *error) {
    uint64_t at = sizeof *header;
    for (int i = 0; i <= PACK_SECTION_COUNT; i++) {
        uint64_t end = i < PACK_SECTION_COUNT ? header->sections[i].offset : file.length;
        for (; at < end; at++) {
            if (file.data[at] != 0) {
                return error_set(error, E_PACK, "its byte %" PRIu64 " is damaged: it must be 0",
                                 at);
            }
        }
        if (i < PACK_SECTION_COUNT) {
            at = header->sections[i].offset + header->sections[i].bytes;
        }
    }
    return OK;
}

static Status file_verify(const Weights *weights, Error *error) {
    const WeightsStore *store = weights->store;
    Bytes file = store->map.bytes;
    PackHeader header;
    memcpy(&header, file.data, sizeof header);
    for (int i = 0; i < PACK_SECTION_COUNT; i++) {
        TRY(section_check(file, &header, i, error));
    }
    TRY(gaps_check(file, &header, error));
    return finite_check_pieces(&store->manifest, store->sections, error);
}

Status pack_file_verify(const char *path, Error *error) {
    const WeightsOptions options = {.level = LEVEL_COUNT};
    Weights *weights;
    TRY(store_new(&weights, error));
    Status status = pack_file_open(path, &options, weights, error);
    if (status == OK) {
        status = file_verify(weights, error);
    }
    store_close(weights);
    return status == OK ? OK : error_prefix(error, status, "%s", path);
}
