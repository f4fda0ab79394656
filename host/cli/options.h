// SPDX-License-Identifier: Apache-2.0
// Command line options. The one table is options.def; this reads arguments by it, and settings.h
// reads a file and the environment by the same rows. Texts point into argv or into the table
// and are never copied.
#ifndef HOST_CLI_OPTIONS_H
#define HOST_CLI_OPTIONS_H

#include "base/arena.h"
#include "base/status.h"

#include <stddef.h>

typedef enum OptionKind {
    OPTION_FLAG,
    OPTION_TEXT,
    OPTION_TEXTS,
    OPTION_PATH,
    OPTION_PATHS,
    OPTION_NUMBER,
    OPTION_REAL,
    OPTION_CHOICE,
} OptionKind;

typedef enum CommandSet {
    COMMAND_CAPTION = 1,
    COMMAND_ASK = 2,
    COMMAND_LOGITS = 4,
    COMMAND_INFO = 8,
    COMMAND_QUANTIZE = 16,
    COMMAND_HELP = 32,
    COMMAND_TOKEN = 64,
    COMMAND_TOP = 128,
    COMMAND_SERVE = 256,
} CommandSet;

typedef enum OptionId {
#define OPTION(id, name, letter, argument, kind, preset, rule, commands, help) OPT_##id,
#include "host/cli/options.def"
#undef OPTION
    OPTION_COUNT
} OptionId;

typedef struct OptionRow {
    const char *name;     // without the dashes
    char letter;          // 0 = none
    const char *argument; // "" for flags
    OptionKind kind;
    const char *preset; // default as typed, "" = none
    const char *rule;
    unsigned commands; // set of CommandSet
    const char *help;
} OptionRow;

extern const OptionRow option_rows[OPTION_COUNT];

typedef struct OptionValue {
    bool given;        // by the caller (arguments, environment, file), not by the default
    const char *text;  // last one given, else the default; NULL when there is neither
    uint64_t number;   // NUMBER, and CHOICE whose words are numbers
    double real;       // REAL
    const char **list; // TEXTS and PATHS, in order
    uint32_t list_count;
} OptionValue;

typedef struct Options {
    OptionValue values[OPTION_COUNT];
    const char **operands; // arguments that are not options, in order
    uint32_t operand_count;
    Arena arena;
} Options;

// Reads argv[0 .. argc) for one command. Options and operands may be mixed; `--` ends options and
// `-` is an operand. E_ARGUMENT names the option and its rule; E_MEMORY. options_free in any case.
Status options_parse(CommandSet command, int argc, char **argv, Options *out, Error *error);
void options_free(Options *options);

// One option of `command` by its long name, from elsewhere than the arguments, as if it had been
// given there; a flag is true or false. `text` must outlive the options. E_ARGUMENT.
Status options_set(CommandSet command, const char *name, const char *text, Options *options,
                   Error *error);

#endif
