// SPDX-License-Identifier: Apache-2.0
#include "host/text/stop.h"

#include "base/num.h"

#include <string.h>

Status stop_begin(Stop *stop, const Bytes *strings, size_t count, Error *error) {
    *stop = (Stop){.strings = strings, .count = count, .found = -1};
    if (count > STOP_STRINGS_MAX) {
        return error_set(error, E_LIMIT, "%zu stop strings are more than the limit of %d", count,
                         STOP_STRINGS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        if (strings[i].length == 0 || strings[i].length > STOP_BYTES_MAX) {
            return error_set(error, strings[i].length == 0 ? E_ARGUMENT : E_LIMIT,
                             "stop string %zu has %zu bytes; 1 to %d are allowed", i + 1,
                             strings[i].length, STOP_BYTES_MAX);
        }
    }
    return OK;
}

// The index of the longest stop string that begins at `at` and is complete, or -1. *may_grow: some
// stop string agrees with the text up to its end and is longer.
static int match_at(const Stop *stop, Bytes text, size_t at, bool *may_grow) {
    int longest = -1;
    *may_grow = false;
    for (size_t i = 0; i < stop->count; i++) {
        Bytes string = stop->strings[i];
        size_t common = num_min(string.length, text.length - at);
        if (memcmp(string.data, text.data + at, common) != 0) {
            continue;
        }
        if (common < string.length) {
            *may_grow = true;
        } else if (longest < 0 || string.length > stop->strings[longest].length) {
            longest = (int)i;
        }
    }
    return longest;
}

// Appends what is certain to `out` and keeps the rest; at the end of the text everything is.
static bool scan(Stop *stop, bool at_end, Buffer *out) {
    Bytes held = {stop->held.data, stop->held.length};
    size_t sure = 0;
    bool may_grow = false;
    while (sure < held.length) {
        stop->found = match_at(stop, held, sure, &may_grow);
        if (stop->found >= 0 || (may_grow && !at_end)) {
            break;
        }
        sure++;
    }
    // Everything before `sure` begins no stop string.
    buffer_append(out, held.data, sure);
    out->failed = out->failed || stop->held.failed;
    if (stop->found >= 0 || sure == held.length) {
        buffer_clear(&stop->held);
    } else {
        memmove(stop->held.data, stop->held.data + sure, held.length - sure);
        stop->held.length = held.length - sure;
    }
    return stop->found >= 0;
}

bool stop_push(Stop *stop, Bytes text, Buffer *out) {
    if (stop->found >= 0) {
        return true;
    }
    buffer_append(&stop->held, text.data, text.length);
    return scan(stop, false, out);
}

bool stop_flush(Stop *stop, Buffer *out) {
    return stop->found >= 0 || scan(stop, true, out);
}

void stop_end(Stop *stop) {
    buffer_free(&stop->held);
}
