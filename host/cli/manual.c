// SPDX-License-Identifier: Apache-2.0
#include "host/cli/manual.h"

#include <string.h>

enum { TEXT_COLUMNS = 96, HELP_COLUMN = 30 };

typedef struct ExitRow {
    int status;
    const char *text;
} ExitRow;

static const ExitRow exit_rows[] = {
    {EXIT_GOOD, "all went well"},
    {EXIT_ITEMS, "finished, but some items failed; their records say why"},
    {EXIT_USAGE, "the command line is wrong"},
    {EXIT_START,
     "could not start, could not go on, or its output did not arrive; the message says what to do"},
    {EXIT_INTERRUPTED, "interrupted; with a journal the same command goes on"},
};

static const char bench_summary[] = "measure; `tessera bench --help` lists the benches";

// Appends `text` as lines of at most TEXT_COLUMNS columns, each after the first indented; the first
// starts at column `column`.
static void manual_wrap(Buffer *out, const char *text, size_t column, size_t indent) {
    while (*text != '\0') {
        size_t length = strcspn(text, " ");
        if (column > indent && column + length > TEXT_COLUMNS) {
            while (out->data[out->length - 1] == ' ') {
                out->length--;
            }
            buffer_printf(out, "\n%*s", (int)indent, "");
            column = indent;
        }
        buffer_append(out, text, length);
        column += length;
        text += length;
        if (*text == ' ') {
            text++;
            if (column < TEXT_COLUMNS && *text != '\0') {
                buffer_append_byte(out, ' ');
                column++;
            }
        }
    }
    while (out->length > 0 && out->data[out->length - 1] == ' ') {
        out->length--;
    }
    buffer_append_byte(out, '\n');
}

// "-m, --model MODEL"
static void manual_option_name(const OptionRow *row, Buffer *out) {
    if (row->letter != 0) {
        buffer_printf(out, "-%c, ", row->letter);
    }
    buffer_printf(out, "--%s%s%s", row->name, row->argument[0] != '\0' ? " " : "", row->argument);
}

// The help text with what is allowed and the default.
static void manual_option_text(const OptionRow *row, Buffer *out) {
    buffer_append_text(out, row->help);
    if (row->kind == OPTION_CHOICE) {
        buffer_append_text(out, "; one of ");
        for (const char *c = row->rule; *c != '\0'; c++) {
            *c == '|' ? buffer_append_text(out, ", ") : buffer_append_byte(out, (uint8_t)*c);
        }
    } else if (row->rule[0] != '\0') {
        const char *dots = strstr(row->rule, "..");
        buffer_printf(out, "; from %.*s to %s", (int)(dots - row->rule), row->rule, dots + 2);
    }
    if (row->preset[0] != '\0') {
        buffer_printf(out, " (default: %s)", row->preset);
    }
}

static bool manual_has(const OptionRow *row, const Command *command) {
    return (row->commands & (unsigned)command->set) != 0;
}

static void manual_usage(const Command *command, Buffer *out) {
    buffer_printf(out, "tessera %s%s%s [OPTION]...", command->name,
                  command->operands[0] != '\0' ? " " : "", command->operands);
}

void manual_overview(Buffer *out) {
    buffer_append_text(out, "usage: tessera COMMAND [ARGUMENTS]\n\n"
                            "Captions pictures and answers questions with Gemma 4.\n\n");
    for (size_t i = 0; i < command_count; i++) {
        if (!commands[i].hidden) {
            buffer_printf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
        }
    }
    buffer_printf(out, "  %-10s %s\n", "bench", bench_summary);
    buffer_append_text(out, "\ntessera COMMAND --help shows the options and examples of a command; "
                            "tessera --version\nshows the version.\n");
}

void manual_help(const Command *command, Buffer *out) {
    buffer_append_text(out, "usage: ");
    manual_usage(command, out);
    buffer_append_text(out, "\n\n");
    if (command->text[0] != '\0') {
        manual_wrap(out, command->text, 0, 0);
        buffer_append_byte(out, '\n');
    }
    buffer_append_text(out, "Options:\n");
    for (int i = 0; i < OPTION_COUNT; i++) {
        const OptionRow *row = &option_rows[i];
        if (!manual_has(row, command)) {
            continue;
        }
        size_t line = out->length;
        buffer_append_text(out, row->letter != 0 ? "  " : "      ");
        manual_option_name(row, out);
        size_t width = out->length - line;
        if (width + 2 > HELP_COLUMN) {
            buffer_append_byte(out, '\n');
            width = 0;
        }
        buffer_printf(out, "%*s", (int)(HELP_COLUMN - width), "");
        Buffer text = {0};
        manual_option_text(row, &text);
        manual_wrap(out, (const char *)text.data, HELP_COLUMN, HELP_COLUMN);
        buffer_free(&text);
    }
    if (command->examples[0] != '\0') {
        buffer_append_text(out, "\nExamples:\n");
        for (const char *line = command->examples; *line != '\0';) {
            size_t length = strcspn(line, "\n");
            buffer_printf(out, "  %.*s\n", (int)length, line);
            line += length + 1;
        }
    }
}

