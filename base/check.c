// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

_Noreturn void check_failed(const char *file, int line, const char *condition, const char *format,
                            ...) {
    va_list arguments;
    fprintf(stderr, "tessera: internal error at %s:%d: %s does not hold. ", file, line, condition);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    abort();
}
