// SPDX-License-Identifier: Apache-2.0
// Which kernel computes a product: a table keyed by (weight level, activation kind, group, outputs,
// columns, bucket of tokens, compute capability). What the table does not name is chosen by a rule
// that needs no measurement. All kernels of a key give the same bits (cuda/kernels/linear.h), so a
// choice changes time and nothing else.
//
// As text, what ktable_save writes: the card it was measured on, a line per entry, their number.
//   tessera 0.1.0, sm_86, 82 multiprocessors, NVIDIA GeForce RTX 3090
//   int4 int8 32 3840 15360 8 86 linear_w4a8_g32_32x8
//   1 entries
#ifndef CUDA_KTABLE_H
#define CUDA_KTABLE_H

#include "cuda/kernels/linear.h"

enum { KTABLE_MAX = 1024, KTABLE_CARD_MAX = 320, KTABLE_BUCKETS = 17 };

typedef struct KernelKey {
    WeightLevel level;
    ActivationKind kind;
    uint32_t group;
    uint32_t outputs, columns; // n and k, n in whole panels
    uint32_t tokens;           // a bucket
    uint32_t compute;
} KernelKey;

typedef struct KernelEntry {
    KernelKey key;
    const LinearVariant *variant;
} KernelEntry;

typedef struct KernelTable {
    uint32_t count;
    KernelEntry entries[KTABLE_MAX];
} KernelTable;

// Buckets of tokens, ascending: the smallest that holds `tokens`, beyond the last the last, and its
// place among them.
extern const uint32_t ktable_buckets[KTABLE_BUCKETS];
uint32_t ktable_bucket_index(uint32_t tokens);
uint32_t ktable_bucket(uint32_t tokens);

KernelKey ktable_key(const LinearArgs *args, int compute);

// May `variant` compute what the key names?
bool ktable_fits(const LinearVariant *variant, const KernelKey *key);

// The entry's variant, or the rule's: split kernels up to 16 tokens; then the tile whose tokens are
// nearest to the bucket, of 32 outputs up to 64 tokens and of 128 beyond; linear_plain_any where no
// other fits. `table` may be NULL.
const LinearVariant *ktable_choose(const KernelTable *table, const KernelKey *key);

// Adds or replaces. False when the table is full.
bool ktable_set(KernelTable *table, const KernelKey *key, const LinearVariant *variant);

// The first line of a table that belongs to this device and this version.
Status ktable_card(int device, char out[KTABLE_CARD_MAX], Error *error);

Status ktable_save(const KernelTable *table, const char *card, const char *path, Error *error);
// Replaces the table. E_NOT_FOUND, E_IO; E_CONFIG names the line that is not what it should be:
// another card or version, an entry that is none of this program, fewer entries than it says.
Status ktable_load(const char *path, const char *card, KernelTable *table, Error *error);

// Measures every kernel that fits the ops' key, `repeats` launches each after one to warm up, and
// sets the fastest. The ops are one product with its weights at `count` places, which take turns,
// so that none finds them in L2. Operands are on the device; the output is written.
Status ktable_tune(CudaContext *context, const OpLinear *ops, uint32_t count, uint32_t repeats,
                   KernelTable *table, Error *error);

#endif
