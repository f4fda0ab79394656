// SPDX-License-Identifier: Apache-2.0
#include "model/step.h"

#include "base/check.h"
#include "base/num.h"

#include <string.h>

enum { STEP_ALIGN = 64 };

static size_t padded(size_t bytes) {
    return num_round_up(bytes, STEP_ALIGN);
}

size_t step_bytes_max(const WorkspaceShape *shape) {
    size_t row_words = padded(shape->rows * sizeof(uint32_t));
    size_t bytes = 4 * row_words   // tokens, positions, sliding ends, sequence indices
                   + 2 * row_words // positions and rows of patches
                   + row_words     // rows of audio frames
                   + padded(shape->sequences * sizeof(BatchSequence)) +
                   padded(shape->samples * sizeof(uint32_t)) + // rows to sample
                   padded(shape->samples * sizeof(float)) +    // their inverse temperatures
                   padded(shape->samples * sizeof(SampleSettings));
    for (int kind = 0; kind < PAGE_KIND_COUNT; kind++) {
        bytes += padded((size_t)shape->page_entries[kind] * sizeof(uint32_t));
    }
    return bytes;
}

size_t step_staging_bytes(const WorkspaceShape *shape, const Gemma4Config *config) {
    size_t pixels = config->has_vision ? config->patch_values : 0;
    size_t samples = config->has_audio ? config->audio_frame * sizeof(float) : 0;
    return padded(step_bytes_max(shape) + shape->rows * num_max(pixels, samples));
}

size_t step_results_bytes(const WorkspaceShape *shape) {
    return padded(shape->samples * sizeof(StepSample));
}

BatchSequence step_draw(const BatchSequence *sequence, uint32_t index) {
    REQUIRE(index < sequence->sample_rows && sequence->sample_rows <= sequence->row_count);
    uint32_t behind = sequence->sample_rows - 1 - index;
    // What a drafted row is drawn with must be known: no token under way, no allowed set.
    REQUIRE(sequence->sample_rows == 1 ||
            (sequence->history_drawn == 0 && sequence->allowed == NULL));
    BatchSequence draw = *sequence;
    draw.sample_rows = 1;
    draw.row_count -= behind;
    draw.draw -= behind;
    draw.history_count -= (uint32_t)num_min(behind, draw.history_count);
    return draw;
}

// The next array in staging and its address on the device.
typedef struct Packer {
    unsigned char *staging;
    unsigned char *device;
    size_t used, limit;
} Packer;

static void *pack_room(Packer *packer, size_t bytes, const void **device) {
    REQUIRE_MESSAGE(num_in_range(packer->used, padded(bytes), packer->limit),
                    "a batch needs %zu bytes more than the %zu of a step", bytes, packer->limit);
    void *room = packer->staging + packer->used;
    *device = packer->device + packer->used;
    packer->used += padded(bytes);
    return room;
}

static const void *pack(Packer *packer, const void *data, size_t bytes) {
    const void *device;
    void *room = pack_room(packer, bytes, &device);
    if (bytes > 0) {
        memcpy(room, data, bytes);
    }
    return device;
}

static const int32_t *pack_tokens(Packer *packer, const Batch *batch, uint32_t drawn_first) {
    const void *device;
    int32_t *to = pack_room(packer, batch->row_count * sizeof *to, &device);
    for (uint32_t r = 0; r < batch->row_count; r++) {
        int32_t token = batch->tokens[r];
        to[r] = batch_token_is_drawn(token)
                    ? batch_token_drawn(drawn_first + batch_drawn_index(token))
                    : token;
    }
    return device;
}

// The tables of both kinds lie one behind the other, last of all, and both are addressed from the
// first: so a step of as many rows and sequences has every array where this one has it.
static const BatchSequence *pack_sequences(Packer *packer, const Batch *batch) {
    const void *device;
    size_t bytes = batch->sequence_count * sizeof(BatchSequence);
    BatchSequence *to = pack_room(packer, bytes, &device);
    memcpy(to, batch->sequences, bytes);
    for (uint32_t s = 0; s < batch->sequence_count; s++) {
        to[s].page_first[PAGE_FULL] += batch->page_table_count[PAGE_SLIDING];
    }
    return device;
}

static void pack_tables(Packer *packer, const Batch *batch, PagedRows *rows) {
    const uint32_t *counts = batch->page_table_count;
    size_t sliding = (size_t)counts[PAGE_SLIDING], full = (size_t)counts[PAGE_FULL];
    const void *device;
    uint32_t *to = pack_room(packer, (sliding + full) * sizeof(uint32_t), &device);
    if (sliding > 0) {
        memcpy(to, batch->pages[PAGE_SLIDING], sliding * sizeof(uint32_t));
    }
    if (full > 0) {
        memcpy(to + sliding, batch->pages[PAGE_FULL], full * sizeof(uint32_t));
    }
    rows->pages[PAGE_SLIDING] = rows->pages[PAGE_FULL] = device;
}

static void pack_images(Packer *packer, const Batch *batch, Step *step) {
    for (uint32_t i = 0; i < batch->image_count; i++) {
        step->patch_count += batch->images[i].patch_count;
    }
    const void *positions, *rows;
    uint16_t *to_positions =
        pack_room(packer, (size_t)step->patch_count * 2 * sizeof(uint16_t), &positions);
    uint32_t *to_rows = pack_room(packer, (size_t)step->patch_count * sizeof(uint32_t), &rows);
    for (uint32_t i = 0; i < batch->image_count; i++) {
        const BatchImage *image = &batch->images[i];
        memcpy(to_positions, image->positions, (size_t)image->patch_count * 2 * sizeof(uint16_t));
        to_positions += (size_t)image->patch_count * 2;
        for (uint32_t p = 0; p < image->patch_count; p++) {
            *to_rows++ = image->row_first + p;
        }
    }
    step->patch_positions = positions;
    step->patch_rows = rows;
}

