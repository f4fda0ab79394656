// SPDX-License-Identifier: Apache-2.0
#include "rpc/methods.h"

#include "base/status.h"
#include "rpc/calls.h"
#include "rpc/msg.h"

#include <string.h>

const MethodRow method_rows[METHOD_COUNT] = {
#define METHOD(id, name, since, auth, text) {name, since, METHOD_AUTH_##auth, text},
#include "rpc/methods.def"
};

const EventRow event_rows[EVENT_COUNT] = {
#define EVENT(id, name, since, text) {name, since, text},
#include "rpc/methods.def"
};

const ParamRow param_rows[] = {
#define PARAM(method, name, type, rule, preset, text)                                              \
    {METHOD_##method, name, type, rule, preset, text},
#include "rpc/methods.def"
};
const uint32_t param_row_count = sizeof param_rows / sizeof param_rows[0];

const ResultRow result_rows[] = {
#define RESULT(method, name, type, text) {METHOD_##method, name, type, text},
#include "rpc/methods.def"
};
const uint32_t result_row_count = sizeof result_rows / sizeof result_rows[0];

const FieldRow field_rows[] = {
#define FIELD(event, name, type, text) {EVENT_##event, name, type, text},
#include "rpc/methods.def"
};
const uint32_t field_row_count = sizeof field_rows / sizeof field_rows[0];

typedef struct ErrorRow {
    const char *name;
    Status code;
} ErrorRow;

static const ErrorRow error_rows[] = {
#define STATUS(name, number, class, retryable, text) {#name, number},
#include "base/status.def"
#undef STATUS
};
enum { ERROR_ROW_COUNT = sizeof error_rows / sizeof error_rows[0] };

static const char *const class_names[] = {
    [STATUS_CALLER] = "caller", [STATUS_BUSY] = "busy", [STATUS_SERVER] = "server",
    [STATUS_DEVICE] = "device", [STATUS_BUG] = "bug",
};

static const char *const auth_names[] = {"none", "user"};

bool method_find(Bytes name, Method *out) {
    for (int i = 0; i < METHOD_COUNT; i++) {
        if (bytes_equal(name, bytes_of_text(method_rows[i].name))) {
            *out = (Method)i;
            return true;
        }
    }
    return false;
}

// ---- api_info -----------------------------------------------------------------------------------

static void put_params(Buffer *out, int method) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < param_row_count; i++) {
        count += (int)param_rows[i].method == method;
    }
    msg_put_key(out, "params");
    msg_put_array(out, count);
    for (uint32_t i = 0; i < param_row_count; i++) {
        const ParamRow *row = &param_rows[i];
        if ((int)row->method == method) {
            msg_put_map(out, 5);
            msg_pair_word(out, "name", row->name);
            msg_pair_word(out, "type", row->type);
            msg_pair_word(out, "rule", row->rule);
            msg_pair_word(out, "preset", row->preset);
            msg_pair_word(out, "text", row->text);
        }
    }
}

static void put_field(Buffer *out, const char *name, const char *type, const char *text) {
    msg_put_map(out, 3);
    msg_pair_word(out, "name", name);
    msg_pair_word(out, "type", type);
    msg_pair_word(out, "text", text);
}

static void put_results(Buffer *out, int method) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < result_row_count; i++) {
        count += (int)result_rows[i].method == method;
    }
    msg_put_key(out, "result");
    msg_put_array(out, count);
    for (uint32_t i = 0; i < result_row_count; i++) {
        if ((int)result_rows[i].method == method) {
            put_field(out, result_rows[i].name, result_rows[i].type, result_rows[i].text);
        }
    }
}

static void put_fields(Buffer *out, int event) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < field_row_count; i++) {
        count += (int)field_rows[i].event == event;
    }
    msg_put_key(out, "fields");
    msg_put_array(out, count);
    for (uint32_t i = 0; i < field_row_count; i++) {
        if ((int)field_rows[i].event == event) {
            put_field(out, field_rows[i].name, field_rows[i].type, field_rows[i].text);
        }
    }
}

static void put_errors(Buffer *out) {
    msg_put_key(out, "errors");
    msg_put_array(out, ERROR_ROW_COUNT);
    for (uint32_t i = 0; i < ERROR_ROW_COUNT; i++) {
        Status code = error_rows[i].code;
        msg_put_map(out, 5);
        msg_pair_word(out, "name", error_rows[i].name);
        msg_pair_int(out, "code", code);
        msg_pair_word(out, "class", class_names[status_class(code)]);
        msg_pair_bool(out, "retryable", status_retryable(code));
        msg_pair_word(out, "text", status_text(code));
    }
}

