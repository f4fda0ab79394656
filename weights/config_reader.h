// SPDX-License-Identifier: Apache-2.0
// Reading one JSON object key by key with a sticky first error whose text names the place, the
// value and the rule. A key that is absent or null takes its default, unless
// config_refuse_null comes first.
#ifndef WEIGHTS_CONFIG_READER_H
#define WEIGHTS_CONFIG_READER_H

#include "base/json.h"

#include <stdbool.h>

typedef struct ConfigReader {
    const char *place;    // "config.json: text_config."
    const json_t *object; // NULL reads as an empty object
    Status *status;       // shared by all readers of one parse: the first error
    Error *error;
} ConfigReader;

// A reader of the object under `key`, which may be absent or null (then object is NULL).
ConfigReader config_child(const ConfigReader *reader, const char *key, const char *place);

// The value of a key, NULL when it is absent or null.
const json_t *config_get(const ConfigReader *reader, const char *key);

// Records "PLACEkey is VALUE; RULE" once.
void config_refuse(const ConfigReader *reader, const char *key, const char *rule);

// Refuses each of `keys` (the last is NULL) that is there and null. transformers does so where a
// field of its config has a type without None.
void config_refuse_null(const ConfigReader *reader, const char *const *keys);

int64_t config_integer(const ConfigReader *reader, const char *key, int64_t low, int64_t high,
                       int64_t fallback);
double config_number(const ConfigReader *reader, const char *key, double low, double high,
                     double fallback);
// The same, written with a point or an exponent: transformers takes no integer for it.
double config_real(const ConfigReader *reader, const char *key, double low, double high,
                   double fallback);
bool config_bool(const ConfigReader *reader, const char *key, bool fallback);
const char *config_text(const ConfigReader *reader, const char *key, const char *fallback);

// A number or a list of at most `max` numbers; returns how many. Absent: 0.
uint32_t config_ids(const ConfigReader *reader, const char *key, int32_t *out, uint32_t max);

#endif
