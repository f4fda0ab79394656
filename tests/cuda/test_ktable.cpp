// SPDX-License-Identifier: Apache-2.0
// The table of kernels: the rule when nothing was measured, measured entries before the rule, and
// the file they are kept in.
#include "cuda/ktable.h"
#include "cuda/linear_case.h"
#include "tests/cuda/open.h"

extern "C" {
#include "base/file.h"
#include "base/file_write.h"
}

#include <string>
#include <unistd.h>

static KernelKey key_of(WeightLevel level, ActivationKind kind, uint32_t group, uint32_t tokens) {
    return {level, kind, group, 3840, 15360, ktable_bucket(tokens), 86};
}

static const char *choice(const KernelTable *table, const KernelKey &key) {
    return ktable_choose(table, &key)->name;
}

Test(ktable, buckets_hold_their_tokens) {
    cr_assert_eq(ktable_bucket(1), 1);
    cr_assert_eq(ktable_bucket(3), 4);
    cr_assert_eq(ktable_bucket(64), 64);
    cr_assert_eq(ktable_bucket(65), 96);
    cr_assert_eq(ktable_bucket(100000), 4096);
}

Test(ktable, the_rule_fits_the_tokens_and_never_lacks_a_kernel) {
    cr_assert_str_eq(choice(NULL, key_of(LEVEL_INT4, ACTIVATION_INT8, 32, 1)),
                     "linear_w4a8_g32_32x8");
    cr_assert_str_eq(choice(NULL, key_of(LEVEL_INT4, ACTIVATION_INT8, 32, 16)),
                     "linear_w4a8_g32_32x16");
    cr_assert_str_eq(choice(NULL, key_of(LEVEL_INT4, ACTIVATION_INT8, 32, 64)),
                     "linear_w4a8_g32_32x64");
    cr_assert_str_eq(choice(NULL, key_of(LEVEL_INT4, ACTIVATION_INT8, 32, 330)),
                     "linear_w4a8_g32_128x128");
    cr_assert_str_eq(choice(NULL, key_of(LEVEL_F32, ACTIVATION_F32, 0, 5)), "linear_plain_any");
    cr_assert_str_eq(choice(NULL, key_of(LEVEL_INT4, ACTIVATION_F32, 32, 5)), "linear_plain_any");
    for (int level = LEVEL_BF16; level < LEVEL_COUNT; level++) {
        for (uint32_t group = 32; group <= 128; group *= 2) {
            KernelKey key =
                key_of((WeightLevel)level, ACTIVATION_BF16, level == LEVEL_BF16 ? 0 : group, 40);
            const LinearVariant *v = ktable_choose(NULL, &key);
            cr_assert(v != &linear_plain_variant && ktable_fits(v, &key));
        }
    }
}

static const char CARD[] = "tessera 0.1.0, sm_86, 4 multiprocessors, emulator";

static const char *scratch_path(void) {
    static char path[] = "/tmp/tessera-ktable-XXXXXX";
    if (strstr(path, "XXXXXX") != NULL) {
        close(mkstemp(path));
    }
    return path;
}

Test(ktable, a_saved_table_is_read_back) {
    static KernelTable table, again;
    KernelKey key = key_of(LEVEL_INT4, ACTIVATION_INT8, 32, 330);
    const LinearVariant *slow = ktable_choose(NULL, &key);
    for (uint32_t i = 0; i < linear_variant_count; i++) {
        if (strcmp(linear_variants[i].name, "linear_w4a8_g32_32x8") == 0) {
            slow = &linear_variants[i];
        }
    }
    cr_assert(ktable_set(&table, &key, slow));
    cr_assert_str_eq(choice(&table, key), "linear_w4a8_g32_32x8");
    KernelKey other = key_of(LEVEL_INT4, ACTIVATION_INT8, 32, 1024);
    cr_assert_str_eq(choice(&table, other), "linear_w4a8_g32_128x128");
    Error error = {};
    cr_assert_eq(ktable_save(&table, CARD, scratch_path(), &error), OK, "%s", error.text);
    cr_assert_eq(ktable_load(scratch_path(), CARD, &again, &error), OK, "%s", error.text);
    cr_assert_eq(again.count, 1);
    cr_assert_str_eq(choice(&again, key), "linear_w4a8_g32_32x8");
    unlink(scratch_path());
}

