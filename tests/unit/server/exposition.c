// SPDX-License-Identifier: Apache-2.0
#include "exposition.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 128, FAMILIES_MAX = 256 };

typedef struct Family {
    char name[NAME_MAX_BYTES];
    char type[16];
} Family;

typedef struct Reader {
    Exposition *out;
    const char *at; // in the line
    bool strict;
    Family families[FAMILIES_MAX];
    // Of the histogram series being read: its labels but le, and what its buckets said.
    char bucket_labels[EXPOSITION_SERIES_MAX];
    double bucket_bound, bucket_count;
    bool in_histogram, has_sum;
} Reader;

static bool fail(Reader *reader, const char *fault) {
    reader->out->fault = fault;
    return false;
}

static size_t name_length(const char *text, bool colon) {
    size_t length = 0;
    while (isalpha((unsigned char)text[length]) || text[length] == '_' ||
           (colon && text[length] == ':') || (length > 0 && isdigit((unsigned char)text[length]))) {
        length++;
    }
    return length;
}

static bool read_name(Reader *reader, char out[NAME_MAX_BYTES], bool colon) {
    size_t length = name_length(reader->at, colon);
    if (length == 0 || length >= NAME_MAX_BYTES) {
        return fail(reader, "a name is missing");
    }
    memcpy(out, reader->at, length);
    out[length] = '\0';
    reader->at += length;
    return true;
}

static void put(char *text, char byte) {
    size_t length = strlen(text);
    if (length + 1 < EXPOSITION_SERIES_MAX) {
        text[length] = byte;
        text[length + 1] = '\0';
    }
}

static void put_text(char *text, const char *more) {
    while (*more != '\0') {
        put(text, *more++);
    }
}

// Reads "value" with \\, \" and \n, appends it unescaped to `out`.
static bool read_label_value(Reader *reader, char *out) {
    if (*reader->at++ != '"') {
        return fail(reader, "a label's value has no quotes");
    }
    for (; *reader->at != '"'; reader->at++) {
        if (*reader->at == '\0' || *reader->at == '\n') {
            return fail(reader, "a label's value has no end");
        }
        if (*reader->at == '\\') {
            reader->at++;
            if (strchr("\\\"n", *reader->at) == NULL || *reader->at == '\0') {
                return fail(reader, "an escape is not \\\\, \\\" or \\n");
            }
            put(out, *reader->at == 'n' ? '\n' : *reader->at);
        } else {
            put(out, *reader->at);
        }
    }
    reader->at++;
    return true;
}

// Labels into `series` as they stand, all but le into `others`, and le's value.
static bool read_labels(Reader *reader, char *series, char *others, char *bound) {
    bool first = true;
    while (*reader->at != '}') {
        char name[NAME_MAX_BYTES], value[EXPOSITION_SERIES_MAX] = "";
        if (!first && *reader->at++ != ',') {
            return fail(reader, "a comma is missing between labels");
        }
        if (!read_name(reader, name, false)) {
            return false;
        }
        if (*reader->at++ != '=') {
            return fail(reader, "a label has no =");
        }
        if (!read_label_value(reader, value)) {
            return false;
        }
        char label[NAME_MAX_BYTES + EXPOSITION_SERIES_MAX + 8];
        snprintf(label, sizeof label, "%s%s=\"%s\"", first ? "" : ",", name, value);
        put_text(series, label);
        if (strcmp(name, "le") == 0) {
            memcpy(bound, value, sizeof value);
        } else {
            put_text(others, label);
        }
        first = false;
    }
    reader->at++;
    return true;
}

static bool read_value(Reader *reader, double *value) {
    if (*reader->at++ != ' ') {
        return fail(reader, "a space is missing before the value");
    }
    char *end;
    *value = strtod(reader->at, &end);
    if (end == reader->at || isspace((unsigned char)*reader->at) || *end != '\n') {
        return fail(reader, "the value is not a number that ends the line");
    }
    reader->at = end;
    return true;
}

