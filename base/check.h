// SPDX-License-Identifier: Apache-2.0
// REQUIRE: our own mistakes stop the program with the place and the condition, in release too.
// Never for anything the world can cause (a file, a request, a full disk): those are a Status.
// REQUIRE_HOT is for inner loops and exists in builds without NDEBUG only.
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#ifdef __cplusplus
extern "C" {
#endif

void check_failed(const char *file, int line, const char *condition, const char *format, ...)
    __attribute__((noreturn, format(printf, 4, 5)));

#ifdef __cplusplus
}
#endif

#define REQUIRE(condition)                                                                         \
    ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition, "%s", ""))
#define REQUIRE_MESSAGE(condition, ...)                                                            \
    ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition, __VA_ARGS__))

#ifdef NDEBUG
#define REQUIRE_HOT(condition) ((void)sizeof(condition))
#else
#define REQUIRE_HOT(condition) REQUIRE(condition)
#endif

// `TRY(call)` returns from the calling function with the call's Status when it is not OK.
#define TRY(call)                                                                                  \
    do {                                                                                           \
        Status try_status_ = (call);                                                               \
        if (try_status_ != OK) {                                                                   \
            return try_status_;                                                                    \
        }                                                                                          \
    } while (0)

#endif
