// SPDX-License-Identifier: Apache-2.0
// Reading safetensors: 8 bytes little-endian header length, a JSON header, then the tensors' bytes
// (https://github.com/huggingface/safetensors, README "Format"). One file or the shards named by
// model.safetensors.index.json, mapped and never copied. Everything in the header is checked before
// it is used; the tensors' own bytes are only looked at by those who convert them.
#ifndef WEIGHTS_SAFETENSORS_H
#define WEIGHTS_SAFETENSORS_H

#include "weights/source.h"

// Opens FOLDER/model.safetensors or, where there is none, the shards of
// FOLDER/model.safetensors.index.json; of both transformers takes the first, too.
// E_NOT_FOUND, E_IO, E_MEMORY, E_CHECKPOINT (damaged, overlapping, gaps, duplicate names, an index
// that does not fit its shards; the text names file and tensor). A file that is merely too short is
// no error here: its tensors are marked truncated, so that the manifest can list them together.
Status safetensors_open(const char *folder, TensorSource *out, Error *error);

// Parses the bytes of one file, which must outlive *out. `path` is used in error texts.
// For tests and fuzzers.
Status safetensors_parse(Bytes bytes, const char *path, TensorSource *out, Error *error);

#endif
