// SPDX-License-Identifier: Apache-2.0
// tessera quantize: a Hugging Face folder to one packed file.
#include "host/cli/command.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/file_write.h"
#include "host/cli/model_options.h"
#include "host/cli/say.h"
#include "host/cli/summary.h"
#include "host/interrupt.h"
#include "weights/pack_file.h"

#include <string.h>
#include <sys/stat.h>

static void quantize_say(const Options *options, const char *text, uint64_t begin_ns) {
    if (!options->values[OPT_QUIET].given) {
        say("%7.2f s  %s", (double)(clock_ns() - begin_ns) * 1e-9, text);
    }
}

// A file that can be opened again; a pipe or a device cannot.
static bool quantize_keeps(const char *path) {
    return strcmp(path, "-") != 0 && file_is_regular(path);
}

static Status quantize_pack(const Runtime *runtime, const Options *options, uint64_t begin_ns,
                            Error *error) {
    const char *path = options->values[OPT_OUTPUT].text;
    Bytes tokenizer =
        runtime->tokenizer != NULL ? tokenizer_tables(runtime->tokenizer) : (Bytes){0};
    quantize_say(options, "writing the packed file", begin_ns);
    TRY(pack_file_write(runtime->weights, tokenizer, path, error));
    if (!quantize_keeps(path)) {
        return OK;
    }
    quantize_say(options, "reading it back and comparing checksums", begin_ns);
    return weights_verify(path, error);
}

static Exit quantize_run(Runtime *runtime, const Options *options, uint64_t begin_ns,
                         Error *error) {
    const OptionValue *v = options->values;
    const char *path = v[OPT_OUTPUT].text;
    if (options->operand_count != 1 || path == NULL) {
        error_set(error, E_ARGUMENT, "name one MODEL and the file to write with -o FILE");
        return EXIT_USAGE;
    }
    if (file_write_check(path, error) != OK) {
        return EXIT_START;
    }
    interrupt_install_ending();
    const RuntimeOptions open = {
        .model = options->operands[0],
        .weights = model_options_weights(options),
    };
    quantize_say(options, "reading and converting the weights", begin_ns);
    Status status = runtime_open_weights(&open, runtime, error);
    if (status == OK) {
        status = quantize_pack(runtime, options, begin_ns, error);
    }
    return status == OK ? EXIT_GOOD : command_start_exit(status);
}

static void quantize_summary(const Runtime *runtime, const char *path, bool good, double seconds) {
    struct stat info;
    char level[16];
    Buffer more = {0};
    if (good) {
        runtime_level_text(runtime, level);
        buffer_append_text(&more, level);
    }
    if (good && quantize_keeps(path) && stat(path, &info) == 0) {
        buffer_printf(&more, ", %.1f MiB in %s", (double)info.st_size / (1024.0 * 1024.0), path);
    }
    summary_print_file("written", good, seconds, (const char *)more.data);
    buffer_free(&more);
}

Exit command_quantize(const Options *options) {
    Runtime runtime = {0};
    Error error = {0};
    uint64_t begin_ns = clock_ns();
    Exit result = quantize_run(&runtime, options, begin_ns, &error);
    if (result != EXIT_GOOD) {
        command_fail("quantize", &error, result);
    }
    if (result != EXIT_USAGE && !options->values[OPT_QUIET].given) {
        quantize_summary(&runtime, options->values[OPT_OUTPUT].text, result == EXIT_GOOD,
                         (double)(clock_ns() - begin_ns) * 1e-9);
    }
    runtime_close(&runtime);
    return result;
}
