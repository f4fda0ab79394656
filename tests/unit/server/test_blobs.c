// SPDX-License-Identifier: Apache-2.0
// The store of blobs against who chooses their names, and against who puts the most.
#include "host/server/blobs.h"

#include "base/num.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static Blobs *open_blobs(uint64_t bytes_max) {
    static const MediaLimits limits = {.file_bytes_max = 1 << 20, .pixels_max = 1, .side_max = 1};
    Blobs *blobs = malloc(sizeof *blobs);
    cr_assert_eq(blobs_open(blobs, bytes_max, &limits, 77, NULL), OK);
    return blobs;
}

static Hash128 put(Blobs *blobs, uint32_t user, uint64_t content, size_t bytes) {
    Call *call = calloc(1, sizeof *call);
    uint8_t *data = calloc(1, bytes);
    memcpy(data, &content, sizeof content);
    buffer_append(&call->message, data, bytes);
    free(data);
    call->put_blob.data = (Bytes){call->message.data, call->message.length};
    Hash128 name;
    cr_assert_eq(blobs_put(blobs, user, call, &name, NULL), OK);
    return name;
}

static bool has(Blobs *blobs, uint32_t user, Hash128 name) {
    Blob *blob = blobs_hold(blobs, user, name);
    if (blob != NULL) {
        blobs_drop(blobs, blob);
    }
    return blob != NULL;
}

static uint32_t longest_chain(const Blobs *blobs) {
    uint32_t longest = 0;
    for (uint32_t i = 0; i < blobs->bucket_count; i++) {
        uint32_t length = 0;
        for (const Blob *blob = blobs->buckets[i]; blob != NULL; blob = blob->next) {
            length++;
        }
        longest = num_max(longest, length);
    }
    return longest;
}

Test(blobs, names_that_agree_in_their_low_bits_do_not_meet_in_a_bucket) {
    enum { COUNT = 5000, SAME = 1024 };
    Blobs *blobs = open_blobs(1 << 30);
    uint64_t content = 0;
    for (int i = 0; i < COUNT; i++) {
        while (hash128((Bytes){(const uint8_t *)&content, sizeof content}).low % SAME != 0) {
            content++;
        }
        put(blobs, 3, content++, sizeof content);
    }
    cr_expect_eq(blobs->count, COUNT);
    cr_expect_leq(longest_chain(blobs), 16);
    cr_expect_geq(blobs->bucket_count, COUNT, "the table has grown with them");
    blobs_close(blobs);
    free(blobs);
}

Test(blobs, who_puts_many_loses_his_own) {
    Blobs *blobs = open_blobs(100000);
    Hash128 light = put(blobs, 1, 1, 5000);
    for (uint64_t i = 0; i < 200; i++) {
        put(blobs, 0, 1000 + i, 5000);
        cr_assert_leq(blobs->bytes, 100000);
    }
    cr_expect(has(blobs, 1, light), "another's flood has put it out");
    Hash128 next = put(blobs, 1, 2, 5000);
    cr_expect(has(blobs, 1, light) && has(blobs, 1, next), "there is room for who has little");
    cr_expect_not(has(blobs, 0, light), "a name is its user's");
    blobs_close(blobs);
    free(blobs);
}
