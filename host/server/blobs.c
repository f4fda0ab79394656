// SPDX-License-Identifier: Apache-2.0
#include "host/server/blobs.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS_FIRST = 256 };

Status blobs_open(Blobs *blobs, uint64_t bytes_max, const MediaLimits *limits, uint64_t seed,
                  Error *error) {
    *blobs = (Blobs){.bytes_max = bytes_max, .limits = limits, .seed = seed};
    blobs->buckets = calloc(BUCKETS_FIRST, sizeof(Blob *));
    if (blobs->buckets == NULL) {
        return error_set(error, E_MEMORY, "no memory for the table of blobs");
    }
    blobs->bucket_count = BUCKETS_FIRST;
    return OK;
}

static void blob_free(Blobs *blobs, Blob *blob) {
    Purse *purse = blob->call->arena.purse;
    blobs->held_bytes -= blob->bytes;
    call_free(blob->call);
    free(blob);
    purse_give(purse, sizeof *blob);
}

// Counted like the call whose bytes it names. NULL: there is no room.
static Blob *blob_make(Call *call) {
    Purse *purse = call->arena.purse;
    Blob *blob = purse_take(purse, sizeof *blob) ? calloc(1, sizeof *blob) : NULL;
    if (blob == NULL && (purse == NULL || purse->refused == OK)) {
        purse_give(purse, sizeof *blob);
    }
    return blob;
}

static Blob **blobs_bucket(const Blobs *blobs, uint32_t user, Hash128 name) {
    const uint64_t key[] = {name.high, name.low, user};
    uint64_t hash = hash64((Bytes){(const uint8_t *)key, sizeof key}, blobs->seed);
    return &blobs->buckets[hash & (blobs->bucket_count - 1)];
}

static void blobs_insert(Blobs *blobs, Blob *blob) {
    Blob **bucket = blobs_bucket(blobs, blob->user, blob->name);
    blob->next = *bucket;
    *bucket = blob;
}

// Twice the buckets when there are as many blobs. Without memory the table stays as it is.
static void blobs_grow(Blobs *blobs) {
    if (blobs->count < blobs->bucket_count || blobs->bucket_count > UINT32_MAX / 4) {
        return;
    }
    uint32_t count = blobs->bucket_count;
    Blob **old = blobs->buckets, **buckets = calloc(2 * (size_t)count, sizeof *buckets);
    if (buckets == NULL) {
        return;
    }
    blobs->buckets = buckets;
    blobs->bucket_count = 2 * count;
    for (uint32_t i = 0; i < count; i++) {
        for (Blob *blob = old[i], *next; blob != NULL; blob = next) {
            next = blob->next;
            blobs_insert(blobs, blob);
        }
    }
    free(old);
}

static Blob *blobs_find(Blobs *blobs, uint32_t user, Hash128 name) {
    Blob *blob = *blobs_bucket(blobs, user, name);
    while (blob != NULL &&
           (blob->user != user || blob->name.low != name.low || blob->name.high != name.high)) {
        blob = blob->next;
    }
    return blob;
}

static void blobs_unlink(Blobs *blobs, Blob *blob) {
    BlobOwner *owner = &blobs->owners[blob->user];
    if (blob->older != NULL) {
        blob->older->newer = blob->newer;
    } else {
        owner->oldest = blob->newer;
    }
    if (blob->newer != NULL) {
        blob->newer->older = blob->older;
    } else {
        owner->newest = blob->older;
    }
    blob->older = blob->newer = NULL;
}

static void blobs_link_newest(Blobs *blobs, Blob *blob) {
    BlobOwner *owner = &blobs->owners[blob->user];
    blob->older = owner->newest;
    if (owner->newest != NULL) {
        owner->newest->newer = blob;
    } else {
        owner->oldest = blob;
    }
    owner->newest = blob;
}

static void blobs_forget(Blobs *blobs, Blob *blob) {
    Blob **link = blobs_bucket(blobs, blob->user, blob->name);
    while (*link != blob) {
        link = &(*link)->next;
    }
    *link = blob->next;
    blobs_unlink(blobs, blob);
    blobs->bytes -= blob->bytes;
    blobs->owners[blob->user].bytes -= blob->bytes;
    blobs->count--;
    blob->stored = false;
    if (blob->holders == 0) {
        blob_free(blobs, blob);
    }
}