static void manual_bash_examples(const Command *command, Buffer *out) {
    for (const char *line = command->examples; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        bool comment = line[0] == ' ';
        buffer_printf(out, "%s%.*s\n", comment ? "#" : "", (int)(length - comment), line + comment);
        line += length + 1;
    }
}

void manual_markdown(Buffer *out) {
    buffer_append_text(out,
                       "# Command line\n"
                       "Made by `tessera help --markdown` from the option table "
                       "(`host/cli/options.def`) and the command table (`host/cli/command.c`).\n\n"
                       "| Command | What it does |\n|---|---|\n");
    for (size_t i = 0; i < command_count; i++) {
        if (!commands[i].hidden) {
            buffer_printf(out, "| [`tessera %s`](#tessera-%s) | %s |\n", commands[i].name,
                          commands[i].name, commands[i].summary);
        }
    }
    buffer_printf(out, "| `tessera bench` | %s |\n\n", bench_summary);
    buffer_append_text(out, "## Exit status\n| Status | Meaning |\n|---|---|\n");
    for (size_t i = 0; i < sizeof exit_rows / sizeof exit_rows[0]; i++) {
        buffer_printf(out, "| %d | %s |\n", exit_rows[i].status, exit_rows[i].text);
    }
    for (size_t i = 0; i < command_count; i++) {
        const Command *command = &commands[i];
        if (command->hidden) {
            continue;
        }
        buffer_printf(out, "\n## tessera %s\n`", command->name);
        manual_usage(command, out);
        buffer_printf(out, "`\n\n%s\n\n| Option | Meaning |\n|---|---|\n", command->text);
        for (int id = 0; id < OPTION_COUNT; id++) {
            const OptionRow *row = &option_rows[id];
            if (manual_has(row, command)) {
                buffer_append_text(out, "| `");
                manual_option_name(row, out);
                buffer_append_text(out, "` | ");
                Buffer text = {0};
                manual_option_text(row, &text);
                for (size_t at = 0; at < text.length; at++) {
                    if (text.data[at] == '<') {
                        buffer_append_byte(out, '\\');
                    }
                    buffer_append_text(out, text.data[at] == '|' ? "\\|" : "");
                    if (text.data[at] != '|') {
                        buffer_append_byte(out, text.data[at]);
                    }
                }
                buffer_free(&text);
                buffer_append_text(out, " |\n");
            }
        }
        buffer_append_text(out, "\n```bash\n");
        manual_bash_examples(command, out);
        buffer_append_text(out, "```\n");
    }
}

// Text of a manual page: a dash is written \-, and a line may not begin with a dot or a quote.
static void manual_roff(Buffer *out, const char *text) {
    for (bool start = true; *text != '\0'; text++) {
        if (start && (*text == '.' || *text == '\'')) {
            buffer_append_text(out, "\\&");
        }
        start = *text == '\n';
        if (*text == '-') {
            buffer_append_text(out, "\\-");
        } else if (*text == '\\') {
            buffer_append_text(out, "\\e");
        } else {
            buffer_append_byte(out, (uint8_t)*text);
        }
    }
}

static void manual_man_options(const Command *command, Buffer *out) {
    for (int id = 0; id < OPTION_COUNT; id++) {
        const OptionRow *row = &option_rows[id];
        if (!manual_has(row, command)) {
            continue;
        }
        Buffer text = {0};
        manual_option_name(row, &text);
        buffer_append_text(out, ".TP\n\\fB");
        manual_roff(out, (const char *)text.data);
        buffer_append_text(out, "\\fR\n");
        buffer_clear(&text);
        manual_option_text(row, &text);
        manual_roff(out, (const char *)text.data);
        buffer_append_byte(out, '\n');
        buffer_free(&text);
    }
}

