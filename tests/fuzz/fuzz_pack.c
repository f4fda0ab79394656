// SPDX-License-Identifier: Apache-2.0
// Packed files from anybody. Checksums would keep the fuzzer at the door, so each input is tried as
// it is and once more with the checksums of header and small sections put right. Besides not
// crashing: every tensor of an accepted file can be read.
#include "base/check.h"
#include "base/hash.h"
#include "weights/finite.h"
#include "weights/pack_file.h"
#include "weights/store.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Places in the header, from docs/formats.md.
enum { SECTIONS_AT = 96, SECTION_BYTES = 24, SMALL_SECTIONS = 4, CHECKSUM_AT = 336 };

static uint64_t load64(const uint8_t *bytes) {
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static void put_checksums_right(uint8_t *file, size_t size) {
    if (size < CHECKSUM_AT + 8) {
        return;
    }
    for (int i = 0; i < SMALL_SECTIONS; i++) {
        uint8_t *section = file + SECTIONS_AT + i * SECTION_BYTES;
        uint64_t offset = load64(section), bytes = load64(section + 8);
        if (num_in_range(offset, bytes, size)) {
            uint64_t checksum = hash64((Bytes){file + offset, bytes}, 0);
            memcpy(section + 16, &checksum, sizeof checksum);
        }
    }
    uint64_t checksum = hash64((Bytes){file, CHECKSUM_AT}, 0);
    memcpy(file + CHECKSUM_AT, &checksum, sizeof checksum);
}

static void read_everything(Weights *weights) {
    float sum = 0;
    (void)store_finish(weights, NULL);
    const Matrix *matrices[] = {&weights->embedding, &weights->layers[0].qkv,
                                &weights->layers[weights->config.layer_count - 1].down};
    for (size_t i = 0; i < 3; i++) {
        sum += matrix_value(matrices[i], matrices[i]->rows - 1, matrices[i]->columns - 1);
    }
    sum += weights->final_norm[weights->config.hidden - 1];
    const WeightsStore *store = weights->store;
    for (uint32_t i = 0; i < store->manifest.count; i++) {
        const Piece *piece = &store->manifest.pieces[i];
        const uint8_t *bytes = store->sections[piece->section];
        sum += (float)(bytes[piece->offset] + bytes[piece->offset + piece->bytes - 1]);
        if (piece->scales_bytes > 0) {
            sum += bytes[piece->scales_offset + piece->scales_bytes - 1];
        }
    }
    volatile float keep = sum;
    (void)keep;
    (void)finite_check_pieces(&store->manifest, store->sections, NULL);
}

static void try_file(Bytes file) {
    const WeightsOptions options = {.level = LEVEL_COUNT};
    Weights *weights;
    Error error = {0};
    REQUIRE(store_new(&weights, &error) == OK);
    Status status = pack_file_parse(file, &options, weights, &error);
    if (status == OK) {
        read_everything(weights);
    } else {
        REQUIRE(error.status == status && error.text[0] != 0);
    }
    weights_close(weights);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    // Page alignment, as a map has it.
    size_t room = num_round_up(size + 1, SECTION_ALIGN);
    uint8_t *file = aligned_alloc(SECTION_ALIGN, room);
    REQUIRE(file != NULL);
    if (size > 0) {
        memcpy(file, data, size);
    }
    try_file((Bytes){file, size});
    put_checksums_right(file, size);
    try_file((Bytes){file, size});
    free(file);
    return 0;
}
