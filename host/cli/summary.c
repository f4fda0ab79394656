// SPDX-License-Identifier: Apache-2.0
#include "host/cli/summary.h"

#include "host/cli/say.h"

#include <inttypes.h>

static bool summary_has(const char *text) {
    return text != NULL && text[0] != '\0';
}

void summary_text(const Summary *summary, Buffer *out) {
    buffer_printf(out, "%" PRIu64 " of %" PRIu64 " %s: %" PRIu64 " %s, %" PRIu64 " error%s",
                  summary->good + summary->errors, summary->all, summary->things, summary->good,
                  summary->done, summary->errors, summary->errors == 1 ? "" : "s");
    if (summary->cut > 0) {
        buffer_printf(out, ", %" PRIu64 " cut at --max-tokens", summary->cut);
    }
    if (summary->earlier > 0) {
        buffer_printf(out, ", %" PRIu64 " of them by an earlier run", summary->earlier);
    }
    if (summary_has(summary->left_out)) {
        buffer_printf(out, "; left out: %s", summary->left_out);
    }
    buffer_printf(out, "; %.2f s", summary->seconds);
    if (summary_has(summary->more)) {
        buffer_printf(out, ", %s", summary->more);
    }
}

void summary_print(const Summary *summary) {
    Buffer line = {0};
    summary_text(summary, &line);
    say("%.*s", (int)line.length, (const char *)line.data);
    buffer_free(&line);
}

void summary_print_file(const char *done, bool good, double seconds, const char *more) {
    const Summary summary = {
        .things = "files",
        .done = done,
        .all = 1,
        .good = good,
        .errors = !good,
        .seconds = seconds,
        .more = more,
    };
    summary_print(&summary);
}
