// SPDX-License-Identifier: Apache-2.0
// A small JPEG of a picture, for reports.
#ifndef HOST_MEDIA_THUMBNAIL_H
#define HOST_MEDIA_THUMBNAIL_H

#include "base/bytes.h"
#include "base/status.h"
#include "host/media/media.h"

enum { THUMBNAIL_SIDE_MAX = 512 };

// Decodes `file`, shrinks it by whole averaging boxes until no side is longer than
// THUMBNAIL_SIDE_MAX, and appends it to `out` as a JPEG. media_decode's errors, E_MEMORY.
Status thumbnail_make(Bytes file, const MediaLimits *limits, MediaScratch *scratch, Buffer *out,
                      Error *error);

#endif
