// SPDX-License-Identifier: Apache-2.0
#include "host/request/secret.h"

#include <sodium.h>

Status secret_make(Secret *out, Error *error) {
    if (sodium_init() < 0) {
        return error_set(error, E_INTERNAL, "libsodium cannot be initialised");
    }
    randombytes_buf(out->key, sizeof out->key);
    return OK;
}

Hash128 secret_name(const Secret *secret, Bytes bytes, uint64_t with) {
    Hash128 name;
    crypto_generichash_state state;
    crypto_generichash_init(&state, secret->key, sizeof secret->key, sizeof name);
    crypto_generichash_update(&state, bytes.data, bytes.length);
    crypto_generichash_update(&state, (const uint8_t *)&with, sizeof with);
    crypto_generichash_final(&state, (uint8_t *)&name, sizeof name);
    return name;
}

uint64_t secret_seed(const Secret *secret) {
    return secret_name(secret, bytes_of_text("seed"), 0).low;
}
