// SPDX-License-Identifier: Apache-2.0
// The journal of a captioning run: a file of JSON records, one line each, only ever appended to. A
// line is one write, so a killed run leaves whole lines and at most one cut line at the end, which
// the next open removes. A record is found again by what made it: the file's name and content, the
// prompt, the model and the settings. A later record of the same key counts instead of an earlier.
//
// One process at a time holds a journal (flock). journal_find may be called from any thread while
// journal_append runs in another: the index is built by journal_open and never changes.
#ifndef HOST_JOBS_JOURNAL_H
#define HOST_JOBS_JOURNAL_H

#include "base/bytes.h"
#include "base/hash.h"
#include "base/status.h"

typedef struct Journal Journal;

// One record. Texts are borrowed; NULL where there is none.
typedef struct Record {
    const char *file;
    const char *id;       // content hash, 32 hexadecimal digits; NULL when it could not be read
    const char *prompt;   // hash of all that makes the prompt
    const char *model;    // Weights.identity
    const char *settings; // hash of what else changes the answer
    const char *weights;  // level, for people
    uint64_t seed;
    Status error;           // OK = a caption
    const char *error_text; // when error != OK
    Bytes caption;
    const char *finish; // "stop", "length"
    uint32_t tokens_in, tokens_out, tokens_image;
    double ms;      // from first read to last token
    Bytes logprobs; // a JSON array, or empty
} Record;

// Opens or makes a journal; "-" is standard output, which has no past. E_ARGUMENT: the file exists
// and is not a journal (it is left untouched; the text names the line), E_BUSY: another process
// writes it, E_IO, E_MEMORY.
Status journal_open(const char *path, Journal **out, Error *error);

// Makes what was written durable and closes. E_IO.
Status journal_close(Journal *journal, Error *error);

// E_IO: the disk is full or gone; nothing of the line stays in the file.
Status journal_append(Journal *journal, const Record *record, Error *error);

typedef struct JournalPlace {
    uint64_t offset; // of the line
    uint32_t length; // without the newline
    bool is_error;
} JournalPlace;

// Looks for a record with the key fields of `record` (file, id, prompt, model, settings).
bool journal_find(const Journal *journal, const Record *record, JournalPlace *place);

// What a report needs of an old record.
typedef struct JournalEntry {
    Buffer caption; // freed by the caller
    Buffer error_text;
    uint32_t tokens_in, tokens_out;
    double ms;
} JournalEntry;

Status journal_read(const Journal *journal, JournalPlace place, JournalEntry *out, Error *error);
void journal_entry_free(JournalEntry *entry);

uint64_t journal_cut_bytes(const Journal *journal); // of an unfinished line that open removed

#endif
