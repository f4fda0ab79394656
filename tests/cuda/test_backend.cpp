// SPDX-License-Identifier: Apache-2.0
// The device table: memory that comes zeroed and runs out politely, weights streamed to the card
// in the order of the kernels, failures that stay, recorded steps.
#include "cuda/ktable.h"
#include "cuda/linear_case.h"
#include "cuda/paged_case.h"
#include "cuda/weight_layout.h"
#include "tests/cuda/open.h"

#include <unistd.h>

// Memory for a card that is not there is planned by cuda/plan.h.
Test(backend, the_page_that_is_planned_is_the_page_that_is_laid_out) {
    Backend backend = open_backend();
    const LayerShape shapes[] = {{LAYER_SLIDING, 16, 8, 256, false, 128},
                                 {LAYER_FULL, 16, 1, 512, true, 64},
                                 {LAYER_FULL, 4, 2, 48, false, 6}};
    for (const LayerShape &shape : shapes) {
        for (int kind = 0; kind < KV_KIND_COUNT; kind++) {
            cr_assert_eq(cuda_page_bytes((KvKind)kind, &shape),
                         backend.device->kv_page_bytes((KvKind)kind, &shape));
        }
    }
    close_backend(&backend);
}

// Expected matrices lie one behind the other, and what comes beyond has memory of its own.
Test(backend, expected_weights_lie_in_one_piece) {
    Backend backend = open_backend();
    Matrix host = matrix_random(LEVEL_INT8, 512, 1024, 32, 3), placed[4];
    size_t bytes = cuda_weight_bytes(&host);
    uint64_t before = simt_memory_used();
    backend.device->expect_weights(backend.context, 3 * bytes);
    uint64_t taken = simt_memory_used() - before;
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(backend.device->place_matrix(backend.context, &host, &placed[i]), OK);
        ptrdiff_t behind = (const char *)placed[i].codes - (const char *)placed[0].codes;
        cr_assert(i == 3 || behind == i * (ptrdiff_t)bytes, "matrix %d is %td behind", i, behind);
        cr_assert(MACHINE_IS_GPU || (simt_memory_used() - before > taken) == (i == 3));
    }
    matrix_free(&host);
    close_backend(&backend);
}

#ifdef TESSERA_SIMT // a GPU has the memory
Test(backend, weights_that_do_not_fit_in_one_piece_are_taken_one_by_one) {
    Backend backend = open_backend(simt_of_memory(40 << 20)); // 32 MiB of scratch among them
    Matrix host = matrix_random(LEVEL_INT8, 512, 1024, 32, 3), placed;
    backend.device->expect_weights(backend.context, 16 << 20);
    cr_assert_eq(backend.device->place_matrix(backend.context, &host, &placed), OK);
    matrix_free(&host);
    close_backend(&backend);
}
#endif

// More panels than a half of the staging memory holds, so both halves are used again.
Test(backend, weights_arrive_in_the_kernels_order) {
    Backend backend = open_backend();
    Matrix host = matrix_random(LEVEL_INT8, 9000, 4096, 64, 3), placed;
    cr_assert_gt(cuda_weight_bytes(&host), 2 * (size_t)CUDA_STAGING_BYTES);
    cr_assert_eq(backend.device->place_matrix(backend.context, &host, &placed), OK);
    uint32_t panels = cuda_weight_panels(&host);
    std::vector<unsigned char> codes(panels * cuda_weight_panel_codes(&host));
    std::vector<unsigned char> scales(panels * cuda_weight_panel_scales(&host));
    cuda_weight_permute(&host, 0, panels, codes.data(), scales.data());
    std::vector<unsigned char> got(codes.size());
    device_read(got.data(), placed.codes, codes.size());
    cr_assert_eq(memcmp(got.data(), codes.data(), codes.size()), 0);
    device_read(got.data(), placed.scales, scales.size());
    cr_assert_eq(memcmp(got.data(), scales.data(), scales.size()), 0);
    matrix_free(&host);
    close_backend(&backend);
}

