// SPDX-License-Identifier: Apache-2.0
// The identity of a model: 32 hexadecimal digits that name it in records. It covers all that can
// change an answer: every byte of the tensors as they are computed with, what the three config
// texts say (not how they are spaced or ordered), and the tokenizer's tables. So a folder and the
// file it is packed to at the same level have one identity, and two files of different bytes have
// two. The parts are the checksums of a packed file's sections, so opening one reads no tensor.
#ifndef WEIGHTS_IDENTITY_H
#define WEIGHTS_IDENTITY_H

#include "weights/store.h"

// The checksum of a section, here and in a packed file's header.
uint64_t identity_checksum(Bytes section);

// Fills store->checksums.sections from the bytes of the sections.
void identity_hash_sections(WeightsStore *store, uint32_t threads);

// From the store's texts, levels and source, and these checksums. E_MEMORY, E_JSON.
Status identity_make(const WeightsStore *store, const Checksums *checksums, char out[33],
                     Error *error);

#endif
