// SPDX-License-Identifier: Apache-2.0
#include "host/jobs/journal.h"

#include "base/check.h"
#include "base/file.h"
#include "base/json.h"
#include "base/json_write.h"
#include "base/name_set.h"
#include "base/num.h"
#include "base/text.h"
#include "host/interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

// How every line begins: tells a cut first line of ours from somebody else's file.
static const char journal_mark[] = "{\"file\":";

struct Journal {
    char *path;
    int fd;
    bool is_stream;  // standard output: no past, no truncation
    uint64_t length; // bytes in the file = where the next line begins
    uint64_t cut_bytes;
    NameSet keys;         // of all records
    JournalPlace *places; // [place_capacity] the latest one of each key
    size_t place_capacity;
    Buffer line;
};

// `file` are the very bytes of the name, among which there is no zero.
static Hash128 journal_key(Bytes file, const char *id, const char *prompt, const char *model,
                           const char *settings) {
    Buffer text = {0};
    buffer_append(&text, file.data, file.length);
    buffer_append_byte(&text, 0);
    buffer_printf(&text, "%s|%s|%s|%s", id != NULL ? id : "", prompt, model, settings);
    Hash128 key = hash128((Bytes){text.data, text.length});
    buffer_free(&text);
    return key;
}

static bool journal_grow(Journal *journal) {
    if (journal->keys.count < journal->place_capacity) {
        return true;
    }
    size_t capacity = journal->place_capacity == 0 ? 128 : journal->place_capacity * 2;
    JournalPlace *places = realloc(journal->places, capacity * sizeof *places);
    if (places != NULL) {
        journal->places = places;
        journal->place_capacity = capacity;
    }
    return places != NULL;
}

static Status journal_put(Journal *journal, Hash128 key, JournalPlace place, Error *error) {
    size_t number;
    if (!journal_grow(journal) || !name_set_put(&journal->keys, key, &number)) {
        return error_set(error, E_MEMORY, "%s: no memory for %zu records", journal->path,
                         journal->keys.count);
    }
    journal->places[number] = place;
    return OK;
}