Test(backend, a_recorded_step_runs_when_it_is_launched_and_as_often) {
    Backend backend = open_backend();
    const DeviceTable *device = backend.device;
    const GraphTable *graphs = device->graphs;
    float *row = (float *)device->take(backend.context, 4096);
    const float start[2] = {3.0f, -60.0f};
    Activation out = {ACTIVATION_F32, 2, 2, row, NULL, NULL};
    OpActivate op = {1, row + 2, 2, out};
    cr_assert(!graphs->has(backend.context, 7));
    cr_assert_eq(graphs->begin(backend.context), OK);
    cr_assert_eq(backend.ops->activate(backend.context, &op), OK);
    cr_assert_eq(graphs->end(backend.context, 7), OK);
    cr_assert(graphs->has(backend.context, 7));
    const float before[2] = {7.0f, 8.0f};
    float after[2];
    for (int round = 0; round < 2; round++) {
        cr_assert_eq(device->upload(backend.context, row, before, sizeof before), OK);
        cr_assert_eq(device->upload(backend.context, row + 2, start, sizeof start), OK);
        cr_assert_eq(device->download(backend.context, after, row, sizeof after), OK);
        cr_assert_eq(device->wait(backend.context, NULL), OK);
        cr_assert_eq(memcmp(after, before, sizeof after), 0, "recording does not run");
        cr_assert_eq(graphs->launch(backend.context, 7), OK);
        cr_assert_eq(device->download(backend.context, after, row, sizeof after), OK);
        cr_assert_eq(device->wait(backend.context, NULL), OK);
        cr_assert_eq(memcmp(after, start, sizeof after), 0);
    }
    // The oldest makes room.
    for (uint64_t key = 100; key < 100 + 128; key++) {
        cr_assert_eq(graphs->begin(backend.context), OK);
        cr_assert_eq(graphs->end(backend.context, key), OK);
    }
    cr_assert(!graphs->has(backend.context, 7) && graphs->has(backend.context, 227));
    graphs->forget(backend.context);
    cr_assert(!graphs->has(backend.context, 227));
    device->give(backend.context, row);
    close_backend(&backend);
}

// Whatever a table says, a row keeps its bits (docs/adr/0004-batch-invariance.md); so every kernel
// that fits is named by a file in turn, for each number of rows.
Test(backend, a_file_of_kernel_choices_changes_the_kernel_and_no_bit) {
    const LinearShape shape = {LEVEL_INT4, ACTIVATION_INT8, 32, 40, 192, 17, LINEAR_PLAIN, true};
    char path[] = "/tmp/tessera-backend-kernels-XXXXXX", card[KTABLE_CARD_MAX];
    close(mkstemp(path));
    Backend by_rule = open_backend();
    LinearCase c = linear_case_open(shape);
    LinearOnDevice d = linear_on_device(&c);
    cr_assert_eq(by_rule.ops->linear(by_rule.context, &d.op), OK);
    std::vector<float> wanted = linear_result(&d);
    LinearArgs args = linear_args(&d.op);
    KernelKey key = ktable_key(&args, ((CudaContext *)by_rule.context)->compute);
    cr_assert_eq(ktable_card(0, card, NULL), OK);
    uint32_t tried = 0;
    for (uint32_t i = 0; i < linear_variant_count; i++) {
        if (!ktable_fits(&linear_variants[i], &key)) {
            continue;
        }
        static KernelTable table;
        table.count = 0;
        cr_assert(ktable_set(&table, &key, &linear_variants[i]));
        cr_assert_eq(ktable_save(&table, card, path, NULL), OK);
        CudaOptions options = {0, path, false};
        Backend backend;
        Error error = {};
        cr_assert_eq(cuda_open(&options, &backend, &error), OK, "%s", error.text);
        linear_clear(&d);
        cr_assert_eq(backend.ops->linear(backend.context, &d.op), OK);
        cr_assert(MACHINE_IS_GPU || strcmp(simt_report()->kernel, linear_variants[i].name) == 0,
                  "%s was launched, not %s", simt_report()->kernel, linear_variants[i].name);
        cr_assert(linear_result(&d) == wanted, "%s gives other bits", linear_variants[i].name);
        backend.close(backend.context);
        tried++;
    }
    cr_assert_geq(tried, 6);
    unlink(path);
    linear_off_device(&d);
    linear_case_close(&c);
    close_backend(&by_rule);
}

