// SPDX-License-Identifier: Apache-2.0
// Our packed file: the sections of a loaded model as they lie in memory, behind a checked header,
// so that opening is a map and a few microseconds. Layout to the byte: docs/formats.md.
#ifndef WEIGHTS_PACK_FILE_H
#define WEIGHTS_PACK_FILE_H

#include "weights/weights.h"

// Maps `path` and fills `weights` (new, empty). Checks header, section table, config texts and
// tensor table, their checksum, and every offset; the tensors' bytes are not touched. E_NOT_FOUND,
// E_IO, E_PACK, E_CONFIG, E_ARGUMENT (another level or group than asked), E_MEMORY.
Status pack_file_open(const char *path, const WeightsOptions *options, Weights *weights,
                      Error *error);

// The same from bytes that outlive `weights`; for the fuzzer.
Status pack_file_parse(Bytes bytes, const WeightsOptions *options, Weights *weights, Error *error);

// Writes a packed file: every tensor as it lies in memory, the three config texts, and the
// tokenizer's tables, which the host made. The file appears whole or not at all. E_IO, E_MEMORY,
// E_TENSOR (a mapped file holds a value that is not finite).
Status pack_file_write(const Weights *weights, Bytes tokenizer_blob, const char *path,
                       Error *error);

// Reads every byte of the file: compares the checksums of all sections and looks for numbers that
// are not finite. Errors as of pack_file_open, and E_TENSOR.
Status pack_file_verify(const char *path, Error *error);

#endif