static const char *journal_text(const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

static int journal_digit(char digit) {
    return digit >= '0' && digit <= '9'   ? digit - '0'
           : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
                                          : -1;
}

// The bytes of a record's name: those of "file_hex", if it has that, else its text. False: it has
// no name, or one that cannot be read.
static bool journal_read_name(const json_t *root, Buffer *out) {
    const json_t *file = json_object_get(root, "file"), *hex = json_object_get(root, "file_hex");
    if (!json_is_string(file) || (hex != NULL && !json_is_string(hex))) {
        return false;
    }
    if (hex == NULL) {
        buffer_append(out, json_string_value(file), json_string_length(file));
        return !out->failed;
    }
    const char *digits = json_string_value(hex);
    for (; digits[0] != '\0'; digits += 2) {
        int high = journal_digit(digits[0]), low = journal_digit(digits[1]);
        if (high < 0 || low < 0) {
            return false;
        }
        buffer_append_byte(out, (uint8_t)(high << 4 | low));
    }
    return !out->failed;
}

// One whole line into the index.
static Status journal_index_line(Journal *journal, Bytes line, uint64_t offset, uint64_t number,
                                 Error *error) {
    json_t *root = NULL;
    Buffer name = {0};
    if (text_trim(line).length == 0) {
        return OK; // somebody's empty line
    }
    if (json_parse(line, journal->path, &root, NULL) != OK || !journal_read_name(root, &name)) {
        json_decref(root);
        buffer_free(&name);
        return error_set(error, E_ARGUMENT,
                         "%s: line %llu is not a record of a journal; name another output file, or "
                         "remove the line if it was damaged",
                         journal->path, (unsigned long long)number);
    }
    JournalPlace place = {offset, (uint32_t)line.length,
                          json_is_object(json_object_get(root, "error"))};
    Hash128 key = journal_key((Bytes){name.data, name.length}, journal_text(root, "id"),
                              journal_text(root, "prompt"), journal_text(root, "model"),
                              journal_text(root, "settings"));
    json_decref(root);
    buffer_free(&name);
    return journal_put(journal, key, place, error);
}

// Reads the past: every whole line into the index, a cut line at the end away.
static Status journal_index(Journal *journal, Bytes bytes, Error *error) {
    uint64_t number = 0;
    size_t begin = bytes.length - text_skip_mark(bytes).length, at = begin;
    while (at < bytes.length) {
        const uint8_t *end = memchr(bytes.data + at, '\n', bytes.length - at);
        if (end == NULL) {
            break;
        }
        size_t length = (size_t)(end - bytes.data) - at;
        TRY(journal_index_line(journal, (Bytes){bytes.data + at, length}, at, ++number, error));
        at += length + 1;
    }
    size_t rest = bytes.length - at;
    // After a record any rest is a cut line; in a file without records it must begin as ours do.
    size_t marked = num_min(rest, sizeof journal_mark - 1);
    bool ours = at == begin && (marked == 0 || memcmp(bytes.data + at, journal_mark, marked) == 0);
    if (journal->keys.count == 0 && bytes.length > begin && !ours) {
        return error_set(error, E_ARGUMENT,
                         "%s: is not a journal of captions; name another output file",
                         journal->path);
    }
    journal->length = at;
    journal->cut_bytes = rest;
    return OK;
}

static Status journal_open_file(Journal *journal, Error *error) {
    journal->fd = open(journal->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
    struct stat info;
    if (journal->fd < 0 || fstat(journal->fd, &info) != 0) {
        return error_set(error, E_IO, "%s: cannot be opened for writing: %s", journal->path,
                         strerror(errno));
    }
    if (!S_ISREG(info.st_mode)) {
        return error_set(error, E_ARGUMENT, "%s: is not a regular file; use -o - for a pipe",
                         journal->path);
    }
    if (flock(journal->fd, LOCK_EX | LOCK_NB) != 0) {
        return error_set(error, E_BUSY, "%s: another process is writing this journal",
                         journal->path);
    }
    FileMap map;
    TRY(file_map_open(journal->path, &map, error));
    Status status = journal_index(journal, map.bytes, error);
    file_map_close(&map);
    if (status == OK && journal->cut_bytes > 0 &&
        ftruncate(journal->fd, (off_t)journal->length) != 0) {
        status = error_set(error, E_IO, "%s: its unfinished last line cannot be removed: %s",
                           journal->path, strerror(errno));
    }
    return status;
}

Status journal_open(const char *path, Journal **out, Error *error) {
    *out = NULL;
    Journal *journal = calloc(1, sizeof *journal);
    if (journal == NULL || (journal->path = strdup(path)) == NULL) {
        free(journal);
        return error_set(error, E_MEMORY, "%s: no memory for a journal", path);
    }
    journal->fd = -1;
    Status status = OK;
    if (strcmp(path, "-") == 0) {
        journal->is_stream = true;
        journal->fd = STDOUT_FILENO;
    } else {
        status = journal_open_file(journal, error);
    }
    if (status != OK) {
        journal_close(journal, NULL);
        return status;
    }
    *out = journal;
    return OK;
}

Status journal_close(Journal *journal, Error *error) {
    if (journal == NULL) {
        return OK;
    }
    Status status = OK;
    if (!journal->is_stream && journal->fd >= 0) {
        bool good = fdatasync(journal->fd) == 0;
        good = close(journal->fd) == 0 && good;
        if (!good) {
            status = error_set(error, E_IO, "%s: could not be made durable: %s", journal->path,
                               strerror(errno));
        }
    }
    buffer_free(&journal->line);
    name_set_free(&journal->keys);
    free(journal->places);
    free(journal->path);
    free(journal);
    return status;
}

static void journal_write_text(JsonWriter *writer, const char *name, const char *text) {
    if (text != NULL) {
        json_write_text(writer, name, bytes_of_text(text));
    } else {
        json_write_null(writer, name);
    }
}

// Readable, and beside it the very bytes where the reader could not have them back from that.
static void journal_write_name(JsonWriter *writer, const char *file) {
    Bytes name = bytes_of_text(file);
    json_write_text(writer, "file", name);
    if (text_is_utf8(name, NULL)) {
        return;
    }
    Buffer hex = {0};
    for (size_t i = 0; i < name.length; i++) {
        buffer_printf(&hex, "%02x", name.data[i]);
    }
    json_write_text(writer, "file_hex", (Bytes){hex.data, hex.length});
    writer->out->failed = writer->out->failed || hex.failed;
    buffer_free(&hex);
}

static void journal_format(const Record *record, Buffer *line) {
    JsonWriter writer = {.out = line};
    json_write_open(&writer, NULL, '{');
    journal_write_name(&writer, record->file);
    journal_write_text(&writer, "id", record->id);
    if (record->error == OK) {
        json_write_text(&writer, "caption", record->caption);
        journal_write_text(&writer, "finish", record->finish);
        json_write_unsigned(&writer, "tokens_in", record->tokens_in);
        json_write_unsigned(&writer, "tokens_image", record->tokens_image);
        json_write_unsigned(&writer, "tokens_out", record->tokens_out);
    }
    json_write_real(&writer, "ms", record->ms, 6);
    journal_write_text(&writer, "model", record->model);
    journal_write_text(&writer, "weights", record->weights);
    journal_write_text(&writer, "prompt", record->prompt);
    journal_write_text(&writer, "settings", record->settings);
    json_write_unsigned(&writer, "seed", record->seed);
    if (record->error == OK) {
        json_write_null(&writer, "error");
    } else {
        json_write_open(&writer, "error", '{');
        journal_write_text(&writer, "code", status_name(record->error));
        journal_write_text(&writer, "text", record->error_text);
        json_write_close(&writer, '}');
    }
    if (record->logprobs.length > 0) {
        buffer_append_text(line, ",\"logprobs\":");
        buffer_append(line, record->logprobs.data, record->logprobs.length);
    }
    json_write_close(&writer, '}');
    buffer_append_byte(line, '\n');
}

// One write for a file. A pipe may take a line in pieces; the pieces follow each other at once.
static bool journal_write(int fd, Bytes line, bool in_pieces) {
    for (;;) {
        ssize_t count = write(fd, line.data, line.length);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return false;
        }
        if ((size_t)count == line.length) {
            return true;
        }
        if (!in_pieces) {
            errno = ENOSPC;
            return false;
        }
        line.data += count;
        line.length -= (size_t)count;
    }
}

Status journal_append(Journal *journal, const Record *record, Error *error) {
    Buffer *line = &journal->line;
    buffer_clear(line);
    journal_format(record, line);
    if (line->failed) {
        return error_set(error, E_MEMORY, "%s: no memory for a record", journal->path);
    }
    interrupt_guard_begin();
    bool good = journal_write(journal->fd, (Bytes){line->data, line->length}, journal->is_stream);
    int reason = errno;
    if (!good && !journal->is_stream) {
        int result = ftruncate(journal->fd, (off_t)journal->length);
        (void)result; // a cut line that stays is removed by the next open
    }
    interrupt_guard_end();
    if (!good) {
        return error_set(error, E_IO, "%s: a record cannot be written: %s", journal->path,
                         strerror(reason));
    }
    journal->length += line->length;
    return OK;
}

bool journal_find(const Journal *journal, const Record *record, JournalPlace *place) {
    Hash128 key = journal_key(bytes_of_text(record->file), record->id, record->prompt,
                              record->model, record->settings);
    size_t number;
    bool found = name_set_find(&journal->keys, key, &number);
    if (found) {
        *place = journal->places[number];
    }
    return found;
}

Status journal_read(const Journal *journal, JournalPlace place, JournalEntry *out, Error *error) {
    *out = (JournalEntry){0};
    uint8_t *line = malloc((size_t)place.length + 1);
    if (line == NULL) {
        return error_set(error, E_MEMORY, "%s: no memory for a record", journal->path);
    }
    json_t *root = NULL;
    Status status = OK;
    if (pread(journal->fd, line, place.length, (off_t)place.offset) != (ssize_t)place.length) {
        status = error_set(error, E_IO, "%s: a record cannot be read again", journal->path);
    } else {
        status = json_parse((Bytes){line, place.length}, journal->path, &root, error);
    }
    free(line);
    if (status != OK) {
        return status;
    }
    const json_t *caption = json_object_get(root, "caption");
    if (json_is_string(caption)) {
        buffer_append(&out->caption, json_string_value(caption), json_string_length(caption));
    }
    buffer_append_text(&out->error_text, journal_text(json_object_get(root, "error"), "text"));
    out->tokens_in = (uint32_t)json_integer_value(json_object_get(root, "tokens_in"));
    out->tokens_out = (uint32_t)json_integer_value(json_object_get(root, "tokens_out"));
    out->ms = json_number_value(json_object_get(root, "ms"));
    json_decref(root);
    return OK;
}

void journal_entry_free(JournalEntry *entry) {
    buffer_free(&entry->caption);
    buffer_free(&entry->error_text);
}

uint64_t journal_cut_bytes(const Journal *journal) {
    return journal->cut_bytes;
}