Test(backend, a_file_of_kernel_choices_of_another_card_does_not_open) {
    char path[] = "/tmp/tessera-backend-kernels-XXXXXX";
    close(mkstemp(path));
    SimtOptions simt = {};
    simt_reset(&simt);
    static KernelTable none;
    cr_assert_eq(ktable_save(&none, "tessera 0.1.0, sm_75, 40 multiprocessors, T4", path, NULL),
                 OK);
    CudaOptions options = {0, path, false};
    Backend backend;
    Error error = {};
    cr_assert_eq(cuda_open(&options, &backend, &error), E_CONFIG);
    cr_assert(strstr(error.text, "40 multiprocessors, T4") != NULL, "%s", error.text);
    unlink(path);
    cr_assert_eq(cuda_open(&options, &backend, &error), E_NOT_FOUND);
    cr_assert_eq(simt_memory_used(), 0);
}

#ifdef TESSERA_SIMT // a GPU has other limits, and is not to be broken
Test(backend, memory_comes_zeroed_and_runs_out_without_breaking_anything) {
    Backend backend = open_backend(simt_of_memory(UINT64_C(100) << 20));
    const DeviceTable *device = backend.device;
    uint64_t before = device->memory_bytes(backend.context);
    unsigned char *memory = (unsigned char *)device->take(backend.context, 1000);
    unsigned char host[1000];
    cr_assert_eq(device->download(backend.context, host, memory, sizeof host), OK);
    for (unsigned char byte : host) {
        cr_assert_eq(byte, 0);
    }
    cr_assert_eq(device->take(backend.context, (size_t)1 << 30), NULL);
    cr_assert_eq(device->wait(backend.context, NULL), OK, "too little memory is no failure");
    cr_assert_eq(before - device->memory_bytes(backend.context), 1000);
    device->give(backend.context, memory);
    close_backend(&backend);
}

Test(backend, a_weight_that_does_not_fit_is_a_matter_of_memory) {
    Backend backend = open_backend(simt_of_memory(UINT64_C(48) << 20));
    Matrix host = matrix_random(LEVEL_INT8, 9000, 4096, 64, 3), placed;
    cr_assert_eq(backend.device->place_matrix(backend.context, &host, &placed), E_MEMORY);
    cr_assert_eq(backend.device->wait(backend.context, NULL), OK);
    matrix_free(&host);
    close_backend(&backend);
}

Test(backend, no_such_gpu_and_no_memory_are_told_apart) {
    SimtOptions options = {};
    simt_reset(&options);
    CudaOptions cuda = {5, NULL, false};
    Backend backend;
    Error error = {};
    cr_assert_eq(cuda_open(&cuda, &backend, &error), E_DEVICE);
    options.memory_bytes = 1 << 20; // less than the scratch
    simt_reset(&options);
    cuda.device = 0;
    cr_assert_eq(cuda_open(&cuda, &backend, &error), E_MEMORY, "%s", error.text);
    cr_assert_eq(simt_memory_used(), 0);
}

Test(backend, a_failure_stays_until_the_backend_is_opened_anew) {
    Backend backend = open_backend();
    float host[4] = {1, 2, 3, 4};
    cr_assert_eq(backend.device->upload(backend.context, host, host, sizeof host), E_DEVICE,
                 "not device memory");
    Error error = {};
    cr_assert_eq(backend.device->wait(backend.context, &error), E_DEVICE);
    cr_assert(strstr(error.text, "upload") != NULL, "%s", error.text);
    Activation out = {ACTIVATION_F32, 4, 4, host, NULL, NULL};
    OpActivate op = {1, host, 4, out};
    cr_assert_eq(backend.ops->activate(backend.context, &op), E_DEVICE, "every later op refuses");
    close_backend(&backend);
    backend = open_backend();
    cr_assert_eq(backend.device->wait(backend.context, &error), OK);
    close_backend(&backend);
}
#endif
