// SPDX-License-Identifier: Apache-2.0
// The small row op, embed: every instruction set against the reference.
#include "ops/isa.h"
#include "ops/paged.h"

#include <stdlib.h>
#include <string.h>

Test(embed, scales_rows_and_leaves_image_rows_alone) {
    enum { ROWS = 6, VOCAB = 20, HIDDEN = 40, PADDED = 64 };
    uint16_t *codes = aligned_alloc(64, 32 * PADDED * sizeof *codes);
    for (uint32_t i = 0; i < 32 * PADDED; i++) {
        codes[i] = (uint16_t)(0x3f80 + i % 100); // 1.0 and a little more
    }
    Matrix table = {LEVEL_BF16, VOCAB, HIDDEN, PADDED, 0, codes, NULL};
    const int32_t tokens[ROWS] = {19, -1, 0, 7, batch_token_drawn(1), batch_token_drawn(0)};
    const int32_t drawn[] = {-1, 3}; // sample 0 of the step before had nothing to draw
    const int32_t meant[ROWS] = {19, -1, 0, 7, 3, -1};
    for (CpuIsa isa = CPU_ISA_REFERENCE; isa <= CPU_ISA_AVX512; isa = (CpuIsa)(isa + 1)) {
        if (!cpu_isa_available(isa)) {
            continue;
        }
        Backend backend = isa_open(isa, 2);
        float out[ROWS][HIDDEN];
        memset(out, 0, sizeof out);
        cr_assert_eq(backend.ops->embed(backend.context,
                                        &(OpEmbed){ROWS, tokens, drawn, table, 62.0f, out[0]}),
                     OK);
        for (uint32_t r = 0; r < ROWS; r++) {
            for (uint32_t c = 0; c < HIDDEN; c++) {
                float wanted =
                    meant[r] < 0 ? 0.0f : 62.0f * matrix_value(&table, (uint32_t)meant[r], c);
                cr_assert_eq(out[r][c], wanted);
            }
        }
        backend.close(backend.context);
    }
    free(codes);
}