void manual_man(Buffer *out) {
    buffer_append_text(out, ".\\\" Made by `tessera help --man`.\n"
                            ".TH TESSERA 1 \"\" \"tessera " TESSERA_VERSION "\"\n"
                            ".SH NAME\ntessera \\- captions pictures and answers questions with "
                            "Gemma 4\n.SH SYNOPSIS\n");
    for (size_t i = 0; i < command_count; i++) {
        if (!commands[i].hidden) {
            Buffer text = {0};
            manual_usage(&commands[i], &text);
            manual_roff(out, (const char *)text.data);
            buffer_append_text(out, "\n.br\n");
            buffer_free(&text);
        }
    }
    buffer_append_text(out, "tessera bench NAME [ARGUMENTS]\n");
    for (size_t i = 0; i < command_count; i++) {
        const Command *command = &commands[i];
        if (command->hidden) {
            continue;
        }
        buffer_append_text(out, ".SH ");
        for (const char *c = command->name; *c != '\0'; c++) {
            buffer_append_byte(out, (uint8_t)(*c - 'a' + 'A'));
        }
        buffer_append_byte(out, '\n');
        manual_roff(out, command->text);
        buffer_append_byte(out, '\n');
        manual_man_options(command, out);
        buffer_append_text(out, ".PP\nExamples:\n.PP\n.nf\n");
        manual_roff(out, command->examples);
        buffer_append_text(out, ".fi\n");
    }
    buffer_append_text(out, ".SH EXIT STATUS\n");
    for (size_t i = 0; i < sizeof exit_rows / sizeof exit_rows[0]; i++) {
        buffer_printf(out, ".TP\n\\fB%d\\fR\n", exit_rows[i].status);
        manual_roff(out, exit_rows[i].text);
        buffer_append_byte(out, '\n');
    }
    buffer_append_text(out, ".SH ENVIRONMENT\n.TP\n\\fBTESSERA_MODEL\\fR\n"
                            "the model when \\-\\-model is not given\n");
}

void manual_completion(Buffer *out) {
    buffer_append_text(
        out, "# Completion of `tessera` for bash. Made by `tessera help --completion`.\n"
             "# Source it, or put it into /usr/share/bash-completion/completions/tessera\n"
             "_tessera() {\n"
             "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}\n"
             "    COMPREPLY=()\n"
             "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
             "        mapfile -t COMPREPLY < <(compgen -W '");
    for (size_t i = 0; i < command_count; i++) {
        if (!commands[i].hidden) {
            buffer_printf(out, "%s ", commands[i].name);
        }
    }
    buffer_append_text(out, "bench --help --version' -- \"$current\")\n"
                            "        return\n    fi\n    case $previous in\n");
    for (int id = 0; id < OPTION_COUNT; id++) {
        const OptionRow *row = &option_rows[id];
        if (row->kind == OPTION_FLAG || row->kind == OPTION_PATH || row->kind == OPTION_PATHS) {
            continue;
        }
        buffer_printf(out, "    --%s", row->name);
        if (row->letter != 0) {
            buffer_printf(out, " | -%c", row->letter);
        }
        buffer_append_text(out, ") ");
        if (row->kind == OPTION_CHOICE) {
            buffer_append_text(out, "mapfile -t COMPREPLY < <(compgen -W '");
            for (const char *c = row->rule; *c != '\0'; c++) {
                buffer_append_byte(out, *c == '|' ? ' ' : (uint8_t)*c);
            }
            buffer_append_text(out, "' -- \"$current\"); ");
        }
        buffer_append_text(out, "return ;;\n");
    }
    buffer_append_text(out, "    esac\n    if [[ $current == -* ]]; then\n"
                            "        case ${COMP_WORDS[1]} in\n");
    for (size_t i = 0; i < command_count; i++) {
        if (commands[i].hidden) {
            continue;
        }
        buffer_printf(out, "        %s) mapfile -t COMPREPLY < <(compgen -W '", commands[i].name);
        for (int id = 0; id < OPTION_COUNT; id++) {
            if (manual_has(&option_rows[id], &commands[i])) {
                buffer_printf(out, "--%s ", option_rows[id].name);
            }
        }
        out->length--;
        buffer_append_text(out, "' -- \"$current\") ;;\n");
    }
    buffer_append_text(out, "        esac\n        return\n    fi\n"
                            "    mapfile -t COMPREPLY < <(compgen -f -- \"$current\")\n"
                            "}\n"
                            "complete -o filenames -F _tessera tessera\n");
}
