// SPDX-License-Identifier: Apache-2.0
// Opening the CPU backend: what the processor has, which variant of each op runs, and the device
// table, which on a CPU is plain memory. Ops are done when they return, so wait and reach have
// nothing to do.
#include "cpu/cpu.h"

#include "base/check.h"
#include "base/machine.h"
#include "cpu/context.h"
#include "cpu/kv_page.h"

#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OP(name, arguments, text) .name = name##_ref,
static const OpTable reference_ops = {
#include "model/ops.def"
};
#undef OP

#define VARIANTS(name, arguments, scalar, avx2, avx512) .name = name##_##scalar,
static const OpTable scalar_ops = {
#include "cpu/variants.def"
};
#undef VARIANTS

#define VARIANTS(name, arguments, scalar, avx2, avx512) .name = name##_##avx2,
static const OpTable avx2_ops = {
#include "cpu/variants.def"
};
#undef VARIANTS

#define VARIANTS(name, arguments, scalar, avx2, avx512) .name = name##_##avx512,
static const OpTable avx512_ops = {
#include "cpu/variants.def"
};
#undef VARIANTS

typedef struct Isa {
    const char *name;
    const char *device;
    const OpTable *ops;
} Isa;

static const Isa isas[] = {
    [CPU_ISA_AUTO] = {"auto", NULL, NULL},
    [CPU_ISA_REFERENCE] = {"reference", "cpu reference", &reference_ops},
    [CPU_ISA_SCALAR] = {"scalar", "cpu scalar", &scalar_ops},
    [CPU_ISA_AVX2] = {"avx2", "cpu avx2", &avx2_ops},
    [CPU_ISA_AVX512] = {"avx512", "cpu avx512-vnni-bf16", &avx512_ops},
};

enum { ISA_COUNT = sizeof isas / sizeof isas[0] };

typedef struct Feature {
    const char *name;
    bool present;
} Feature;

// clang 14 does not know the name "f16c": CPUID leaf 1, ECX bit 29.
static bool has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c >> 29 & 1) != 0;
}

// The first feature that `isa` needs and this processor lacks, or NULL.
static const char *missing_feature(CpuIsa isa) {
    __builtin_cpu_init();
    const Feature avx2[] = {
        {"AVX2", __builtin_cpu_supports("avx2")},
        {"FMA", __builtin_cpu_supports("fma")},
        {"F16C", has_f16c()},
    };
    const Feature avx512[] = {
        {"AVX512F", __builtin_cpu_supports("avx512f")},
        {"AVX512BW", __builtin_cpu_supports("avx512bw")},
        {"AVX512VL", __builtin_cpu_supports("avx512vl")},
        {"AVX512DQ", __builtin_cpu_supports("avx512dq")},
        {"AVX512_VNNI", __builtin_cpu_supports("avx512vnni")},
        {"AVX512_BF16", __builtin_cpu_supports("avx512bf16")},
    };
    for (size_t i = 0; isa >= CPU_ISA_AVX2 && i < sizeof avx2 / sizeof avx2[0]; i++) {
        if (!avx2[i].present) {
            return avx2[i].name;
        }
    }
    for (size_t i = 0; isa >= CPU_ISA_AVX512 && i < sizeof avx512 / sizeof avx512[0]; i++) {
        if (!avx512[i].present) {
            return avx512[i].name;
        }
    }
    return NULL;
}

bool cpu_isa_available(CpuIsa isa) {
    return missing_feature(isa) == NULL;
}

const char *cpu_isa_name(CpuIsa isa) {
    REQUIRE((unsigned)isa < ISA_COUNT);
    return isas[isa].name;
}

Status cpu_isa_parse(const char *name, CpuIsa *out, Error *error) {
    for (unsigned i = 0; i < ISA_COUNT; i++) {
        if (strcmp(name, isas[i].name) == 0) {
            *out = (CpuIsa)i;
            return OK;
        }
    }
    return error_set(error, E_ARGUMENT,
                     "there is no instruction set '%s'; use auto, reference, scalar, avx2 or "
                     "avx512",
                     name);
}

// Zeroed memory in 64-byte lines with its true start in front of it. calloc takes large pieces
// fresh from the system, so a KV store of gigabytes is zeroed as it is first touched.
static void *memory_take(size_t bytes) {
    size_t all;
    if (__builtin_add_overflow(bytes, (size_t)2 * 64, &all)) {
        return NULL;
    }
    unsigned char *start = calloc(1, all);
    if (start == NULL) {
        return NULL;
    }
    unsigned char *memory = start + 64 + (64 - (uintptr_t)start % 64) % 64;
    memcpy(memory - sizeof start, &start, sizeof start);
    return memory;
}

