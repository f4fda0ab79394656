// SPDX-License-Identifier: Apache-2.0
#include "host/jobs/sidecar.h"

#include "base/check.h"
#include "base/file.h"
#include "base/file_write.h"
#include "host/media/media.h"

#include <stdlib.h>
#include <string.h>

// The name with its extension replaced by .txt.
static void sidecar_path(const char *picture, Buffer *out) {
    const char *slash = strrchr(picture, '/');
    const char *name = slash != NULL ? slash + 1 : picture;
    const char *dot = strrchr(name, '.');
    size_t length = dot != NULL && dot != name ? (size_t)(dot - picture) : strlen(picture);
    buffer_append(out, picture, length);
    buffer_append_text(out, ".txt");
}

static int sidecar_compare_texts(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static Status sidecar_names(const Inputs *inputs, Arena *arena, const char **names, size_t *count,
                            Error *error) {
    Buffer name = {0};
    Status status = OK;
    for (size_t i = 0; status == OK && i < inputs->count; i++) {
        if (inputs->faults[i] != NULL) {
            continue; // what cannot be read has no sidecar
        }
        buffer_clear(&name);
        sidecar_path(inputs->paths[i], &name);
        const char *copy =
            name.failed ? NULL : arena_copy_text(arena, (const char *)name.data, name.length);
        if (copy == NULL) {
            status = error_set(error, E_MEMORY, "no memory for the names of the sidecars");
        } else {
            names[(*count)++] = copy;
        }
    }
    buffer_free(&name);
    return status;
}

Status sidecar_check(const Inputs *inputs, Error *error) {
    Arena arena = {0};
    const char **names = arena_take_array(&arena, inputs->count + 1, sizeof *names);
    size_t count = 0;
    Status status = names != NULL
                        ? sidecar_names(inputs, &arena, names, &count, error)
                        : error_set(error, E_MEMORY, "no memory for the names of the sidecars");
    if (status == OK) {
        qsort(names, count, sizeof *names, sidecar_compare_texts);
    }
    for (size_t i = 1; status == OK && i < count; i++) {
        if (strcmp(names[i - 1], names[i]) == 0) {
            status = error_set(error, E_ARGUMENT,
                               "--sidecar: two pictures would write %s; rename one or leave "
                               "--sidecar out",
                               names[i]);
        }
    }
    arena_free(&arena);
    return status;
}

static bool sidecar_is_picture(Bytes bytes) {
    const MediaLimits limits = media_limits_default();
    ImageInfo info;
    return media_probe(bytes, &limits, &info, NULL) != E_IMAGE_FORMAT;
}

typedef enum Found { FOUND_NOTHING, FOUND_EQUAL, FOUND_OTHER, FOUND_TAKEN } Found;

// What is there already. A link that leads nowhere is nothing.
static Status sidecar_look(const Sidecars *sidecars, const char *path, const char *picture,
                           Bytes text, Found *found, Error *error) {
    FileMap map;
    Status status = file_map_open(path, &map, error);
    if (status == E_NOT_FOUND) {
        *found = FOUND_NOTHING;
        return OK;
    }
    TRY(status);
    const char *journal = sidecars->journal;
    if (file_is_same(path, picture) || sidecar_is_picture(map.bytes) ||
        (journal != NULL && file_is_same(path, journal))) {
        *found = FOUND_TAKEN;
    } else {
        *found = bytes_equal(map.bytes, text) ? FOUND_EQUAL : FOUND_OTHER;
    }
    file_map_close(&map);
    return OK;
}

static Status sidecar_place(Sidecars *sidecars, const char *path, const char *picture, Bytes text,
                            Error *error) {
    Found found;
    TRY(sidecar_look(sidecars, path, picture, text, &found, error));
    if (found == FOUND_TAKEN) {
        return error_set(error, E_ARGUMENT,
                         "%s: a picture or the journal is where the sidecar would be; rename one "
                         "of them",
                         path);
    }
    if (found == FOUND_EQUAL) {
        return OK;
    }
    if (found == FOUND_OTHER && sidecars->existing != SIDECAR_OVERWRITE) {
        sidecars->left++;
        return OK;
    }
    return file_write_whole(path, text, error);
}

Status sidecar_write(Sidecars *sidecars, const char *picture, Bytes caption, Error *error) {
    Buffer name = {0}, text = {0};
    sidecar_path(picture, &name);
    buffer_append(&text, caption.data, caption.length);
    buffer_append_byte(&text, '\n');
    Status status = name.failed || text.failed
                        ? error_set(error, E_MEMORY, "%s: no memory for its sidecar", picture)
                        : sidecar_place(sidecars, (const char *)name.data, picture,
                                        (Bytes){text.data, text.length}, error);
    buffer_free(&text);
    buffer_free(&name);
    return status;
}
