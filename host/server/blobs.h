// SPDX-License-Identifier: Apache-2.0
// Pictures left with the server by put_blob, named by their content and their user: nobody can name
// what another has sent. The store keeps at most bytes_max; when it is full, the user who has the
// most in it loses the one he has not used for the longest, so that who puts many loses his own. A
// request that uses a blob holds it, and a held blob lives on until the request ends even when the
// store has forgotten it. In memory only. Loop thread only.
//
// A picture is looked at once, when it is put, however often it is named: what is wrong with it is
// told where it is used. The table grows with the blobs, and its order has a seed that nobody
// outside knows, so that no names can be made that lie in one bucket.
#ifndef HOST_SERVER_BLOBS_H
#define HOST_SERVER_BLOBS_H

#include "host/media/media.h"
#include "host/server/users.h"
#include "rpc/calls.h"

typedef struct Blob {
    Hash128 name;
    uint32_t user;
    Call *call; // owns the bytes
    Bytes data;
    size_t bytes;      // of memory
    ImageInfo info;    // by media_probe,
    Status status;     // which may have found that it is no picture,
    const char *fault; // and why; in the call's arena
    uint32_t holders;
    bool stored;                // can be named
    struct Blob *next;          // of its bucket
    struct Blob *older, *newer; // of the user's stored ones, by last use
} Blob;

typedef struct BlobOwner {
    Blob *oldest, *newest;
    uint64_t bytes; // stored
} BlobOwner;

typedef struct Blobs {
    uint64_t bytes_max, bytes; // stored
    uint64_t held_bytes;       // stored, or forgotten and still held
    uint32_t count;            // stored
    uint64_t looked_bytes;     // by media_probe, of all that were put
    const MediaLimits *limits;
    uint64_t seed;
    Blob **buckets; // [bucket_count], a power of two
    uint32_t bucket_count;
    BlobOwner owners[USERS_MAX];
} Blobs;

// `limits` is borrowed. E_MEMORY.
Status blobs_open(Blobs *blobs, uint64_t bytes_max, const MediaLimits *limits, uint64_t seed,
                  Error *error);
void blobs_close(Blobs *blobs); // no blob is held any more

// Takes over `call`, a put_blob. A known picture becomes the newest. E_LIMIT when it is larger than
// the whole store, E_MEMORY; the call is freed then too.
Status blobs_put(Blobs *blobs, uint32_t user, Call *call, Hash128 *name, Error *error);

// One holder more, and the newest. NULL when the user has no such blob.
Blob *blobs_hold(Blobs *blobs, uint32_t user, Hash128 name);
void blobs_drop(Blobs *blobs, Blob *blob); // one holder less

// Forgets the user's blob that was unused for the longest and that nobody holds, for its memory.
// False: there is none.
bool blobs_forget_oldest(Blobs *blobs, uint32_t user);

#endif