void methods_put_api_info(Buffer *out) {
    msg_put_map(out, 4);
    msg_pair_uint(out, "version", PROTOCOL_VERSION);
    msg_put_key(out, "methods");
    msg_put_array(out, METHOD_COUNT);
    for (int i = 0; i < METHOD_COUNT; i++) {
        msg_put_map(out, 6);
        msg_pair_word(out, "name", method_rows[i].name);
        msg_pair_uint(out, "since", method_rows[i].since);
        msg_pair_word(out, "auth", auth_names[method_rows[i].auth]);
        msg_pair_word(out, "text", method_rows[i].text);
        put_params(out, i);
        put_results(out, i);
    }
    msg_put_key(out, "events");
    msg_put_array(out, EVENT_COUNT);
    for (int i = 0; i < EVENT_COUNT; i++) {
        msg_put_map(out, 4);
        msg_pair_word(out, "name", event_rows[i].name);
        msg_pair_uint(out, "since", event_rows[i].since);
        msg_pair_word(out, "text", event_rows[i].text);
        put_fields(out, i);
    }
    put_errors(out);
}

// ---- The page -----------------------------------------------------------------------------------

static void page_cell(Buffer *out, const char *text) {
    buffer_append_text(out, " ");
    for (const char *c = text; *c != '\0'; c++) {
        buffer_append_text(out, *c == '|' ? "\\" : "");
        buffer_append_byte(out, (uint8_t)*c);
    }
    buffer_append_text(out, " |");
}

static void page_param(Buffer *out, const ParamRow *row) {
    buffer_printf(out, "| `%s` |", row->name);
    page_cell(out, row->type);
    page_cell(out, row->rule);
    bool must = row->preset[0] == '\0';
    page_cell(out, must ? "must be given" : strcmp(row->preset, "-") == 0 ? "" : row->preset);
    page_cell(out, row->text);
    buffer_append_text(out, "\n");
}

static void page_field(Buffer *out, const char *name, const char *type, const char *text) {
    buffer_printf(out, "| `%s` |", name);
    page_cell(out, type);
    page_cell(out, text);
    buffer_append_text(out, "\n");
}

static void page_method(Buffer *out, int method) {
    const MethodRow *row = &method_rows[method];
    buffer_printf(out, "\n### %s\n%s. Since version %u%s.\n", row->name, row->text, row->since,
                  row->auth == METHOD_AUTH_NONE ? "; allowed before hello" : "");
    bool any = false;
    for (uint32_t i = 0; i < param_row_count; i++) {
        if ((int)param_rows[i].method == method) {
            buffer_append_text(out, any ? ""
                                        : "\n| Parameter | Type | Rule | Default | Meaning |\n"
                                          "|---|---|---|---|---|\n");
            any = true;
            page_param(out, &param_rows[i]);
        }
    }
    any = false;
    for (uint32_t i = 0; i < result_row_count; i++) {
        if ((int)result_rows[i].method == method) {
            buffer_append_text(out, any ? "" : "\n| Result | Type | Meaning |\n|---|---|---|\n");
            any = true;
            page_field(out, result_rows[i].name, result_rows[i].type, result_rows[i].text);
        }
    }
}

static void page_stats(Buffer *out) {
    static const struct {
        const char *name, *text;
        bool user;
    } rows[] = {
#define SERVER_STAT(name, type, text) {#name, text, false},
#define USER_STAT(name, type, text)   {#name, text, true},
#include "rpc/stats.def"
    };
    for (int user = 0; user < 2; user++) {
        buffer_printf(out, "\n## Numbers of %s\n\n| Name | Meaning |\n|---|---|\n",
                      user ? "a user" : "the server");
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            if (rows[i].user == (user == 1)) {
                buffer_printf(out, "| `%s` | %s |\n", rows[i].name, rows[i].text);
            }
        }
    }
}

static void page_errors(Buffer *out) {
    buffer_append_text(out, "\n## Errors\n\n| Name | Code | Class | Again? | Meaning |\n"
                            "|---|---|---|---|---|\n");
    for (uint32_t i = 0; i < ERROR_ROW_COUNT; i++) {
        Status code = error_rows[i].code;
        buffer_printf(out, "| `%s` | %d | %s | %s | %s |\n", error_rows[i].name, code,
                      class_names[status_class(code)], status_retryable(code) ? "yes" : "no",
                      status_text(code));
    }
}

void methods_markdown(Buffer *out) {
    buffer_printf(out,
                  "# Methods and events, protocol version %d\nMade from rpc/methods.def, "
                  "rpc/stats.def and base/status.def by `tessera help --protocol`; do not edit. "
                  "What the words mean: [spec.md](spec.md).\n\n## Methods\n",
                  PROTOCOL_VERSION);
    for (int i = 0; i < METHOD_COUNT; i++) {
        page_method(out, i);
    }
    buffer_append_text(out, "\n## Events\n");
    for (int event = 0; event < EVENT_COUNT; event++) {
        buffer_printf(out,
                      "\n### %s\n%s. Since version %u.\n\n| Field | Type | Meaning |\n"
                      "|---|---|---|\n",
                      event_rows[event].name, event_rows[event].text, event_rows[event].since);
        for (uint32_t i = 0; i < field_row_count; i++) {
            if ((int)field_rows[i].event == event) {
                page_field(out, field_rows[i].name, field_rows[i].type, field_rows[i].text);
            }
        }
    }
    page_stats(out);
    page_errors(out);
}