static bool ends_in(const char *text, const char *end) {
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

// What a sample must be, by its family; the families come in blocks, so it is the last one.
static bool check_family(Reader *reader, const char *name, const char *others, const char *bound,
                         double value) {
    if (reader->out->families == 0) {
        return fail(reader, "a sample comes before any TYPE");
    }
    const Family *family = &reader->families[reader->out->families - 1];
    size_t length = strlen(family->name);
    const char *suffix = name + length;
    if (strncmp(name, family->name, length) != 0) {
        return fail(reader, "a sample is not of the family before it");
    }
    if (strcmp(family->type, "histogram") != 0) {
        bool counter = strcmp(family->type, "counter") == 0;
        return *suffix != '\0' || *bound != '\0' ? fail(reader, "a sample has another name")
               : counter && (value < 0 || !ends_in(name, "_total"))
                   ? fail(reader, "a counter is negative or does not end in _total")
                   : true;
    }
    if (strcmp(suffix, "_bucket") == 0) {
        double le = strcmp(bound, "+Inf") == 0 ? INFINITY : strtod(bound, NULL);
        bool next = reader->in_histogram && strcmp(others, reader->bucket_labels) == 0;
        if (next && (le <= reader->bucket_bound || value < reader->bucket_count)) {
            return fail(reader, "buckets do not ascend");
        }
        if (!next && reader->in_histogram) {
            return fail(reader, "a histogram ended without its count");
        }
        snprintf(reader->bucket_labels, sizeof reader->bucket_labels, "%s", others);
        reader->bucket_bound = le;
        reader->bucket_count = value;
        reader->in_histogram = true;
        reader->has_sum = false;
        return true;
    }
    if (!reader->in_histogram || strcmp(others, reader->bucket_labels) != 0 ||
        !isinf(reader->bucket_bound)) {
        return fail(reader, "a sum or count does not follow its +Inf bucket");
    }
    if (strcmp(suffix, "_sum") == 0) {
        reader->has_sum = true;
        return true;
    }
    reader->in_histogram = false;
    return strcmp(suffix, "_count") == 0 && reader->has_sum && value == reader->bucket_count
               ? true
               : fail(reader, "a histogram's count is not that of its last bucket");
}

static bool read_sample(Reader *reader) {
    char name[NAME_MAX_BYTES], others[EXPOSITION_SERIES_MAX] = "",
                               bound[EXPOSITION_SERIES_MAX] = "";
    Exposition *out = reader->out;
    if (out->count == EXPOSITION_SAMPLES_MAX) {
        return fail(reader, "more samples than the test has room for");
    }
    ExpositionSample *sample = &out->samples[out->count];
    sample->series[0] = '\0';
    if (!read_name(reader, name, true)) {
        return false;
    }
    put_text(sample->series, name);
    put(sample->series, '{');
    if (*reader->at == '{') {
        reader->at++;
        if (!read_labels(reader, sample->series, others, bound)) {
            return false;
        }
    }
    put(sample->series, '}');
    if (!read_value(reader, &sample->value)) {
        return false;
    }
    if (reader->strict && exposition_find(out, sample->series) != NULL) {
        return fail(reader, "a series is there twice");
    }
    out->count++;
    return !reader->strict || check_family(reader, name, others, bound, sample->value);
}

// "# HELP name text", "# TYPE name type": in this order, once a family.
static bool read_comment(Reader *reader) {
    bool help = strncmp(reader->at, "# HELP ", 7) == 0;
    if (!help && strncmp(reader->at, "# TYPE ", 7) != 0) {
        return true;
    }
    reader->at += 7;
    char name[NAME_MAX_BYTES];
    if (!read_name(reader, name, true)) {
        return false;
    }
    Exposition *out = reader->out;
    if (help) {
        if (reader->in_histogram) {
            return fail(reader, "a histogram ended without its count");
        }
        for (size_t i = 0; i < out->families; i++) {
            if (strcmp(reader->families[i].name, name) == 0) {
                return fail(reader, "a family is there twice");
            }
        }
        if (out->families == FAMILIES_MAX) {
            return fail(reader, "more families than the test has room for");
        }
        Family *family = &reader->families[out->families++];
        *family = (Family){0};
        memcpy(family->name, name, sizeof name);
        return true;
    }
    if (out->families == 0 || strcmp(reader->families[out->families - 1].name, name) != 0) {
        return fail(reader, "TYPE does not follow HELP");
    }
    Family *family = &reader->families[out->families - 1];
    if (sscanf(reader->at, " %15s", family->type) != 1 ||
        (strcmp(family->type, "counter") != 0 && strcmp(family->type, "gauge") != 0 &&
         strcmp(family->type, "histogram") != 0)) {
        return fail(reader, "a TYPE is not counter, gauge or histogram");
    }
    return true;
}

bool exposition_read(const char *text, bool strict, Exposition *out) {
    *out = (Exposition){0};
    Reader *reader = calloc(1, sizeof *reader);
    reader->out = out;
    reader->strict = strict;
    bool good = true;
    while (good && *text != '\0') {
        out->line++;
        const char *newline = strchr(text, '\n');
        if (newline == NULL) {
            good = fail(reader, "the last line has no end");
            break;
        }
        reader->at = text;
        good = *text == '#' ? read_comment(reader) : read_sample(reader);
        text = newline + 1;
    }
    if (good && reader->in_histogram) {
        good = fail(reader, "the last histogram has no count");
    }
    free(reader);
    return good;
}

const ExpositionSample *exposition_find(const Exposition *page, const char *series) {
    for (size_t i = 0; i < page->count; i++) {
        if (strcmp(page->samples[i].series, series) == 0) {
            return &page->samples[i];
        }
    }
    return NULL;
}
