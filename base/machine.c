// SPDX-License-Identifier: Apache-2.0
#include "base/machine.h"

#include "base/file.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { MEMINFO_BYTES_MAX = 1 << 16 };

uint64_t machine_memory_available(void) {
    static const char key[] = "MemAvailable:";
    Buffer text = {0};
    uint64_t kib = 0;
    if (file_read("/proc/meminfo", MEMINFO_BYTES_MAX, &text, NULL) == OK) {
        buffer_append_byte(&text, 0);
        const char *line = text.failed ? NULL : strstr((const char *)text.data, key);
        kib = line != NULL ? strtoull(line + strlen(key), NULL, 10) : 0;
    }
    buffer_free(&text);
    return kib * 1024;
}

uint32_t machine_processors(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        return 1;
    }
    int count = CPU_COUNT(&set);
    return count < 1 ? 1 : (uint32_t)count;
}