void blobs_close(Blobs *blobs) {
    for (uint32_t i = 0; i < USERS_MAX; i++) {
        while (blobs->owners[i].oldest != NULL) {
            REQUIRE(blobs->owners[i].oldest->holders == 0);
            blobs_forget(blobs, blobs->owners[i].oldest);
        }
    }
    free(blobs->buckets);
    blobs->buckets = NULL;
}

// Room for so many bytes of this user. The user with the most bytes, these counted, loses his
// oldest blob.
static void blobs_make_room(Blobs *blobs, uint32_t user, size_t bytes) {
    while (blobs->bytes + bytes > blobs->bytes_max) {
        uint32_t most = user;
        uint64_t most_bytes = blobs->owners[user].bytes + bytes;
        for (uint32_t i = 0; i < USERS_MAX; i++) {
            if (blobs->owners[i].bytes > most_bytes || blobs->owners[most].oldest == NULL) {
                most = i;
                most_bytes = blobs->owners[i].bytes;
            }
        }
        REQUIRE(blobs->owners[most].oldest != NULL);
        blobs_forget(blobs, blobs->owners[most].oldest);
    }
}

// Why it is no picture, in the call's arena; NULL when that has no room.
static const char *blob_fault(Call *call, const Error *error) {
    return arena_copy_text(&call->arena, error->text, strlen(error->text));
}

Status blobs_put(Blobs *blobs, uint32_t user, Call *call, Hash128 *name, Error *error) {
    *name = hash128(call->put_blob.data);
    Blob *known = blobs_find(blobs, user, *name);
    if (known != NULL) {
        call_free(call);
        blobs_unlink(blobs, known);
        blobs_link_newest(blobs, known);
        return OK;
    }
    ImageInfo info;
    Error fault;
    Status status = media_probe(call->put_blob.data, blobs->limits, &info, &fault);
    blobs->looked_bytes += info.looked_at;
    const char *text = status == OK ? NULL : blob_fault(call, &fault);
    size_t bytes = call_bytes(call) + sizeof(Blob);
    Blob *blob = bytes <= blobs->bytes_max ? blob_make(call) : NULL;
    if (blob == NULL) {
        Status why =
            bytes > blobs->bytes_max
                ? error_set(error, E_LIMIT, "%zu bytes are more than the blob store's %llu", bytes,
                            (unsigned long long)blobs->bytes_max)
                : call_no_memory(call, error);
        call_free(call);
        return why;
    }
    blobs_make_room(blobs, user, bytes);
    *blob = (Blob){.name = *name,
                   .user = user,
                   .call = call,
                   .bytes = bytes,
                   .stored = true,
                   .data = call->put_blob.data,
                   .info = info,
                   .status = status,
                   .fault = text};
    blobs_grow(blobs);
    blobs_insert(blobs, blob);
    blobs_link_newest(blobs, blob);
    blobs->bytes += bytes;
    blobs->owners[user].bytes += bytes;
    blobs->held_bytes += bytes;
    blobs->count++;
    return OK;
}

Blob *blobs_hold(Blobs *blobs, uint32_t user, Hash128 name) {
    Blob *blob = blobs_find(blobs, user, name);
    if (blob != NULL) {
        blobs_unlink(blobs, blob);
        blobs_link_newest(blobs, blob);
        blob->holders++;
    }
    return blob;
}

void blobs_drop(Blobs *blobs, Blob *blob) {
    REQUIRE(blob->holders > 0);
    blob->holders--;
    if (blob->holders == 0 && !blob->stored) {
        blob_free(blobs, blob);
    }
}

bool blobs_forget_oldest(Blobs *blobs, uint32_t user) {
    if (user >= USERS_MAX) {
        return false;
    }
    Blob *blob = blobs->owners[user].oldest;
    while (blob != NULL && blob->holders > 0) {
        blob = blob->newer;
    }
    if (blob != NULL) {
        blobs_forget(blobs, blob);
    }
    return blob != NULL;
}
