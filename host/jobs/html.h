// SPDX-License-Identifier: Apache-2.0
// The contact sheet: one HTML file with the pictures inside, readable without network and without
// scripts, in light and dark. Small pictures are embedded as they are, others as a small JPEG.
#ifndef HOST_JOBS_HTML_H
#define HOST_JOBS_HTML_H

#include "base/bytes.h"
#include "base/status.h"

typedef struct HtmlRow {
    const char *path;
    Bytes caption;
    const char *error; // NULL when there is a caption
    uint32_t tokens_in, tokens_out;
    double ms;
} HtmlRow;

typedef struct HtmlSheet {
    const char *model, *weights, *prompt;
    const HtmlRow *rows;
    size_t row_count;
    size_t errors;
    double pictures_per_second; // 0 = not measured
} HtmlSheet;

// Writes the sheet; the file appears whole or not at all. Pictures that cannot be read are shown as
// their error only. E_IO, E_MEMORY.
Status html_write(const char *path, const HtmlSheet *sheet, Error *error);

// Appends `text` as text_escape shows it, with & < > " ' written as entities.
void html_escape(Buffer *out, Bytes text);

#endif
