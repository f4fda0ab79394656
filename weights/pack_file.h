// SPDX-License-Identifier: Apache-2.0
// Our packed file: the sections of a loaded model as they lie in memory, behind a checked header,
// so that opening is a map and a few microseconds. Layout to the byte: docs/formats.md.
#ifndef WEIGHTS_PACK_FILE_H
#define WEIGHTS_PACK_FILE_H

#include "weights/store.h"

// Maps `path` and fills `weights` (new, empty). Checks header, section table, config texts and
// tensor table, their checksum, and every offset; the tensors' bytes are not touched. E_NOT_FOUND,
// E_IO, E_PACK, E_CONFIG, E_ARGUMENT (another level or group than asked), E_MEMORY.
Status pack_file_open(const char *path, const WeightsOptions *options, Weights *weights,
                      Error *error);

// The same from bytes that outlive `weights`; for the fuzzer.
Status pack_file_parse(Bytes bytes, const WeightsOptions *options, Weights *weights, Error *error);

#endif
