// SPDX-License-Identifier: Apache-2.0
#include "host/server/blobs.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

void blobs_open(Blobs *blobs, uint64_t bytes_max, const MediaLimits *limits) {
    *blobs = (Blobs){.bytes_max = bytes_max, .limits = limits};
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

static Blob **blobs_bucket(Blobs *blobs, uint32_t user, Hash128 name) {
    return &blobs->buckets[(name.low ^ user) % BLOB_BUCKETS];
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
    *(blob->older != NULL ? &blob->older->newer : &blobs->oldest) = blob->newer;
    *(blob->newer != NULL ? &blob->newer->older : &blobs->newest) = blob->older;
    blob->older = blob->newer = NULL;
}

static void blobs_link_newest(Blobs *blobs, Blob *blob) {
    blob->older = blobs->newest;
    *(blobs->newest != NULL ? &blobs->newest->newer : &blobs->oldest) = blob;
    blobs->newest = blob;
}

static void blobs_forget(Blobs *blobs, Blob *blob) {
    Blob **link = blobs_bucket(blobs, blob->user, blob->name);
    while (*link != blob) {
        link = &(*link)->next;
    }
    *link = blob->next;
    blobs_unlink(blobs, blob);
    blobs->bytes -= blob->bytes;
    blobs->count--;
    blob->stored = false;
    if (blob->holders == 0) {
        blob_free(blobs, blob);
    }
}

void blobs_close(Blobs *blobs) {
    while (blobs->oldest != NULL) {
        REQUIRE(blobs->oldest->holders == 0);
        blobs_forget(blobs, blobs->oldest);
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
    while (blobs->bytes + bytes > blobs->bytes_max) {
        REQUIRE(blobs->oldest != NULL && blobs->oldest->older == NULL);
        blobs_forget(blobs, blobs->oldest);
    }
    *blob = (Blob){.name = *name,
                   .user = user,
                   .call = call,
                   .bytes = bytes,
                   .stored = true,
                   .data = call->put_blob.data,
                   .info = info,
                   .status = status,
                   .fault = text};
    Blob **bucket = blobs_bucket(blobs, user, *name);
    blob->next = *bucket;
    *bucket = blob;
    blobs_link_newest(blobs, blob);
    blobs->bytes += bytes;
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
    Blob *blob = blobs->oldest;
    while (blob != NULL && (blob->user != user || blob->holders > 0)) {
        blob = blob->newer;
    }
    if (blob != NULL) {
        blobs_forget(blobs, blob);
    }
    return blob != NULL;
}
