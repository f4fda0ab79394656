// SPDX-License-Identifier: Apache-2.0
// frame.h: a message ends exactly where msgpack-c says it does, no matter how its bytes arrive, and
// every limit stops it at the header that breaks it.
#include "rpc/frame.h"

#include "base/prng.h"

#include <criterion/criterion.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#define BYTES(text) ((Bytes){(const uint8_t *)(text), sizeof(text) - 1})

static Status scan(Bytes bytes, size_t *length, Error *error) {
    Frame frame;
    FrameLimits limits = frame_limits_default();
    frame_open(&frame, &limits);
    return frame_next(&frame, bytes, length, error);
}

typedef struct Dice {
    uint64_t seed, thrown;
} Dice;

static uint32_t throw_below(Dice *dice, uint32_t n) {
    return (uint32_t)(prng_u64(dice->seed, 7, dice->thrown++) % n);
}

static void put_random(msgpack_packer *packer, Dice *dice, int depth) {
    static const char zeros[70000];
    static const uint32_t sizes[] = {0, 1, 31, 32, 255, 256, 65535, 65536};
    switch (throw_below(dice, depth < 6 ? 9 : 7)) {
    case 0:
        msgpack_pack_uint64(packer,
                            prng_u64(dice->seed, 8, dice->thrown++) >> throw_below(dice, 64));
        break;
    case 1:
        msgpack_pack_int64(packer, -(int64_t)(prng_u64(dice->seed, 9, dice->thrown++) >>
                                              (1 + throw_below(dice, 60))));
        break;
    case 2:
        msgpack_pack_double(packer, 1.5);
        break;
    case 3:
        msgpack_pack_float(packer, 1.5f);
        break;
    case 4:
        msgpack_pack_nil(packer);
        break;
    case 5:
        msgpack_pack_str_with_body(packer, zeros, sizes[throw_below(dice, 8)]);
        break;
    case 6:
        msgpack_pack_bin_with_body(packer, zeros, sizes[throw_below(dice, 8)]);
        break;
    case 7: {
        uint32_t count = throw_below(dice, 20);
        msgpack_pack_array(packer, count);
        for (uint32_t i = 0; i < count; i++) {
            put_random(packer, dice, depth + 1);
        }
        break;
    }
    default: {
        uint32_t count = throw_below(dice, 5);
        msgpack_pack_map(packer, count);
        for (uint32_t i = 0; i < 2 * count; i++) {
            put_random(packer, dice, depth + 1);
        }
    }
    }
}

Test(frame, ends_where_msgpack_c_ends_however_the_bytes_arrive) {
    for (uint64_t seed = 1; seed <= 300; seed++) {
        Dice dice = {.seed = seed};
        msgpack_sbuffer out;
        msgpack_sbuffer_init(&out);
        msgpack_packer packer;
        msgpack_packer_init(&packer, &out, msgpack_sbuffer_write);
        size_t ends[3];
        for (int i = 0; i < 3; i++) {
            put_random(&packer, &dice, 0);
            ends[i] = out.size;
        }
        Frame frame;
        FrameLimits limits = frame_limits_default();
        frame_open(&frame, &limits);
        size_t start = 0, arrived = 0;
        int found = 0;
        while (found < 3) {
            size_t length;
            Error error = {0};
            cr_assert_eq(frame_next(&frame, (Bytes){(uint8_t *)out.data + start, arrived - start},
                                    &length, &error),
                         OK, "seed %llu: %s", (unsigned long long)seed, error.text);
            if (length > 0) {
                start += length;
                cr_assert_eq(start, ends[found], "seed %llu", (unsigned long long)seed);
                found++;
            } else {
                cr_assert_gt(frame.wanted, arrived - start);
                cr_assert_leq(start + frame.wanted, ends[found], "seed %llu asks too much",
                              (unsigned long long)seed);
                arrived += 1 + throw_below(&dice, 5000);
                arrived = arrived < out.size ? arrived : out.size;
            }
        }
        msgpack_sbuffer_destroy(&out);
    }
}

Test(frame, limits_stop_a_message_at_its_header) {
    const struct {
        Bytes bytes;
        const char *says;
    } cases[] = {
        {BYTES("\xdd\xff\xff\xff\xff"), "elements of an array"}, // 96 GiB in msgpack-c
        {BYTES("\xdf\xff\xff\xff\xff"), "pairs of a map"},
        {BYTES("\xdb\xff\xff\xff\xff"), "bytes of a string"},
        {BYTES("\xc6\x02\x00\x00\x01"), "bytes of a bin"},
        {BYTES("\xc6\x02\x00\x00\x00"), "bytes of a message"}, // 32 MiB and five bytes
        {BYTES("\x91\x91\x91\x91\x91\x91\x91\x91\x91\xc0"), "nested"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t length;
        Error error = {0};
        cr_assert_eq(scan(cases[i].bytes, &length, &error), E_MESSAGE_LIMIT, "case %zu", i);
        cr_assert(strstr(error.text, cases[i].says) != NULL, "case %zu: %s", i, error.text);
        cr_assert_eq(length, 0);
    }
}

Test(frame, the_number_of_values_is_bounded) {
    size_t size = 3 + 60000;
    Frame frame;
    FrameLimits limits = frame_limits_default();
    limits.objects_max = 50000;
    frame_open(&frame, &limits);
    uint8_t *bytes = malloc(size);
    memset(bytes, 0xc0, size);
    memcpy(bytes, "\xdc\xea\x60", 3); // array of 60,000 nils
    size_t length;
    cr_assert_eq(frame_next(&frame, (Bytes){bytes, size}, &length, NULL), E_MESSAGE_LIMIT);
    free(bytes);
}

Test(frame, unused_and_extension_tags_are_refused) {
    for (int tag = 0; tag < 256; tag++) {
        uint8_t bytes[32] = {(uint8_t)tag};
        size_t length;
        Status status = scan((Bytes){bytes, sizeof bytes}, &length, NULL);
        bool refused = tag == 0xc1 || (tag >= 0xc7 && tag <= 0xc9) || (tag >= 0xd4 && tag <= 0xd8);
        cr_assert_eq(status == E_MESSAGE, refused, "tag 0x%02x gives %s", tag, status_name(status));
    }
}
