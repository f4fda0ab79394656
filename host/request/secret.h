// SPDX-License-Identifier: Apache-2.0
// A key of this process that nobody outside knows, and names made with it. Without the key nobody
// can compute the name of a picture or make two pictures of one name. So no user can have his
// picture taken for another's in the prefix cache (docs/server.md). A Secret of zeros gives the
// same names in every run: for commands that serve nobody else, and for tests.
#ifndef HOST_REQUEST_SECRET_H
#define HOST_REQUEST_SECRET_H

#include "base/hash.h"
#include "base/status.h"

enum { SECRET_BYTES = 32 };

typedef struct Secret {
    uint8_t key[SECRET_BYTES];
} Secret;

Status secret_make(Secret *out, Error *error); // random; E_INTERNAL without libsodium

// BLAKE2b of the bytes, then of `with`, under the key.
Hash128 secret_name(const Secret *secret, Bytes bytes, uint64_t with);

uint64_t secret_seed(const Secret *secret); // for hash128_seeded

#endif
