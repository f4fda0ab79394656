// SPDX-License-Identifier: Apache-2.0
// What the names of picture files end in, each ending once: of the formats that are read here, and
// of other picture formats, which whoever walks through folders tells of instead of passing over
// them. Capital and small letters are the same.
#ifndef HOST_MEDIA_EXTENSIONS_H
#define HOST_MEDIA_EXTENSIONS_H

#include <stdbool.h>

// MEDIA_EXTENSIONS(ROW) is ROW(".jpg") ROW(".jpeg") ...
#define MEDIA_EXTENSIONS(ROW)                                                                      \
    ROW(".jpg") ROW(".jpeg") ROW(".jpe") ROW(".jfif") ROW(".png") ROW(".webp")

// ".jpg, .jpeg, ..., also in capitals"
#define MEDIA_EXTENSION_LISTED(extension) extension ", "
#define MEDIA_EXTENSIONS_TEXT             MEDIA_EXTENSIONS(MEDIA_EXTENSION_LISTED) "also in capitals"

enum {
// NOLINTNEXTLINE(bugprone-macro-parentheses): a count, one term a row
#define ROW(extension) +1
    MEDIA_OTHER_COUNT = 0
#include "host/media/other_extensions.def"
#undef ROW
};

extern const char *const media_other_extensions[MEDIA_OTHER_COUNT];

// Whether a file is named as a picture of a format that is read here.
bool media_is_picture_name(const char *name);

// The place of a name's ending in media_other_extensions, -1: it has none of them.
int media_other_extension(const char *name);

#endif
