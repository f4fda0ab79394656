// SPDX-License-Identifier: Apache-2.0
// Picture files from anybody. Besides not crashing: what is loaded has the geometry that the probe
// promised, what decodes also loads, and limits hold.
#include "base/check.h"
#include "host/decoder/webp.h"
#include "host/media/child.h"
#include "host/media/media.h"

#include <stdlib.h>

Status __wrap_child_decode(MediaChild **child, ChildTask *task, DecoderAnswer *answer,
                           const uint8_t **pixels, Error *error);

// What the decoder's process does, here: its pixels lie in a block of just their size.
Status __wrap_child_decode(MediaChild **child, ChildTask *task, DecoderAnswer *answer,
                           const uint8_t **pixels, Error *error) {
    static uint8_t *memory;
    (void)child, (void)error;
    REQUIRE(task->call.codec == DECODER_WEBP);
    free(memory);
    memory = malloc((size_t)task->call.width * task->call.height * 3 + DECODER_SLACK);
    REQUIRE(memory != NULL);
    *answer = webp_decode(&task->call, task->input, memory);
    *pixels = memory;
    return OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    // Small limits, so that a run tries many files and not a few large ones.
    const MediaLimits limits = {.file_bytes_max = 1 << 20, .pixels_max = 1 << 16, .side_max = 4096};
    const uint32_t budget = 70;
    static MediaScratch scratch;
    static Patches patches;
    static Image image;
    Bytes file = {data, size};
    Error error;
    ImageInfo info;
    Status probed = media_probe(file, &limits, &info, &error);
    Status loaded = media_load(file, &limits, budget, &scratch, &patches, &error);
    Status decoded = media_decode(file, &limits, &scratch, &image, &error);
    REQUIRE(loaded == decoded);
    if (probed != OK) {
        REQUIRE(loaded == probed);
    } else {
        REQUIRE((uint64_t)info.width * info.height <= limits.pixels_max);
    }
    if (loaded == OK) {
        ImageGeometry geometry;
        REQUIRE(media_geometry(info.width, info.height, budget, &geometry, &error) == OK);
        REQUIRE(patches.count == geometry.token_count);
        REQUIRE(image.width == info.width && image.height == info.height);
    } else {
        REQUIRE(patches.count == 0);
    }
    return 0;
}
