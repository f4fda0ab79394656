// SPDX-License-Identifier: Apache-2.0
// Megabytes of text per second of tokenizer_encode on one thread, and how long a tokenizer takes to
// open from tokenizer.json and from its flat form. bench/text_peers.py measures the `tokenizers`
// package on the same files, cut into the same pieces; run both in one sitting.
#include "bench/arguments.h"
#include "bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/num.h"
#include "bench/row.h"
#include "host/text/detok.h"

enum { FILES_MAX = 256, FILE_BYTES_MAX = 1 << 28, OPEN_ROUNDS = 5 };

typedef struct Options {
    const char *tokenizer;
    const char *files[FILES_MAX];
    size_t file_count;
    uint32_t piece_bytes;
    double seconds;
} Options;

static bool read_operand(const char *operand, void *at) {
    Options *options = at;
    if (options->tokenizer == NULL) {
        options->tokenizer = operand;
    } else if (options->file_count < FILES_MAX) {
        options->files[options->file_count++] = operand;
    }
    return true;
}

// ARGUMENTS_GO_ON or the exit status.
static int read_options(int argc, char **argv, Options *options) {
    *options = (Options){.piece_bytes = 4096, .seconds = 5};
    const Argument rows[] = {
        ROW_COUNT("--piece", "N", "bytes of a piece, about (default 4096)", &options->piece_bytes,
                  1, FILE_BYTES_MAX),
        ROW_REAL("--seconds", "S", "how long it is measured (default 5)", &options->seconds, 0,
                 1e9),
    };
    const Arguments arguments = {
        .bench = "text",
        .operands = "TOKENIZER.json FILE...",
        .about =
            "Encodes the files in pieces, cut after a newline where there is one, again and again\n"
            "on one thread. bench/text_peers.py takes the same arguments.\n",
        .rows = rows,
        .row_count = sizeof rows / sizeof rows[0],
        .operand = read_operand,
        .at = options,
    };
    return arguments_read(&arguments, argc, argv);
}

// The end of the piece that begins at `begin`: after the last newline of the next `bytes` bytes, or
// where they end, moved left to the beginning of a code point.
static size_t piece_end(Bytes text, size_t begin, size_t bytes) {
    size_t limit = begin + num_min(bytes, text.length - begin);
    if (limit == text.length) {
        return limit;
    }
    const uint8_t *newline = memrchr(text.data + begin, '\n', limit - begin);
    if (newline != NULL) {
        return (size_t)(newline - text.data) + 1;
    }
    while (limit > begin + 1 && (text.data[limit] & 0xc0) == 0x80) {
        limit--;
    }
    return limit;
}

typedef struct Encoder {
    const Tokenizer *tokenizer;
    TokenizerScratch *scratch;
    size_t piece_bytes;
} Encoder;

static Status encode_all(const Encoder *encoder, Bytes text, TokenList *tokens, size_t *token_count,
                         Error *error) {
    *token_count = 0;
    for (size_t at = 0; at < text.length;) {
        size_t end = piece_end(text, at, encoder->piece_bytes);
        tokens->count = 0;
        Status status = tokenizer_encode(encoder->tokenizer, (Bytes){text.data + at, end - at},
                                         TOKENIZER_PLAIN, encoder->scratch, tokens, error);
        if (status != OK) {
            return status;
        }
        *token_count += tokens->count;
        at = end;
    }
    return OK;
}

