// SPDX-License-Identifier: Apache-2.0
// What the sections of a folder hashed to the last time, kept in the user's cache folder so that
// the same files at the same level are not hashed again. A file is the same when path, size, inode
// and the times of its last change are. A cache that is missing, damaged or not writable only costs
// the time of hashing.
#ifndef WEIGHTS_IDENTITY_CACHE_H
#define WEIGHTS_IDENTITY_CACHE_H

#include "base/hash.h"
#include "weights/store.h"

enum { IDENTITY_CACHE_MAX = 64 }; // folders and levels that are remembered, the newest first

// The files of a folder as they are at one moment.
typedef struct FilesStamp {
    Hash128 hash;
    bool settled; // all could be examined, and none was changed so lately that a later change could
                  // have the same time
} FilesStamp;

FilesStamp identity_cache_stamp(const TensorSource *tensors);

// Fills store->checksums.sections from the cache or by hashing. The sections hold what was made of
// `tensors`; `before` is their stamp from before the first byte was read.
void identity_cache_sections(WeightsStore *store, const TensorSource *tensors, FilesStamp before,
                             uint32_t threads);

#endif
