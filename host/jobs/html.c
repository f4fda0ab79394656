// SPDX-License-Identifier: Apache-2.0
#include "host/jobs/html.h"

#include "base/check.h"
#include "base/file.h"
#include "base/file_write.h"
#include "base/text.h"
#include "host/media/media.h"
#include "host/media/thumbnail.h"

enum { HTML_EMBED_BYTES_MAX = 200 * 1024 };

static const char html_style[] =
    "<style>\n"
    ":root{color-scheme:light dark;--back:#fafafa;--card:#fff;--ink:#1b1b1f;--soft:#5c5c66;"
    "--line:#dcdce2;--bad:#b3261e}\n"
    "@media(prefers-color-scheme:dark){:root{--back:#16161a;--card:#202026;--ink:#ececf1;"
    "--soft:#a2a2ae;--line:#35353e;--bad:#ff8a80}}\n"
    "body{margin:0;padding:2rem;background:var(--back);color:var(--ink);"
    "font:16px/1.45 system-ui,sans-serif}\n"
    "h1{font-size:1.3rem;margin:0 0 .3rem}\n"
    "p.run{color:var(--soft);margin:0 0 1.5rem}\n"
    "ul{list-style:none;margin:0;padding:0;display:grid;gap:1rem;"
    "grid-template-columns:repeat(auto-fill,minmax(16rem,1fr))}\n"
    "li{background:var(--card);border:1px solid var(--line);border-radius:.6rem;overflow:hidden;"
    "display:flex;flex-direction:column;break-inside:avoid}\n"
    "img{display:block;width:100%;height:14rem;object-fit:contain;background:var(--back)}\n"
    "li div{padding:.7rem .9rem}\n"
    ".caption{margin:0 0 .5rem;white-space:pre-wrap;overflow-wrap:anywhere}\n"
    ".error{color:var(--bad)}\n"
    ".facts{margin:0;color:var(--soft);font-size:.8rem;overflow-wrap:anywhere}\n"
    "</style>\n";

static void html_escape_byte(Buffer *out, uint8_t byte) {
    static const char *const entities[256] = {
        ['&'] = "&amp;", ['<'] = "&lt;", ['>'] = "&gt;", ['"'] = "&quot;", ['\''] = "&#39;"};
    if (entities[byte] != NULL) {
        buffer_append_text(out, entities[byte]);
    } else {
        buffer_append_byte(out, byte);
    }
}

void html_escape(Buffer *out, Bytes text) {
    Buffer shown = {0};
    text_escape(&shown, text, TEXT_LINES);
    for (size_t i = 0; i < shown.length; i++) {
        html_escape_byte(out, shown.data[i]);
    }
    out->failed = out->failed || shown.failed;
    buffer_free(&shown);
}

static void html_base64(Buffer *out, Bytes bytes) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < bytes.length; i += 3) {
        size_t left = bytes.length - i;
        uint32_t group = (uint32_t)bytes.data[i] << 16;
        group |= left > 1 ? (uint32_t)bytes.data[i + 1] << 8 : 0;
        group |= left > 2 ? bytes.data[i + 2] : 0;
        char four[4] = {digits[group >> 18], digits[group >> 12 & 63],
                        left > 1 ? digits[group >> 6 & 63] : '=',
                        left > 2 ? digits[group & 63] : '='};
        buffer_append(out, four, sizeof four);
    }
}

// The picture as a data URI, or nothing when it cannot be read.
static void html_picture(Buffer *out, const HtmlRow *row, MediaScratch *scratch) {
    Buffer file = {0}, small = {0};
    const MediaLimits limits = media_limits_default();
    ImageInfo info;
    if (file_read(row->path, limits.file_bytes_max, &file, NULL) == OK &&
        media_probe((Bytes){file.data, file.length}, &limits, &info, NULL) == OK) {
        static const char *const types[] = {
            [IMAGE_JPEG] = "jpeg", [IMAGE_PNG] = "png", [IMAGE_WEBP] = "webp"};
        const char *type = types[info.format];
        Bytes bytes = {file.data, file.length};
        if (file.length > HTML_EMBED_BYTES_MAX) {
            type = "jpeg";
            bytes = thumbnail_make(bytes, &limits, scratch, &small, NULL) == OK
                        ? (Bytes){small.data, small.length}
                        : (Bytes){0};
        }
        if (bytes.length > 0) {
            buffer_printf(out, "<img loading=\"lazy\" alt=\"\" src=\"data:image/%s;base64,", type);
            html_base64(out, bytes);
            buffer_append_text(out, "\">\n");
        }
    }
    buffer_free(&small);
    buffer_free(&file);
}

static void html_row(Buffer *out, const HtmlRow *row, MediaScratch *scratch) {
    buffer_append_text(out, "<li>");
    html_picture(out, row, scratch);
    buffer_append_text(out, row->error != NULL ? "<div><p class=\"caption error\">"
                                               : "<div><p class=\"caption\">");
    html_escape(out, row->error != NULL ? bytes_of_text(row->error) : row->caption);
    buffer_append_text(out, "</p><p class=\"facts\">");
    html_escape(out, bytes_of_text(row->path));
    if (row->error == NULL) {
        buffer_printf(out, "<br>%u tokens in, %u out, %.0f ms", row->tokens_in, row->tokens_out,
                      row->ms);
    }
    buffer_append_text(out, "</p></div></li>\n");
}

static void html_head(Buffer *out, const HtmlSheet *sheet) {
    buffer_append_text(out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
                            "<meta name=\"viewport\" content=\"width=device-width\">\n"
                            "<title>Captions</title>\n");
    buffer_append_text(out, html_style);
    buffer_printf(out, "</head><body>\n<h1>%zu pictures</h1>\n<p class=\"run\">model ",
                  sheet->row_count);
    html_escape(out, bytes_of_text(sheet->model));
    buffer_append_text(out, ", weights ");
    html_escape(out, bytes_of_text(sheet->weights));
    if (sheet->pictures_per_second > 0) {
        buffer_printf(out, ", %.2f pictures/s", sheet->pictures_per_second);
    }
    buffer_printf(out, ", %zu error%s<br>prompt: ", sheet->errors, sheet->errors == 1 ? "" : "s");
    html_escape(out, bytes_of_text(sheet->prompt));
    buffer_append_text(out, "</p>\n<ul>\n");
}

// Picture by picture to the file, so that a sheet of thousands needs little memory.
static Status html_write_rows(FileWrite *file, const HtmlSheet *sheet, Error *error) {
    Buffer text = {0};
    MediaScratch scratch = {0};
    html_head(&text, sheet);
    Status status = OK;
    for (size_t i = 0; i <= sheet->row_count && status == OK; i++) {
        if (i < sheet->row_count) {
            html_row(&text, &sheet->rows[i], &scratch);
        } else {
            buffer_append_text(&text, "</ul>\n</body></html>\n");
        }
        status = text.failed ? error_set(error, E_MEMORY, "%s: no memory for a picture", file->path)
                             : file_write_append(file, (Bytes){text.data, text.length}, error);
        buffer_clear(&text);
    }
    buffer_free(&text);
    media_scratch_free(&scratch);
    return status;
}

Status html_write(const char *path, const HtmlSheet *sheet, Error *error) {
    FileWrite file;
    TRY(file_write_begin(path, &file, error));
    Status status = html_write_rows(&file, sheet, error);
    if (status == OK) {
        status = file_write_end(&file, error);
    }
    file_write_abandon(&file);
    return status;
}
