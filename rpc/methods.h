// SPDX-License-Identifier: Apache-2.0
// methods.def as tables, for dispatch, api_info and the page rpc/methods.md.
#ifndef RPC_METHODS_H
#define RPC_METHODS_H

#include "base/bytes.h"

typedef enum Method {
#define METHOD(id, name, since, auth, text) METHOD_##id,
#include "rpc/methods.def"
    METHOD_COUNT
} Method;

typedef enum EventId {
#define EVENT(id, name, since, text) EVENT_##id,
#include "rpc/methods.def"
    EVENT_COUNT
} EventId;

typedef enum MethodAuth { METHOD_AUTH_NONE, METHOD_AUTH_USER } MethodAuth;

typedef struct MethodRow {
    const char *name;
    uint32_t since; // protocol version
    MethodAuth auth;
    const char *text;
} MethodRow;

typedef struct ParamRow {
    Method method;
    const char *name, *type, *rule;
    const char *preset; // "" = must be given, "-" = may be left out
    const char *text;
} ParamRow;

typedef struct ResultRow {
    Method method;
    const char *name, *type, *text;
} ResultRow;

typedef struct EventRow {
    const char *name;
    uint32_t since;
    const char *text;
} EventRow;

typedef struct FieldRow {
    EventId event;
    const char *name, *type, *text;
} FieldRow;

extern const MethodRow method_rows[METHOD_COUNT];
extern const EventRow event_rows[EVENT_COUNT];
extern const ParamRow param_rows[];
extern const uint32_t param_row_count;
extern const ResultRow result_rows[];
extern const uint32_t result_row_count;
extern const FieldRow field_rows[];
extern const uint32_t field_row_count;

bool method_find(Bytes name, Method *out);

// Appends the result of api_info: the tables and the error catalogue.
void methods_put_api_info(Buffer *out);

// Appends the page rpc/methods.md.
void methods_markdown(Buffer *out);

#endif
