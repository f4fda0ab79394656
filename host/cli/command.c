// SPDX-License-Identifier: Apache-2.0
#include "host/cli/command.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/standard.h"
#include "host/cli/manual.h"
#include "host/cli/say.h"
#include "host/cli/settings.h"
#include "host/media/extensions.h"
#include "rpc/methods.h"

#include <string.h>
#include <unistd.h>

const Command commands[] = {
    {
        .set = COMMAND_CAPTION,
        .name = "caption",
        .operands = "PATH...",
        .summary = "write a caption for every picture",
        .text =
            "A PATH is a picture, a folder (searched with its subfolders for " MEDIA_EXTENSIONS_TEXT
            "), a pattern such as 'photos/*.jpg' or 'photos/**/*.jpg' (quoted or not), or - for a "
            "list of paths from standard input. A search passes over hidden names (.NAME, @eaDir, "
            "__MACOSX and the like) and counts them; other picture formats are counted by name. "
            "Every picture is captioned once, many at the same time. Lines FILE "
            "TAB CAPTION go to standard output as they are finished (control codes written as in "
            "C), progress and a summary to "
            "standard error. A picture that cannot be read becomes an error record and the others "
            "go on. With -o FILE the run can be interrupted (Ctrl-C, or a crash) at any time; the "
            "same command then goes on where it stopped, and does nothing twice as long as the "
            "picture, the prompt, the model and the settings are the same. With --server a server "
            "computes instead of this program; all else is the same, and a journal may go on "
            "either way.",
        .examples =
            "tessera caption photos -m examples/demo-model -o captions.jsonl --html captions.html\n"
            "  a folder; the same line again goes on after an interruption\n"
            "tessera caption 'photos/*.jpg' -m gemma-4-12b.tessera -p 'One sentence: what is "
            "shown?' --sidecar\n"
            "  a pattern, with NAME.txt beside every picture\n"
            "find photos -newer last -print0 | tessera caption -0 - -m MODEL -o -\n"
            "  a list; records to standard output\n"
            "tessera caption photos --server unix:/run/tessera/tessera.sock -o captions.jsonl\n"
            "  by a running server\n",
        .run = command_caption,
    },
    {
        .set = COMMAND_ASK,
        .name = "ask",
        .operands = "QUESTION",
        .summary = "ask one question, with or without pictures",
        .text = "The answer is printed as it is made. QUESTION - reads the question from standard "
                "input. With --server a server computes instead of this program.",
        .examples =
            "tessera ask 'How many objects are there?' --image scene.png -m examples/demo-model\n"
            "  one picture\n"
            "tessera ask 'What changed?' -i before.jpg -i after.jpg --thinking -m MODEL\n"
            "  two pictures, thoughts on standard error\n"
            "tessera ask 'Name a colour.' --json --logprobs 5 --temperature 0.7 --seed 3 -m MODEL\n"
            "  the answer with log probabilities as JSON\n",
        .run = command_ask,
    },
    {
        .set = COMMAND_LOGITS,
        .name = "logits",
        .operands = "",
        .summary = "write the raw logits of every position",
        .text = "Writes a NumPy file of shape [positions][vocabulary], 32-bit floats, so that "
                "anyone can compare this engine with another. The prompt is taken verbatim: no "
                "chat template and no <bos> is added.",
        .examples = "tessera logits -m MODEL --text '<bos>Hello' -o logits.npy\n"
                    "  a text\n"
                    "tessera logits -m MODEL --tokens 2,105,2364,107 -o logits.npy\n"
                    "  token ids\n"
                    "tessera logits -m MODEL --text '<bos><|image|>Describe.' --image a.jpg "
                    "-o logits.npy\n"
                    "  with a picture\n",
        .run = command_logits,
    },
    {
        .set = COMMAND_INFO,
        .name = "info",
        .operands = "MODEL",
        .summary = "show a model's architecture, bytes and memory plan",
        .text =
            "Opens the model as the other commands do and prints what it is, how many bytes each "
            "kind of tensor takes at the chosen level, and the memory that --batch and --context "
            "will need.",
        .examples = "tessera info examples/demo-model\n"
                    "  a folder\n"
                    "tessera info gemma-4-12b.tessera --verify --json\n"
                    "  a packed file, its checksums compared\n"
                    "tessera info synthetic:gemma-4-12b --weights int4 --batch 16 --context 1024\n"
                    "  what a batch would need\n"
                    "tessera info synthetic:gemma-4-12b --gpu rtx4090 --kv int8 --context 410\n"
                    "  the memory plan of a card that is not here, and the largest batch on it\n",
        .run = command_info,
    },
    {
        .set = COMMAND_QUANTIZE,
        .name = "quantize",
        .operands = "MODEL",
        .summary = "write a model as one packed file that opens at once",
        .text = "Reads a Hugging Face folder, brings the weights to the asked level and writes one "
                "file that holds all that running the model needs, its tokenizer included.",
        .examples = "tessera quantize gemma-4-12b-it -o gemma-4-12b.tessera --weights int4\n"
                    "  4-bit weights with a scale for every 32\n"
                    "tessera quantize examples/demo-model -o demo.tessera --weights bf16\n"
                    "  as stored, packed\n",
        .run = command_quantize,
    },
    {
        .set = COMMAND_TOP,
        .name = "top",
        .operands = "",
        .summary = "watch a running server",
        .text = "Shows speed, queue, batch, pages of the cache and what every user has and gets, "
                "again every second until Ctrl-C. TOKENS/S and SHARE are of the time between two "
                "pictures, the other columns since the server's start.",
        .examples = "tessera top\n"
                    "  the server on this machine\n"
                    "tessera top --server gpu1:7177 --token-file ~/.tessera-token --once\n"
                    "  another one, once as text\n",
        .run = command_top,
    },
    {
        .set = COMMAND_SERVE,
        .name = "serve",
        .operands = "",
        .summary = "answer many users over a socket",
        .text =
            "Opens the model once and answers pictures and questions of many clients at the same "
            "time, over a Unix socket, TCP or both (docs/protocol.md). Every option can also "
            "stand in a file (--config) or in the environment, as TESSERA_ and its name in "
            "capitals with _ for -; an argument goes before the environment and that before the "
            "file. What can be judged without the model (addresses, files) is judged before it is "
            "opened. When it is ready it prints one line with its addresses. SIGTERM and SIGINT "
            "let running requests finish and end the server with status 0; before it is ready "
            "they end it at once, with status 0 too. A SIGINT that the parent ignores stays "
            "ignored.",
        .examples = "tessera serve -m examples/demo-model --socket /tmp/tessera.sock\n"
                    "  on this machine, for this user\n"
                    "tessera serve -m gemma-4-12b.tessera --listen 0.0.0.0:7177 --users users.conf "
                    "--metrics-port 9100\n"
                    "  for a lab; see docs/operations.md\n"
                    "tessera serve --config /etc/tessera/tessera.conf\n"
                    "  as the systemd unit starts it\n",
        .run = command_serve,
    },
    {
        .set = COMMAND_TOKEN,
        .name = "token",
        .operands = "NAME",
        .summary = "make a token for a user of the server",
        .text = "Makes a token of 256 random bits. Standard output gets the line for the users "
                "file, which holds only the token's hash; the token itself goes to standard error "
                "and is kept nowhere. Settings such as weight= or tokens_per_minute= may be added "
                "to the line. The server takes over a changed file on SIGHUP.",
        .examples = "tessera token alice\n"
                    "  shows both\n"
                    "tessera token alice | sudo tee -a /etc/tessera/users.conf && sudo systemctl "
                    "reload tessera\n"
                    "  adds the user to a running server\n",
        .run = command_token,
    },
    {
        .set = COMMAND_HELP,
        .name = "help",
        .operands = "[COMMAND]",
        .summary = "show the help of a command, or all of it in another form",
        .text = "",
        .examples = "",
        .hidden = true,
        .run = command_help,
    },
};
const size_t command_count = sizeof commands / sizeof commands[0];

