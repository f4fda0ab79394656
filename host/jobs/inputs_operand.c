// SPDX-License-Identifier: Apache-2.0
// What one operand of the command line stands for: a file, a folder, a pattern, or a list of them.
#include "host/jobs/inputs.h"

#include "base/file.h"
#include "host/jobs/inputs_walk.h"

#include <stdlib.h>
#include <string.h>

// One name of a list, without its end.
static Status inputs_take_line(Inputs *inputs, char *line, size_t length, char end, Error *error) {
    if (end == '\n' && memchr(line, '\0', length) != NULL) {
        return error_set(error, E_ARGUMENT,
                         "the list on standard input has zero bytes; with -0 they end its names");
    }
    if (end == '\n' && length > 0 && line[length - 1] == '\r') {
        line[--length] = '\0';
    }
    return length > 0 ? inputs_take_path(inputs, line, error) : OK;
}

static Status inputs_take_list(Inputs *inputs, FILE *list, char end, Error *error) {
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    Status status = OK;
    while (status == OK && (length = getdelim(&line, &capacity, end, list)) > 0) {
        if (line[length - 1] == end) {
            line[--length] = '\0';
        }
        status = inputs_take_line(inputs, line, (size_t)length, end, error);
    }
    if (status == OK && !feof(list)) {
        status = error_set(error, E_IO, "the list on standard input could not be read to its end");
    }
    free(line);
    return status;
}

Status inputs_add(Inputs *inputs, const char *operand, FILE *list, char end, Error *error) {
    if (strcmp(operand, "-") == 0) {
        return inputs_take_list(inputs, list, end, error);
    }
    if (!file_exists(operand) && strpbrk(operand, "*?[") != NULL) {
        return inputs_walk_pattern(inputs, operand, error);
    }
    return inputs_take_path(inputs, operand, error);
}