static const char ENTRY[] = "int4 int8 32 3840 15360 8 86 linear_w4a8_g32_32x8\n";

// What ktable_load says of a file with this text.
static std::string refusal(const std::string &text) {
    static KernelTable table;
    Error error = {};
    cr_assert_eq(file_write_whole(scratch_path(), bytes_of_text(text.c_str()), &error), OK);
    cr_assert_eq(ktable_load(scratch_path(), CARD, &table, &error), E_CONFIG, "%s", text.c_str());
    cr_assert_eq(table.count, 0, "nothing of a damaged file is used");
    cr_assert(strstr(error.text, "tessera bench gpu --tune") != NULL, "%s", error.text);
    unlink(scratch_path());
    return error.text;
}

Test(ktable, a_line_of_another_program_is_refused_by_number) {
    const char *lines[] = {
        "nonsense\n", "int4 int8 32 3840 15360 8 86 a_kernel_that_was\n",
        "int4 int8 64 3840 15360 8 86 linear_w4a8_g32_32x8\n", // of another group
        "int4 int8 32 3840 15360 7 86 linear_w4a8_g32_32x8\n", // no bucket
    };
    for (const char *line : lines) {
        std::string text = std::string(CARD) + "\n" + ENTRY + line + "2 entries\n";
        cr_assert_neq(refusal(text).find("line 3 is not an entry"), std::string::npos);
    }
}

Test(ktable, a_file_that_is_cut_short_is_refused) {
    std::string whole = std::string(CARD) + "\n" + ENTRY + "1 entries\n";
    for (size_t length = strlen(CARD) + 1; length < whole.size(); length++) {
        std::string said = refusal(whole.substr(0, length));
        cr_assert_neq(said.find("cut short"), std::string::npos, "%zu bytes: %s", length,
                      said.c_str());
    }
    cr_assert_neq(refusal("").find("no kernel table"), std::string::npos);
    cr_assert_neq(refusal(whole + ENTRY).find("line 3"), std::string::npos, "more than it says");
}

Test(ktable, a_table_of_another_card_or_version_is_refused_with_both_names) {
    const char *others[] = {"tessera 0.0.9, sm_86, 4 multiprocessors, emulator",
                            "tessera 0.1.0, sm_89, 128 multiprocessors, NVIDIA GeForce RTX 4090"};
    for (const char *other : others) {
        std::string said = refusal(std::string(other) + "\n" + ENTRY + "1 entries\n");
        cr_assert(said.find(other) != std::string::npos && said.find(CARD) != std::string::npos,
                  "%s", said.c_str());
    }
    static KernelTable table;
    Error error = {};
    cr_assert_eq(ktable_load("/nowhere/kernels", CARD, &table, &error), E_NOT_FOUND);
}

// Runs every kernel that fits, on whatever the device is; the fastest stays, and results with it
// are those of the rule.
Test(ktable, measuring_names_a_kernel_that_fits) {
    CudaContext context = open_context();
    Error error = {};
    LinearShape shape = {LEVEL_INT4, ACTIVATION_INT8, 32, 40, 128, 5, LINEAR_PLAIN, false};
    LinearCase c = linear_case_open(shape);
    LinearOnDevice d = linear_on_device(&c);
    cr_assert_eq(cuda_linear(&context, &d.op), OK);
    std::vector<float> by_rule = linear_result(&d);

    static KernelTable table;
    cr_assert_eq(ktable_tune(&context, &d.op, 1, 2, &table, &error), OK, "%s", error.text);
    cr_assert_eq(table.count, 1);
    LinearArgs args = linear_args(&d.op);
    KernelKey key = ktable_key(&args, context.compute);
    cr_assert(ktable_fits(table.entries[0].variant, &key));
    cr_assert_eq(ktable_choose(&table, &key), table.entries[0].variant);
    context.kernels = &table;
    linear_clear(&d);
    cr_assert_eq(cuda_linear(&context, &d.op), OK);
    cr_assert(linear_result(&d) == by_rule);
    linear_off_device(&d);
    linear_case_close(&c);
    close_context(&context);
}
