// SPDX-License-Identifier: Apache-2.0
// Where in a folder of the Hugging Face cache the checkpoint lies. models--OWNER--NAME holds blobs,
// refs and snapshots; a snapshot is a folder of links to blobs, and refs/main names one.
#ifndef WEIGHTS_HUB_H
#define WEIGHTS_HUB_H

#include "base/bytes.h"
#include "base/status.h"

// The path to read `folder` at: the snapshot of refs/main, or the only one, when the folder has
// snapshots and no config.json of its own, else `folder` itself. E_NOT_FOUND (there are none, or
// several and no refs/main), E_IO, E_MEMORY.
Status hub_find(const char *folder, Buffer *out, Error *error);

#endif
