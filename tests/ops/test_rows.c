// SPDX-License-Identifier: Apache-2.0
// The small row ops, embed and logits: every instruction set against the reference.
#include "ops/isa.h"
#include "ops/paged.h"

#include <stdlib.h>
#include <string.h>

Test(embed, scales_rows_and_leaves_image_rows_alone) {
    enum { ROWS = 4, VOCAB = 20, HIDDEN = 40, PADDED = 64 };
    uint16_t *codes = aligned_alloc(64, 32 * PADDED * sizeof *codes);
    for (uint32_t i = 0; i < 32 * PADDED; i++) {
        codes[i] = (uint16_t)(0x3f80 + i % 100); // 1.0 and a little more
    }
    Matrix table = {LEVEL_BF16, VOCAB, HIDDEN, PADDED, 0, codes, NULL};
    const int32_t tokens[ROWS] = {19, -1, 0, 7};
    for (CpuIsa isa = CPU_ISA_REFERENCE; isa <= CPU_ISA_AVX512; isa = (CpuIsa)(isa + 1)) {
        if (!cpu_isa_available(isa)) {
            continue;
        }
        Backend backend = isa_open(isa, 2);
        float out[ROWS][HIDDEN];
        memset(out, 0, sizeof out);
        cr_assert_eq(
            backend.ops->embed(backend.context, &(OpEmbed){ROWS, tokens, table, 62.0f, out[0]}),
            OK);
        for (uint32_t r = 0; r < ROWS; r++) {
            for (uint32_t c = 0; c < HIDDEN; c++) {
                float wanted =
                    tokens[r] < 0 ? 0.0f : 62.0f * matrix_value(&table, (uint32_t)tokens[r], c);
                cr_assert_eq(out[r][c], wanted);
            }
        }
        backend.close(backend.context);
    }
    free(codes);
}

Test(logits, the_soft_cap_of_every_size_of_logit) {
    enum { COUNT = 40011 }; // not a multiple of anything
    float *x = random_floats(COUNT, 1.0f, 8);
    for (uint32_t i = 0; i < COUNT; i++) {
        x[i] = ldexpf(x[i], (int)(i % 40) - 25); // 2^-25 .. 2^14
    }
    x[7] = 0.0f;
    x[8] = INFINITY;
    x[9] = -INFINITY;
    x[10] = NAN;
    float *copy = malloc(COUNT * sizeof *copy);
    for (CpuIsa isa = CPU_ISA_REFERENCE; isa <= CPU_ISA_AVX512; isa = (CpuIsa)(isa + 1)) {
        if (!cpu_isa_available(isa)) {
            continue;
        }
        Backend backend = isa_open(isa, 2);
        memcpy(copy, x, COUNT * sizeof *copy);
        cr_assert_eq(backend.ops->logits(backend.context, &(OpLogits){3, copy, COUNT / 3, 30.0f}),
                     OK);
        for (uint32_t i = 0; i < COUNT; i++) {
            if (i == 10) {
                cr_assert(isnan(copy[i]), "a NaN must stay visible");
                continue;
            }
            float wanted = (float)(30.0 * tanh((double)x[i] / 30.0));
            assert_close(&copy[i], &wanted, 1, TOLERANCE_LOGITS, cpu_isa_name(isa));
        }
        memcpy(copy, x, COUNT * sizeof *copy);
        cr_assert_eq(backend.ops->logits(backend.context, &(OpLogits){3, copy, COUNT / 3, 0.0f}),
                     OK);
        cr_assert_eq(memcmp(copy, x, COUNT * sizeof *copy), 0, "a cap of 0 is no cap");
        backend.close(backend.context);
    }
    free(x);
    free(copy);
}
