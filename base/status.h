// SPDX-License-Identifier: Apache-2.0
// The one error idiom. A function that can fail because of the world returns a Status: 0 is OK, a
// negative number is a row of status.def. Where a person should learn more, the function also takes
// an `Error *` (NULL allowed) and writes one sentence there that names the input, the rule and what
// to do. Our own mistakes are not statuses: they are REQUIRE (check.h).
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus // the .cu files are C++
extern "C" {
#endif

typedef int32_t Status;

enum {
    OK = 0,
#define STATUS(name, number, class, retryable, text) name = (number),
#include "base/status.def"
#undef STATUS
};

typedef enum StatusClass {
    STATUS_CALLER,
    STATUS_BUSY,
    STATUS_SERVER,
    STATUS_DEVICE,
    STATUS_BUG
} StatusClass;

enum { ERROR_TEXT_MAX = 1024 };

typedef struct Error {
    Status status;
    // What happened, the rule, the remedy, separated by semicolons: no capital at the beginning, no
    // full stop at the end, since callers put names before it. Zero-terminated, never empty after
    // error_set.
    char text[ERROR_TEXT_MAX];
} Error;

// Fills `error` (when not NULL) and returns `status`, so that a failing function ends in
// `return error_set(error, E_IO, "...")`. Of a text longer than the buffer the middle is left out.
Status error_set(Error *error, Status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
#ifdef __clang_analyzer__ // it sees one file at a time, and would think that this may return OK
#define error_set(error, status, ...) ((void)error_set(error, status, __VA_ARGS__), (status))
#endif

// Puts "prefix: " before the text already there, so that outer layers can add the file name.
// Returns error->status, or `status` when error is NULL.
Status error_prefix(Error *error, Status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

const char *status_name(Status status);  // "E_IO"; "OK"; "E_UNKNOWN"
const char *status_text(Status status);  // the catalogue's client text
StatusClass status_class(Status status); // STATUS_BUG for unknown numbers
bool status_retryable(Status status);

#ifdef __cplusplus
}
#endif

#endif