static const Command *command_find(const char *name) {
    for (size_t i = 0; i < command_count; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

static Exit command_print(Buffer *text, FILE *to, Exit status) {
    fwrite(text->data, 1, text->length, to);
    buffer_free(text);
    return status;
}

static Exit command_overview(FILE *to, Exit status) {
    Buffer text = {0};
    manual_overview(&text);
    return command_print(&text, to, status);
}

// Becomes `tessera-bench`, which lies beside this program.
static Exit command_bench(char **argv) {
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - sizeof "-bench");
    if (length > 0) {
        memcpy(self + length, "-bench", sizeof "-bench");
        execv(self, argv);
    }
    say("tessera bench: the program tessera-bench is not beside this one; build it with `cmake "
        "--build --preset release --target tessera-bench`");
    return EXIT_START;
}

Exit command_help(const Options *options) {
    Buffer text = {0};
    if (options->values[OPT_MARKDOWN].given) {
        manual_markdown(&text);
    } else if (options->values[OPT_MAN].given) {
        manual_man(&text);
    } else if (options->values[OPT_PROTOCOL].given) {
        methods_markdown(&text);
    } else if (options->values[OPT_COMPLETION].given) {
        manual_completion(&text);
    } else if (options->operand_count == 0) {
        manual_overview(&text);
    } else {
        const Command *command = command_find(options->operands[0]);
        if (command == NULL) {
            say("tessera help: there is no command '%s'", options->operands[0]);
            return EXIT_USAGE;
        }
        manual_help(command, &text);
    }
    return command_print(&text, stdout, EXIT_GOOD);
}

// Picks the command, reads its options, runs it. `name` is the command's, once it is known.
static Exit command_run(int argc, char **argv, const char **name) {
    if (argc < 2) {
        return command_overview(stderr, EXIT_USAGE);
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        return command_overview(stdout, EXIT_GOOD);
    }
    if (strcmp(argv[1], "--version") == 0) {
        Buffer text = {0};
        buffer_printf(&text, "tessera %s\n", TESSERA_VERSION);
        return command_print(&text, stdout, EXIT_GOOD);
    }
    if (strcmp(argv[1], "bench") == 0) {
        return command_bench(argv + 1);
    }
    const Command *command = command_find(argv[1]);
    if (command == NULL) {
        say("tessera: there is no command '%s'; see tessera --help", argv[1]);
        return EXIT_USAGE;
    }
    *name = command->name;
    Options options;
    Error error = {0};
    Exit result;
    Status status = options_parse(command->set, argc - 2, argv + 2, &options, &error);
    if (status == OK && options.values[OPT_HELP].given) {
        Buffer text = {0};
        manual_help(command, &text);
        result = command_print(&text, stdout, EXIT_GOOD);
    } else if (status != OK || settings_add(command->set, &options, &error) != OK) {
        result = command_fail(command->name, &error, EXIT_USAGE);
    } else {
        if (options.values[OPT_LOG_LEVEL].text != NULL) {
            log_set_level(options.values[OPT_LOG_LEVEL].text);
        }
        result = command->run(&options);
    }
    options_free(&options);
    return result;
}

// A result that did not arrive is none, whatever the command thinks of itself.
Exit command_main(int argc, char **argv) {
    const char *name = NULL;
    Exit result = command_run(argc, argv, &name);
    Error error = {0};
    if (standard_close(&error) == OK || (result != EXIT_GOOD && result != EXIT_ITEMS)) {
        return result;
    }
    return command_fail(name, &error, EXIT_START);
}
