// SPDX-License-Identifier: Apache-2.0
#include "weights/config_reader.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

const json_t *config_get(const ConfigReader *reader, const char *key) {
    const json_t *value = json_object_get(reader->object, key);
    return json_is_null(value) ? NULL : value;
}

void config_refuse(const ConfigReader *reader, const char *key, const char *rule) {
    if (*reader->status != OK) {
        return;
    }
    char *value = NULL;
    const json_t *found = json_object_get(reader->object, key);
    if (found != NULL) {
        value = json_dumps(found, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    }
    *reader->status = error_set(reader->error, E_CONFIG, "%s%s is %.80s; %s", reader->place, key,
                                value != NULL ? value : "absent", rule);
    free(value);
}

ConfigReader config_child(const ConfigReader *reader, const char *key, const char *place) {
    ConfigReader child = *reader;
    child.place = place;
    child.object = config_get(reader, key);
    if (child.object != NULL && !json_is_object(child.object)) {
        config_refuse(reader, key, "it must be an object or null");
        child.object = NULL;
    }
    return child;
}

void config_refuse_null(const ConfigReader *reader, const char *const *keys) {
    for (; *keys != NULL; keys++) {
        if (json_is_null(json_object_get(reader->object, *keys))) {
            config_refuse(reader, *keys, "it may be absent, but not null");
        }
    }
}

int64_t config_integer(const ConfigReader *reader, const char *key, int64_t low, int64_t high,
                       int64_t fallback) {
    const json_t *value = config_get(reader, key);
    if (value == NULL) {
        return fallback;
    }
    int64_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < low || number > high) {
        char rule[96];
        snprintf(rule, sizeof rule, "it must be an integer from %" PRId64 " to %" PRId64, low,
                 high);
        config_refuse(reader, key, rule);
        return fallback;
    }
    return number;
}

double config_number(const ConfigReader *reader, const char *key, double low, double high,
                     double fallback) {
    const json_t *value = config_get(reader, key);
    if (value == NULL) {
        return fallback;
    }
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number >= low && number <= high)) {
        char rule[96];
        snprintf(rule, sizeof rule, "it must be a number from %g to %g", low, high);
        config_refuse(reader, key, rule);
        return fallback;
    }
    return number;
}

double config_real(const ConfigReader *reader, const char *key, double low, double high,
                   double fallback) {
    if (json_is_integer(config_get(reader, key))) {
        config_refuse(reader, key, "it must be written with a point, as 1.0, or an exponent");
        return fallback;
    }
    return config_number(reader, key, low, high, fallback);
}

bool config_bool(const ConfigReader *reader, const char *key, bool fallback) {
    const json_t *value = config_get(reader, key);
    if (value == NULL) {
        return fallback;
    }
    if (!json_is_boolean(value)) {
        config_refuse(reader, key, "it must be true or false");
        return fallback;
    }
    return json_is_true(value);
}

const char *config_text(const ConfigReader *reader, const char *key, const char *fallback) {
    const json_t *value = config_get(reader, key);
    if (value == NULL) {
        return fallback;
    }
    if (!json_is_string(value)) {
        config_refuse(reader, key, "it must be a text");
        return fallback;
    }
    return json_string_value(value);
}

static bool config_id(const json_t *value, int32_t *out) {
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > INT32_MAX) {
        return false;
    }
    *out = (int32_t)json_integer_value(value);
    return true;
}

uint32_t config_ids(const ConfigReader *reader, const char *key, int32_t *out, uint32_t max) {
    const json_t *value = config_get(reader, key);
    if (value == NULL) {
        return 0;
    }
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    bool good = count <= max;
    for (size_t i = 0; good && i < count; i++) {
        good = config_id(json_is_array(value) ? json_array_get(value, i) : value, &out[i]);
    }
    if (!good) {
        char rule[96];
        snprintf(rule, sizeof rule, "it must be a token id or a list of at most %u token ids", max);
        config_refuse(reader, key, rule);
        return 0;
    }
    return (uint32_t)count;
}
