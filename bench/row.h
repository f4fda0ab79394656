// SPDX-License-Identifier: Apache-2.0
// One JSON row of a measurement. Every row says what was measured, on what machine, by which build
// and when, so that a file under bench/results/ can be read without its story.
//
//     Row row = row_begin("ops", "linear int4 x int8");
//     row_number(&row, "m", 128);
//     row_number(&row, "gops", gops);
//     row_end(&row); // prints the line on stdout
#ifndef BENCH_ROW_H
#define BENCH_ROW_H

#include "base/bytes.h"

typedef struct Row {
    Buffer text;
} Row;

Row row_begin(const char *bench, const char *what);
void row_number(Row *row, const char *name, double value);
void row_text(Row *row, const char *name, const char *value);
void row_end(Row *row);

#endif