static void pack_audio(Packer *packer, const Batch *batch, Step *step) {
    for (uint32_t i = 0; i < batch->audio_count; i++) {
        step->frame_count += batch->audios[i].frame_count;
    }
    const void *rows;
    uint32_t *to = pack_room(packer, (size_t)step->frame_count * sizeof(uint32_t), &rows);
    for (uint32_t i = 0; i < batch->audio_count; i++) {
        for (uint32_t f = 0; f < batch->audios[i].frame_count; f++) {
            *to++ = batch->audios[i].row_first + f;
        }
    }
    step->frame_rows = rows;
}

// Room does not depend on how many sequences are sampled, so that a recorded step finds its arrays.
static void pack_samples(Packer *packer, const Batch *batch, Step *step) {
    const void *rows, *inverse_temperature, *settings;
    size_t most = batch->sequence_count;
    for (uint32_t s = 0; s < batch->sequence_count; s++) {
        step->sample_count += batch->sequences[s].sample_rows;
    }
    most = num_max(most, step->sample_count);
    uint32_t *to_rows = pack_room(packer, most * sizeof(uint32_t), &rows);
    float *to_inverse_temperature = pack_room(packer, most * sizeof(float), &inverse_temperature);
    SampleSettings *to_settings = pack_room(packer, most * sizeof *to_settings, &settings);
    for (uint32_t s = 0; s < batch->sequence_count; s++) {
        const BatchSequence *sequence = &batch->sequences[s];
        float temperature = sequence->sampling.temperature;
        for (uint32_t i = 0; i < sequence->sample_rows; i++) {
            const BatchSequence draw = step_draw(sequence, i);
            *to_rows++ = draw.row_first + draw.row_count - 1;
            *to_inverse_temperature++ = temperature > 0.0f ? 1.0f / temperature : 1.0f;
            *to_settings++ = sample_settings(&draw);
        }
    }
    step->sample_rows = rows;
    step->sample_inverse_temperature = inverse_temperature;
    step->sample_settings = settings;
}

static uint32_t kv_length_max(const Batch *batch) {
    uint32_t longest = 0;
    for (uint32_t s = 0; s < batch->sequence_count; s++) {
        const BatchSequence *sequence = &batch->sequences[s];
        longest =
            (uint32_t)num_max(longest, (size_t)sequence->position_first + sequence->row_count);
    }
    return longest;
}

static Status upload(const StepUpload *with, void *to, const void *from, size_t bytes) {
    const Backend *backend = with->backend;
    return bytes == 0 ? OK : backend->device->upload(backend->context, to, from, bytes);
}

// Packs the pixels at `staging`; *bytes is how many there are.
static Status upload_pixels(const Batch *batch, const StepUpload *with, unsigned char *staging,
                            size_t *bytes) {
    size_t used = 0;
    for (uint32_t i = 0; i < batch->image_count; i++) {
        size_t count = (size_t)batch->images[i].patch_count * with->config->patch_values;
        memcpy(staging + used, batch->images[i].pixels, count);
        used += count;
    }
    *bytes = used;
    return upload(with, with->workspace->pixels, staging, used);
}

static Status upload_samples(const Batch *batch, const StepUpload *with, unsigned char *staging) {
    size_t used = 0;
    for (uint32_t i = 0; i < batch->audio_count; i++) {
        const BatchAudio *audio = &batch->audios[i];
        size_t bytes = (size_t)audio->frame_count * with->config->audio_frame * sizeof(float);
        size_t first = (size_t)audio->frame_first * with->config->audio_frame;
        memcpy(staging + used, audio->samples + first, bytes);
        used += bytes;
    }
    return upload(with, with->workspace->samples, staging, used);
}

Status step_upload(const Batch *batch, const StepUpload *with, Step *out) {
    const Workspace *workspace = with->workspace;
    size_t words = batch->row_count * sizeof(uint32_t);
    Packer packer = {
        .staging = with->staging, .device = workspace->step, .limit = workspace->step_bytes};
    Step step = {0};
    step.tokens = pack_tokens(&packer, batch, with->drawn_first);
    step.rows = (PagedRows){
        .row_count = batch->row_count,
        .positions = pack(&packer, batch->positions, words),
        .sliding_end = pack(&packer, batch->sliding_end, words),
        .row_sequence = pack(&packer, batch->row_sequence, words),
        .sequence_count = batch->sequence_count,
        .sequences = pack_sequences(&packer, batch),
        .kv_length_max = kv_length_max(batch),
    };
    pack_samples(&packer, batch, &step);
    pack_images(&packer, batch, &step);
    pack_audio(&packer, batch, &step);
    pack_tables(&packer, batch, &step.rows);

    TRY(upload(with, workspace->step, with->staging, packer.used));
    unsigned char *pixels = with->staging + workspace->step_bytes;
    size_t pixel_bytes = 0;
    TRY(upload_pixels(batch, with, pixels, &pixel_bytes));
    TRY(upload_samples(batch, with, pixels + pixel_bytes));
    *out = step;
    return OK;
}
