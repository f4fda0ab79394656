// SPDX-License-Identifier: Apache-2.0
// For tests/golden/media/compare_pillow.py: decodes pictures from standard input, each behind its
// length (4 bytes, little-endian), and writes a line for each: "OK WIDTH HEIGHT FINGERPRINT", or
// the status and its sentence. The fingerprint is that of make_media.py.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "host/media/media.h"

static uint64_t fingerprint(const uint8_t *data, size_t length) {
    uint64_t hash = 0;
    for (size_t i = 0; i < length; i++) {
        hash = hash * 1099511628211u + data[i] + 1;
    }
    return hash;
}

static void decode(Bytes file) {
    MediaLimits limits = media_limits_default();
    static MediaScratch scratch;
    static Image image;
    Error error;
    Status status = media_decode(file, &limits, &scratch, &image, &error);
    if (status != OK) {
        printf("%s %s\n", status_name(status), error.text);
        return;
    }
    size_t bytes = (size_t)image.width * image.height * 3;
    printf("OK %u %u %016" PRIx64 "\n", image.width, image.height,
           fingerprint(image.pixels.data, bytes));
}

int main(void) {
    uint8_t head[4];
    while (fread(head, 1, sizeof head, stdin) == sizeof head) {
        size_t length = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16;
        length |= (size_t)head[3] << 24;
        // A block of its own and no longer, so that a sanitizer sees any read behind it.
        uint8_t *data = malloc(length > 0 ? length : 1);
        if (data == NULL || fread(data, 1, length, stdin) != length) {
            free(data);
            return EXIT_FAILURE;
        }
        decode((Bytes){data, length});
        free(data);
        fflush(stdout);
    }
    return EXIT_SUCCESS;
}
