// SPDX-License-Identifier: Apache-2.0
#include "bench/row.h"

#include "base/clock.h"
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The processor's own name from /proc/cpuinfo, or "unknown".
static void machine_name(char out[128]) {
    snprintf(out, 128, "unknown");
    FILE *file = fopen("/proc/cpuinfo", "r");
    char line[256];
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon != NULL) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(out, 128, "%.127s", colon + 2);
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

static void row_name(Row *row, const char *name) {
    if (row->text.length > 1) {
        buffer_append_text(&row->text, ", ");
    }
    json_append_string(&row->text, bytes_of_text(name));
    buffer_append_text(&row->text, ": ");
}

Row row_begin(const char *bench, const char *what) {
    Row row = {0};
    char date[32], machine[128];
    clock_utc_text(date);
    machine_name(machine);
    buffer_append_byte(&row.text, '{');
    row_text(&row, "bench", bench);
    row_text(&row, "what", what);
    row_text(&row, "date", date);
    // ci/bench sets the commit; a bench run by hand says that it was one.
    const char *commit = getenv("TESSERA_COMMIT");
    row_text(&row, "commit", commit != NULL ? commit : "by hand");
    row_text(&row, "machine", machine);
    row_number(&row, "processors", (double)sysconf(_SC_NPROCESSORS_ONLN));
    return row;
}

void row_number(Row *row, const char *name, double value) {
    row_name(row, name);
    if (!isfinite(value)) {
        buffer_append_text(&row->text, "null");
    } else if (value == floor(value) && fabs(value) < 1e15) {
        buffer_printf(&row->text, "%.0f", value);
    } else {
        buffer_printf(&row->text, "%.5g", value);
    }
}

void row_text(Row *row, const char *name, const char *value) {
    row_name(row, name);
    json_append_string(&row->text, bytes_of_text(value));
}

void row_end(Row *row) {
    buffer_append_text(&row->text, "}\n");
    fwrite(row->text.data, 1, row->text.length, stdout);
    fflush(stdout);
    buffer_free(&row->text);
}
