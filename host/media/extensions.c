// SPDX-License-Identifier: Apache-2.0
#include "host/media/extensions.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

#define ROW(extension) extension,
static const char *const media_extensions[] = {MEDIA_EXTENSIONS(ROW)};
const char *const media_other_extensions[MEDIA_OTHER_COUNT] = {
#include "host/media/other_extensions.def"
};
#undef ROW

static int extension_find(const char *name, const char *const *list, size_t count) {
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot != NULL && i < count; i++) {
        if (strcasecmp(dot, list[i]) == 0) {
            return (int)i;
        }
    }
    return -1;
}

bool media_is_picture_name(const char *name) {
    return extension_find(name, media_extensions,
                          sizeof media_extensions / sizeof media_extensions[0]) >= 0;
}

int media_other_extension(const char *name) {
    return extension_find(name, media_other_extensions, MEDIA_OTHER_COUNT);
}
