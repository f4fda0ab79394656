// SPDX-License-Identifier: Apache-2.0
// `tessera bench gpu` under the emulator, with the tiny plan: every part runs, checks its results
// and prints rows with the fields that readers of bench/results/ count on. Times mean nothing here.
#include "bench/bench.h"
#include "bench/gpu/gpu.h"
#include "tests/simt/simt.h"

#include <criterion/criterion.h>

extern "C" {
#include "base/file.h"
#include "base/file_write.h"
#include "base/json.h"
}

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string>
#include <unistd.h>
#include <vector>

static std::vector<json_t *> kept_rows; // of all runs of a test

static void free_rows(void) {
    for (json_t *row : kept_rows) {
        json_decref(row);
    }
    kept_rows.clear();
}

TestSuite(bench_gpu, .fini = free_rows);

static std::vector<json_t *> run_bench(std::vector<const char *> arguments, int wanted) {
    SimtOptions options = {};
    simt_reset(&options);
    setenv("XDG_CACHE_HOME", "/nowhere", 0); // nobody's own choices
    char path[] = "/tmp/tessera-bench-gpu-XXXXXX";
    close(mkstemp(path));
    arguments.insert(arguments.begin(), "gpu");
    fflush(stdout);
    cr_assert_not_null(freopen(path, "w", stdout));
    int result = bench_gpu((int)arguments.size(), (char **)arguments.data());
    fflush(stdout);
    cr_assert_eq(result, wanted, "%s", simt_fault());
    cr_assert_eq(simt_memory_used(), 0, "all device memory is given back");
    Buffer text = {};
    Error error = {};
    cr_assert_eq(file_read(path, 1 << 24, &text, &error), OK, "%s", error.text);
    unlink(path);
    std::vector<json_t *> rows;
    const char *line = text.length > 0 ? (const char *)text.data : "";
    for (const char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        json_t *row;
        Bytes bytes = {(const uint8_t *)line, (size_t)(end - line)};
        cr_assert_eq(json_parse(bytes, "row", &row, &error), OK, "%s", error.text);
        rows.push_back(row);
        kept_rows.push_back(row);
    }
    buffer_free(&text);
    return rows;
}

static std::string text_of(const json_t *row, const char *name) {
    const char *text = json_string_value(json_object_get(row, name));
    return text != NULL ? text : "";
}

static double number_of(const json_t *row, const char *name) {
    const json_t *value = json_object_get(row, name);
    cr_assert(json_is_number(value), "%s of a row \"%s\" is no number", name,
              text_of(row, "what").c_str());
    return json_number_value(value);
}

static std::vector<json_t *> rows_of(const std::vector<json_t *> &rows, const char *what) {
    std::vector<json_t *> found;
    for (json_t *row : rows) {
        cr_assert_eq(text_of(row, "bench"), "gpu");
        cr_assert_eq(text_of(row, "gpu"), "emulator");
        cr_assert_neq(text_of(row, "measured"), "", "no row of the emulator passes for measured");
        if (text_of(row, "what") == what) {
            found.push_back(row);
        }
    }
    return found;
}

