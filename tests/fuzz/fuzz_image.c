// SPDX-License-Identifier: Apache-2.0
// Picture files from anybody. Besides not crashing: what is loaded has the geometry that the probe
// promised, what decodes also loads, and limits hold.
#include "base/check.h"
#include "host/media/media.h"

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
    Status decoded = media_decode(file, &limits, &image, &error);
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