static void memory_give(void *memory) {
    if (memory != NULL) {
        void *start;
        memcpy(&start, (unsigned char *)memory - sizeof start, sizeof start);
        free(start);
    }
}

static void *device_take(void *context, size_t bytes) {
    (void)context;
    return memory_take(bytes);
}

static void device_give(void *context, void *memory) {
    (void)context;
    memory_give(memory);
}

static Status device_upload(void *context, void *to, const void *host_from, size_t bytes) {
    (void)context;
    memcpy(to, host_from, bytes);
    return OK;
}

static Status device_download(void *context, void *host_to, const void *from, size_t bytes) {
    (void)context;
    memcpy(host_to, from, bytes);
    return OK;
}

static Status device_wait(void *context, Error *error) {
    (void)context;
    (void)error;
    return OK;
}

static Status device_mark(void *context, uint32_t mark) {
    (void)context;
    (void)mark;
    return OK;
}

static Status device_place_matrix(void *context, const Matrix *host, Matrix *out) {
    (void)context;
    *out = *host;
    return OK;
}

static Status device_place_floats(void *context, const float *host, size_t count,
                                  const float **out) {
    (void)context;
    (void)count;
    *out = host;
    return OK;
}

static uint64_t device_memory_bytes(void *context) {
    (void)context;
    return machine_memory_available();
}

// The context and the device table with this backend's name.
typedef struct CpuBackend {
    CpuContext context; // first: an op's context is the backend
    DeviceTable device;
} CpuBackend;

static void backend_close(void *context) {
    CpuBackend *backend = context;
    if (backend->context.scratch != NULL) {
        for (uint32_t i = 0; i < backend->context.thread_count; i++) {
            memory_give(backend->context.scratch[i]);
        }
    }
    free(backend->context.scratch);
    pool_close(backend->context.pool);
    free(backend);
}

static CpuIsa isa_chosen(CpuIsa asked) {
    CpuIsa isa = asked == CPU_ISA_AUTO ? CPU_ISA_AVX512 : asked;
    while (asked == CPU_ISA_AUTO && !cpu_isa_available(isa)) {
        isa = (CpuIsa)(isa - 1);
    }
    return isa;
}

static Status isa_check(CpuIsa isa, Error *error) {
    const char *missing = missing_feature(isa);
    return missing == NULL
               ? OK
               : error_set(error, E_UNSUPPORTED,
                           "this processor has no %s, which instruction set '%s' needs; use 'auto'",
                           missing, isas[isa].name);
}

// On failure what was taken is the context's, and backend_close gives it back.
static Status context_open(CpuContext *context, uint32_t threads, int niceness, Error *error) {
    context->thread_count = threads;
    context->scratch = calloc(threads, sizeof *context->scratch);
    bool enough = context->scratch != NULL;
    for (uint32_t i = 0; enough && i < threads; i++) {
        context->scratch[i] = memory_take(CPU_SCRATCH_BYTES);
        enough = context->scratch[i] != NULL;
    }
    return enough ? pool_open(threads, niceness, &context->pool, error)
                  : error_set(error, E_MEMORY, "no memory for the scratch of %u threads", threads);
}

static DeviceTable device_table(CpuIsa isa) {
    return (DeviceTable){
        .name = isas[isa].device,
        .take = device_take,
        .give = device_give,
        .take_host = device_take,
        .give_host = device_give,
        .upload = device_upload,
        .download = device_download,
        .wait = device_wait,
        .mark = device_mark,
        .reach = device_mark,
        .kv_page_bytes = kv_page_bytes,
        .place_matrix = device_place_matrix,
        .place_floats = device_place_floats,
        .memory_bytes = device_memory_bytes,
    };
}

Status cpu_open(const CpuOptions *options, Backend *out, Error *error) {
    CpuIsa isa = isa_chosen(options->isa);
    TRY(isa_check(isa, error));
    uint32_t threads = options->threads != 0 ? options->threads : machine_processors();
    if (isa == CPU_ISA_REFERENCE) {
        threads = 1;
    }
    CpuBackend *backend = calloc(1, sizeof *backend);
    if (backend == NULL) {
        return error_set(error, E_MEMORY, "no memory for the CPU backend");
    }
    backend->context.isa = isa;
    Status status = context_open(&backend->context, threads, options->niceness, error);
    if (status != OK) {
        backend_close(backend);
        return status;
    }
    backend->device = device_table(isa);
    *out = (Backend){.ops = isas[isa].ops,
                     .device = &backend->device,
                     .context = backend,
                     .close = backend_close};
    return OK;
}