Test(bench_gpu, kernels_are_measured_as_shares_of_measured_ceilings) {
    std::vector<json_t *> rows = run_bench({"--plan", "tiny", "--part", "kernels"}, 0);
    std::vector<json_t *> ceilings = rows_of(rows, "ceilings");
    cr_assert_eq(ceilings.size(), 1);
    double read = number_of(ceilings[0], "read_gbs"), copy = number_of(ceilings[0], "copy_gbs");
    double int8 = number_of(ceilings[0], "int8_tops"), bf16 = number_of(ceilings[0], "bf16_tflops");
    cr_assert(read > 0 && copy > 0 && int8 > 0 && bf16 > 0);

    // Five mixes of two shapes and two numbers of rows; the head only at int8 and bf16 and one row.
    std::vector<json_t *> linear = rows_of(rows, "linear");
    cr_assert_eq(linear.size(), 5 * 2 * 2 + 3);
    for (json_t *row : linear) {
        double us = number_of(row, "us"), m = number_of(row, "m");
        double operations = 2 * m * number_of(row, "rows") * number_of(row, "columns");
        double peak = text_of(row, "mix").find("x int8") != std::string::npos ? int8 : bf16;
        cr_assert_float_eq(number_of(row, "tops") * us * 1e6 / operations, 1, 1e-3);
        cr_assert_float_eq(number_of(row, "share_of_peak") * peak / number_of(row, "tops"), 1,
                           1e-3);
        cr_assert_float_eq(number_of(row, "share_of_bandwidth") * fmax(read, copy) /
                               number_of(row, "weight_gbs"),
                           1, 1e-3);
        cr_assert_eq(text_of(row, "kernel").find("linear_"), 0, "%s",
                     text_of(row, "kernel").c_str());
        cr_assert(json_is_null(json_object_get(row, "cublas_us")), "the emulator has no cuBLAS");
    }

    std::vector<json_t *> attention = rows_of(rows, "attention");
    cr_assert_eq(attention.size(), 2 * gpu_plan_tiny.attention_count);
    // Two sequences of 71 positions in a window of 64, 2 heads of 64 numbers, keys and values.
    double bytes = 2 * 64 * 2 * 64 * 2 * 2;
    cr_assert_eq(text_of(attention[0], "kv"), "bf16");
    cr_assert_float_eq(
        number_of(attention[0], "kv_gbs") * number_of(attention[0], "us") * 1e3 / bytes, 1, 1e-3);
}

Test(bench_gpu, tuned_choices_are_kept_for_the_card_and_used_from_then_on) {
    char folder[] = "/tmp/tessera-bench-gpu-cache-XXXXXX", path[256];
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/tessera/kernels-emulator-%s.txt", folder, TESSERA_VERSION);
    setenv("XDG_CACHE_HOME", folder, 1);
    std::vector<json_t *> tuned = run_bench({"--plan", "tiny", "--part", "none", "--tune"}, 0);
    cr_assert_eq(tuned.size(), 1);
    // Buckets up to 20 rows: 1, 2, 4, 8, 16; up to 8 for the head: 1, 2, 4, 8.
    cr_assert_eq(number_of(rows_of(tuned, "tune")[0], "entries"), 5 * 2 * 5 + 3 * 4);

    // Another kernel at one shape, as a measurement on another day might have it.
    Buffer text = {};
    Error error = {};
    cr_assert_eq(file_read(path, 1 << 20, &text, &error), OK, "%s", error.text);
    std::string table((const char *)text.data, text.length);
    size_t at = table.find("int4 int8 32 64 128 1 86 ");
    cr_assert_neq(at, std::string::npos, "%s", table.c_str());
    size_t name = at + strlen("int4 int8 32 64 128 1 86 "), end = table.find('\n', name);
    table.replace(name, end - name, "linear_w4a8_g32_128x64");
    cr_assert_eq(file_write_whole(path, bytes_of_text(table.c_str()), &error), OK);
    std::vector<json_t *> rows = run_bench({"--plan", "tiny", "--part", "kernels"}, 0);
    json_t *first = rows_of(rows, "linear")[0];
    cr_assert_eq(text_of(first, "kernel"), "linear_w4a8_g32_128x64");
    cr_assert_eq(number_of(first, "m"), 1);

    table.insert(table.find('\n'), " Ti");
    cr_assert_eq(file_write_whole(path, bytes_of_text(table.c_str()), &error), OK);
    run_bench({"--plan", "tiny", "--part", "kernels"}, 1); // of another card
    buffer_free(&text);
    unlink(path);
    snprintf(path, sizeof path, "%s/tessera", folder);
    rmdir(path);
    rmdir(folder);
}

