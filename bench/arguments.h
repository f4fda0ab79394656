// SPDX-License-Identifier: Apache-2.0
// The arguments of a bench as one table: the usage text and the parser are made from it. Numbers
// are whole and in their range, and nothing is taken that was not understood.
#ifndef BENCH_ARGUMENTS_H
#define BENCH_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum ArgumentKind {
    ARGUMENT_FLAG,  // bool *at becomes true
    ARGUMENT_COUNT, // uint32_t *at
    ARGUMENT_BIG,   // uint64_t *at
    ARGUMENT_REAL,  // double *at
    ARGUMENT_TEXT,  // const char **at
    ARGUMENT_READ,  // read(value, at)
} ArgumentKind;

typedef struct Argument {
    const char *name;  // "--rows"
    const char *value; // for the usage text: "N"; "" of a flag
    const char *text;  // for the usage text, one line
    ArgumentKind kind;
    void *at;
    double low, high;                          // of COUNT and REAL
    bool (*read)(const char *value, void *at); // READ: false when it is not understood
} Argument;

// Rows of the table.
#define ROW_FLAG(name, text, at)                                                                   \
    { name, "", text, ARGUMENT_FLAG, at, 0, 0, NULL }
#define ROW_COUNT(name, value, text, at, low, high)                                                \
    { name, value, text, ARGUMENT_COUNT, at, low, high, NULL }
#define ROW_REAL(name, value, text, at, low, high)                                                 \
    { name, value, text, ARGUMENT_REAL, at, low, high, NULL }
#define ROW_BIG(name, value, text, at)                                                             \
    { name, value, text, ARGUMENT_BIG, at, 0, 0, NULL }
#define ROW_TEXT(name, value, text, at)                                                            \
    { name, value, text, ARGUMENT_TEXT, at, 0, 0, NULL }
#define ROW_READ(name, value, text, read, at)                                                      \
    { name, value, text, ARGUMENT_READ, at, 0, 0, read }

typedef struct Arguments {
    const char *bench;    // "serve"
    const char *operands; // for the usage text: "ADDRESS"; "" when there are none
    const char *about;    // under the table of the usage text, or NULL
    const Argument *rows;
    size_t row_count;
    bool (*operand)(const char *operand, void *at); // NULL: there are none; else at least one
    void *at;
} Arguments;

enum { ARGUMENTS_GO_ON = -1 };

// An operand of which there is one: *at, a const char *.
bool argument_single(const char *operand, void *at);

// The name of an instruction set for ROW_READ: *at, a CpuIsa.
bool argument_isa(const char *value, void *at);

// Fills what the rows point to. ARGUMENTS_GO_ON, or the exit status when nothing is to be measured:
// 0 when the usage was asked for, 2 with a sentence when an argument was not understood.
int arguments_read(const Arguments *arguments, int argc, char **argv);

// The usage on stderr and exit status 2: for what the table cannot say.
int arguments_wrong(const Arguments *arguments);

#endif