// Decoding what was encoded gives the text back (where the text has no space mark of its own).
static Status check(const Tokenizer *tokenizer, Bytes text, TokenizerScratch *scratch,
                    Error *error) {
    TokenList tokens = {0};
    Buffer back = {0};
    Status status = tokenizer_encode(tokenizer, text, TOKENIZER_PLAIN, scratch, &tokens, error);
    detok_all(tokenizer, tokens.ids, tokens.count, false, &back);
    if (status == OK && !bytes_equal((Bytes){back.data, back.length}, text)) {
        status = error_set(error, E_INTERNAL, "decoding does not give the text back");
    }
    token_list_free(&tokens);
    buffer_free(&back);
    return status;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Medians over a few rounds, in milliseconds.
static Status measure_open(const Options *options, Tokenizer **out, Error *error) {
    double json_ms[OPEN_ROUNDS], blob_ms[OPEN_ROUNDS];
    Buffer blob = {0};
    Tokenizer *tokenizer = NULL;
    for (int round = 0; round < OPEN_ROUNDS; round++) {
        tokenizer_close(tokenizer);
        uint64_t begin = clock_ns();
        Status status = tokenizer_open_json(options->tokenizer, &tokenizer, error);
        json_ms[round] = (double)(clock_ns() - begin) * 1e-6;
        if (status != OK) {
            return status;
        }
        buffer_clear(&blob);
        Tokenizer *view = NULL;
        Bytes tables = tokenizer_tables(tokenizer);
        buffer_append(&blob, tables.data, tables.length);
        begin = clock_ns();
        status = blob.failed ? error_set(error, E_MEMORY, "no memory for a tokenizer")
                             : tokenizer_open_blob((Bytes){blob.data, blob.length}, &view, error);
        blob_ms[round] = (double)(clock_ns() - begin) * 1e-6;
        tokenizer_close(view);
        if (status != OK) {
            tokenizer_close(tokenizer);
            buffer_free(&blob);
            return status;
        }
    }
    qsort(json_ms, OPEN_ROUNDS, sizeof(double), compare_doubles);
    qsort(blob_ms, OPEN_ROUNDS, sizeof(double), compare_doubles);
    fprintf(stderr, "%-36s %9.1f ms from JSON, %.2f ms from %zu bytes of flat form\n",
            options->tokenizer, json_ms[OPEN_ROUNDS / 2], blob_ms[OPEN_ROUNDS / 2], blob.length);
    Row row = row_begin("text", "open");
    row_text(&row, "peer", "tessera");
    row_text(&row, "tokenizer", options->tokenizer);
    row_number(&row, "vocabulary", tokenizer_vocab_size(tokenizer));
    row_number(&row, "json_ms", json_ms[OPEN_ROUNDS / 2]);
    row_number(&row, "flat_ms", blob_ms[OPEN_ROUNDS / 2]);
    row_number(&row, "flat_bytes", (double)blob.length);
    row_end(&row);
    buffer_free(&blob);
    *out = tokenizer;
    return OK;
}

static Status measure_file(const Options *options, const char *path, const Tokenizer *tokenizer,
                           TokenizerScratch *scratch, Error *error) {
    Buffer file = {0};
    TokenList tokens = {0};
    size_t token_count = 0, rounds = 0;
    const Encoder encoder = {tokenizer, scratch, options->piece_bytes};
    Status status = file_read(path, FILE_BYTES_MAX, &file, error);
    Bytes text = {file.data, file.length};
    if (status == OK) {
        status = check(tokenizer, text, scratch, error);
    }
    uint64_t begin = clock_ns(), cpu_begin = clock_thread_ns(), now = begin;
    while (status == OK && (double)(now - begin) < options->seconds * 1e9) {
        status = encode_all(&encoder, text, &tokens, &token_count, error);
        rounds++;
        now = clock_ns();
    }
    if (status == OK) {
        double megabytes = (double)text.length * (double)rounds * 1e-6;
        double rate = megabytes / ((double)(now - begin) * 1e-9);
        double cpu_rate = megabytes / ((double)(clock_thread_ns() - cpu_begin) * 1e-9);
        fprintf(stderr, "%-36s %9.2f MB/s %9.2f MB/cpu-s %10zu tokens\n", path, rate, cpu_rate,
                token_count);
        Row row = row_begin("text", path);
        row_text(&row, "peer", "tessera");
        row_text(&row, "tokenizer", options->tokenizer);
        row_number(&row, "piece_bytes", (double)options->piece_bytes);
        row_number(&row, "bytes", (double)text.length);
        row_number(&row, "tokens", (double)token_count);
        row_number(&row, "threads", 1);
        row_number(&row, "mb_per_s", rate);
        row_number(&row, "mb_per_cpu_s", cpu_rate);
        row_end(&row);
    }
    token_list_free(&tokens);
    buffer_free(&file);
    return status;
}

int bench_text(int argc, char **argv) {
    Options options;
    int wrong = read_options(argc, argv, &options);
    if (wrong != ARGUMENTS_GO_ON) {
        return wrong;
    }
    Error error = {0};
    Tokenizer *tokenizer = NULL;
    TokenizerScratch scratch = {0};
    Status status = measure_open(&options, &tokenizer, &error);
    for (size_t i = 0; i < options.file_count && status == OK; i++) {
        status = measure_file(&options, options.files[i], tokenizer, &scratch, &error);
        if (status != OK) {
            error_prefix(&error, status, "%s", options.files[i]);
        }
    }
    if (status != OK) {
        fprintf(stderr, "tessera bench text: %s\n", error.text);
    }
    tokenizer_scratch_free(&scratch);
    tokenizer_close(tokenizer);
    return status == OK ? 0 : 1;
}