// Every op that a step runs has its time, and they are the sum.
static void check_step_ops(const json_t *row, bool with_picture) {
    const char *ops[] = {"embed",     "rope_table", "norm",        "linear",        "lm_head",
                         "attention", "activate",   "rope_append", "residual_norm", "sample"};
    double sum = with_picture ? number_of(row, "patch_embed_ms") : 0.0;
    for (const char *op : ops) {
        double ms = number_of(row, (std::string(op) + "_ms").c_str());
        cr_assert_gt(ms, 0);
        sum += ms;
    }
    cr_assert_float_eq(sum / number_of(row, "kernels_ms"), 1, 1e-3);
    cr_assert_eq(json_object_get(row, "patch_embed_ms") != NULL, with_picture);
}

Test(bench_gpu, captioning_is_measured_at_every_setting_and_batch) {
    std::vector<json_t *> rows = run_bench({"--plan", "tiny", "--part", "captions"}, 0);
    const char *settings[] = {"W4A8 kv int8", "W4A8 kv bf16", "W4A16 kv bf16", "bf16 kv bf16",
                              "bf16 kv bf16 cublaslt"};
    std::vector<json_t *> captions = rows_of(rows, "captions");
    cr_assert_eq(captions.size(), 5 * 2);
    for (size_t i = 0; i < captions.size(); i++) {
        json_t *row = captions[i];
        cr_assert_eq(text_of(row, "setting"), settings[i / 2]);
        cr_assert_eq(number_of(row, "batch"), i % 2 + 1); // the second is as many as fit
        cr_assert_float_eq(number_of(row, "captions_per_second") * number_of(row, "seconds") /
                               number_of(row, "batch"),
                           1, 1e-3);
        cr_assert_gt(number_of(row, "prefill_tokens_per_second"), 0);
        cr_assert_gt(number_of(row, "decode_tokens_per_second"), 0);
        cr_assert_gt(number_of(row, "first_token_ms_mean"), 0);
        cr_assert_leq(number_of(row, "first_token_ms_mean"), number_of(row, "first_token_ms_max"));
        cr_assert_lt(number_of(row, "first_token_ms_max"), 1e3 * number_of(row, "seconds"));
        double planned = number_of(row, "planned_mib"), taken = number_of(row, "taken_mib");
        cr_assert_float_eq(taken / planned, 1, 0.1);
    }
    std::vector<json_t *> decode = rows_of(rows, "decode step");
    std::vector<json_t *> prefill = rows_of(rows, "prefill step");
    cr_assert(decode.size() == 5 && prefill.size() == 5);
    for (size_t i = 0; i < 5; i++) {
        cr_assert_eq(number_of(decode[i], "rows"), 1);
        cr_assert_eq(number_of(prefill[i], "rows"), gpu_plan_tiny.prompt);
        cr_assert_gt(number_of(decode[i], "replayed_ms"), 0);
        cr_assert_gt(number_of(decode[i], "eager_ms"), 0);
        cr_assert_lt(number_of(decode[i], "beyond_kernels_eager"), 1);
        check_step_ops(decode[i], false);
        check_step_ops(prefill[i], true);
    }
}

Test(bench_gpu, what_there_is_no_time_for_is_said) {
    std::vector<json_t *> rows =
        run_bench({"--plan", "tiny", "--part", "captions", "--seconds", "1e-9"}, 0);
    std::vector<json_t *> captions = rows_of(rows, "captions");
    cr_assert_eq(captions.size(), 5);
    for (json_t *row : captions) {
        cr_assert_eq(text_of(row, "skipped"), "no time left");
        cr_assert_null(json_object_get(row, "captions_per_second"));
    }
}

Test(bench_gpu, arguments_that_are_not_understood_are_refused) {
    cr_assert_eq(run_bench({"--plan", "13b"}, 2).size(), 0);
    cr_assert_eq(run_bench({"--part", "some"}, 2).size(), 0);
    cr_assert_eq(run_bench({"--seconds", "soon"}, 2).size(), 0);
    cr_assert_eq(run_bench({"--plan"}, 2).size(), 0);
    cr_assert_eq(run_bench({"--kernels", ""}, 2).size(), 0);
}
