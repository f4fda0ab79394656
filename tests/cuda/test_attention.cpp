// SPDX-License-Identifier: Apache-2.0
// attention, rope_table, rope_append and copy_pages on the emulator against the cpu's reference, on
// the shapes of tests/ops.
#include "cuda/kv_layout.cuh"
#include "cuda/paged_case.h"
#include "tests/cuda/open.h"

#include <criterion/criterion.h>

extern "C" {
#include "cpu/context.h"
#include "ops/attention_cases.h"
#include "ops/tolerance.h"
#include "unit/cpu/random_operands.h"
}

static CudaContext context;

static const char *const kind_names[] = {"f32", "bf16", "int8"};

static void assert_near(const float *got, const float *wanted, size_t count, Tolerance tolerance,
                        const char *what, KvKind kind) {
    for (size_t i = 0; i < count; i++) {
        double difference = fabs((double)got[i] - (double)wanted[i]);
        double allowed = tolerance.absolute + tolerance.relative * fabs((double)wanted[i]);
        cr_assert(difference <= allowed, "%s, %s: value %zu is %.9g, wanted %.9g (off by %.3g)",
                  what, kind_names[kind], i, (double)got[i], (double)wanted[i], difference);
    }
}

// ---- attention ----------------------------------------------------------------------------------

// A case on host and device, with its queries.
typedef struct Prepared {
    const AttentionCase *shape;
    Paged paged;
    PagedOnDevice device;
    uint32_t columns;
    float *q; // [rows][columns + 4]
} Prepared;

static void prepare(Prepared *p, const AttentionCase *one, KvKind kind, float scale) {
    p->shape = one;
    PagedSpec spec = {one->shape, kind, one->window, one->sequences, one->sequence_count, 11};
    paged_open(&p->paged, &spec);
    paged_fill(&p->paged, 12);
    p->device = paged_on_device(&p->paged, 0xff); // stale bytes are NaN
    paged_fill_on_device(&p->device, &p->paged, 12);
    p->columns = one->shape.head_count * one->shape.head_dim;
    p->q = random_floats((size_t)p->paged.rows.row_count * (p->columns + 4), scale, 13);
}

static void unprepare(Prepared *p) {
    free(p->q);
    paged_off_device(&p->device);
    paged_close(&p->paged);
}

// Multiprocessors with which one block walks the positions of a tile, or several share them.
enum { WALKED = 0, SHARED = 100000 };

static void assert_tickets_zero(void) {
    const unsigned char *tickets = context.scratch + CUDA_SCRATCH_BYTES - CUDA_TICKET_BYTES;
    std::vector<unsigned char> bytes(CUDA_TICKET_BYTES), zeros(CUDA_TICKET_BYTES);
    device_read(bytes.data(), tickets, bytes.size());
    cr_assert_arr_eq(bytes.data(), zeros.data(), bytes.size(), "a ticket is left");
}

// The rows' activation of a kind, as bytes; `scratch` takes the rows before they were rounded.
static std::vector<unsigned char> run_kind(const Prepared *p, const PagedRows &rows, const float *q,
                                           ActivationKind kind, int multiprocessors,
                                           std::vector<float> *scales,
                                           std::vector<float> *scratch) {
    context.multiprocessors = multiprocessors;
    uint32_t stride = (p->columns + ACTIVATION_COLUMN_ALIGN - 1) / ACTIVATION_COLUMN_ALIGN *
                      ACTIVATION_COLUMN_ALIGN;
    std::vector<void *> memory;
    std::vector<unsigned char> out((size_t)rows.row_count * stride * activation_value_bytes(kind));
    scratch->resize((size_t)rows.row_count * p->columns);
    scales->assign(rows.row_count, 0.0f);
    OpAttention op = {};
    op.q = (const float *)device_copy(q, (size_t)rows.row_count * (p->columns + 4) * 4, 0, &memory);
    op.q_stride = p->columns + 4;
    op.cache = p->device.cache;
    op.rows = rows;
    op.window = p->shape->window;
    op.scratch = (float *)device_copy(NULL, scratch->size() * 4, 0xff, &memory);
    op.out = {kind, p->columns, stride, NULL, NULL, NULL};
    op.out.values = device_copy(NULL, out.size(), 0xff, &memory);
    op.out.scales = (float *)device_copy(NULL, scales->size() * 4, 0, &memory);
    cr_assert_eq(cuda_attention(&context, &op), OK, "%s %s", context.failure.text, simt_fault());
    cr_assert_str_empty(simt_fault());
    device_read(out.data(), op.out.values, out.size());
    device_read(scales->data(), op.out.scales, scales->size() * 4);
    device_read(scratch->data(), op.scratch, scratch->size() * 4);
    for (void *pointer : memory) {
        cudaFree(pointer);
    }
    assert_tickets_zero();
    return out;
}

static std::vector<float> run(const Prepared *p, const PagedRows &rows, const float *q,
                              int multiprocessors) {
    std::vector<float> scratch, scales;
    run_kind(p, rows, q, ACTIVATION_F32, multiprocessors, &scales, &scratch);
    return scratch;
}

static std::vector<float> reference(const Prepared *p) {
    std::vector<float> out((size_t)p->paged.rows.row_count * p->columns), scratch(out.size());
    OpAttention op = {};
    op.q = p->q;
    op.q_stride = p->columns + 4;
    op.cache = p->paged.cache;
    op.rows = p->paged.rows;
    op.window = p->shape->window;
    op.scratch = scratch.data();
    op.out = {ACTIVATION_F32, p->columns, p->columns, out.data(), NULL, NULL};
    cr_assert_eq(attention_ref(NULL, &op), OK);
    return out;
}

static void assert_same_bits(const float *got, const float *wanted, size_t count, const char *what,
                             KvKind kind, const char *rule) {
    cr_assert_eq(memcmp(got, wanted, count * sizeof *got), 0, "%s, %s: %s", what, kind_names[kind],
                 rule);
}

static void check_case(const AttentionCase *one, KvKind kind) {
    Prepared p;
    prepare(&p, one, kind, 0.5f);
    std::vector<float> wanted = reference(&p);
    std::vector<float> got = run(&p, p.device.rows, p.q, WALKED);
    assert_near(got.data(), wanted.data(), got.size(), TOLERANCE_ATTENTION_CUDA[kind], one->name,
                kind);
    std::vector<float> shared = run(&p, p.device.rows, p.q, SHARED);
    assert_same_bits(shared.data(), got.data(), got.size(), one->name, kind,
                     "splits dealt to blocks change the bits");
    // Each sequence alone, in chunks of 7 rows.
    for (uint32_t s = 0; s < one->sequence_count; s++) {
        for (uint32_t first = 0; first < one->sequences[s].rows; first += 7) {
            uint32_t rows = one->sequences[s].rows - first < 7 ? one->sequences[s].rows - first : 7;
            PagedRows few = paged_part_on_device(&p.device, &p.paged, s, first, rows);
            size_t row = p.paged.sequences[s].row_first + first;
            std::vector<float> part =
                run(&p, few, p.q + row * (p.columns + 4), s % 2 == 0 ? WALKED : SHARED);
            assert_same_bits(part.data(), got.data() + row * p.columns, part.size(), one->name,
                             kind, "a row has other bits alone");
        }
    }
    unprepare(&p);
}

static void check_cases(KvKind kind) {
    context = open_context(simt_seeded(kind + 1));
    for (size_t i = 0; i < ATTENTION_CASES; i++) {
        // Pages of f32 go to the plain kernel, a block for each head of each row: four heads say as
        // much as sixteen, and take a quarter of the time.
        if (kind != KV_F32 || attention_cases[i].shape.head_count <= 4) {
            check_case(&attention_cases[i], kind);
        }
    }
    close_context(&context);
}

Test(attention, f32_pages_equal_the_reference_and_rows_do_not_see_their_neighbours) {
    check_cases(KV_F32);
}

Test(attention, bf16_pages_equal_the_reference_and_rows_do_not_see_their_neighbours) {
    check_cases(KV_BF16);
}

Test(attention, int8_pages_equal_the_reference_and_rows_do_not_see_their_neighbours) {
    check_cases(KV_INT8);
}

// Three rows over two splits, so that blocks of other heads and splits finish in any order.
static const AttentionCase small_case = {
    "small", {LAYER_SLIDING, 4, 2, 64, false, 32}, 1024, 2, {{200, 2, 0, 0}, {130, 1, 0, 0}}};

// The same for shared pages, with a tile of either size.
static const AttentionCase small_shared_kv_case = {
    "small, shared", {LAYER_FULL, 4, 1, 64, true, 8}, 0, 2, {{200, 9, 0, 0}, {130, 1, 0, 0}}};

static void check_schedules(const AttentionCase *one, KvKind kind) {
    std::vector<float> first;
    for (uint64_t seed = 0; seed < 5; seed++) {
        context = open_context(simt_seeded(seed));
        Prepared p;
        prepare(&p, one, kind, 0.5f);
        std::vector<float> got = run(&p, p.device.rows, p.q, SHARED);
        first = seed == 0 ? got : first;
        assert_same_bits(got.data(), first.data(), got.size(), one->name, kind, "the seed shows");
        unprepare(&p);
        close_context(&context);
    }
}

Test(attention, the_schedule_changes_nothing) {
    check_schedules(&small_case, KV_INT8);
    check_schedules(&small_shared_kv_case, KV_BF16);
}

Test(attention, rows_leave_as_activations_of_every_kind) {
    context = open_context(simt_seeded(6));
    for (int kv = 0; kv < KV_KIND_COUNT; kv++) {
        Prepared p;
        prepare(&p, &small_case, (KvKind)kv, 0.5f);
        uint32_t rows = p.paged.rows.row_count;
        for (int kind = 0; kind < ACTIVATION_KIND_COUNT; kind++) {
            std::vector<float> scales, scratch;
            std::vector<unsigned char> got =
                run_kind(&p, p.device.rows, p.q, (ActivationKind)kind, SHARED, &scales, &scratch);
            Activation wanted = activation_alloc((ActivationKind)kind, rows, p.columns);
            OpActivate activate = {rows, scratch.data(), p.columns, wanted};
            cr_assert_eq(activate_ref(NULL, &activate), OK);
            cr_assert_arr_eq(got.data(), wanted.values, got.size());
            cr_assert(!activation_is_integer((ActivationKind)kind) ||
                      memcmp(scales.data(), wanted.scales, rows * sizeof(float)) == 0);
            activation_free(&wanted);
        }
        unprepare(&p);
    }
    close_context(&context);
}

// ---- Steps of many rows -------------------------------------------------------------------------

// With a slot for every row and sequence, tickets would not do for a step of the first.
static const AttentionCase wide_case = {
    "wide", {LAYER_SLIDING, 64, 64, 64, false, 32}, 40, 2, {{0, 250, 0, 0}, {5, 2, 0, 0}}};

// 32 slots of 16 rows, with tickets for 31; the last sequence is in the second launch.
static const AttentionCase widest_case = {
    "widest", {LAYER_SLIDING, 512, 512, 64, false, 32}, 4, 2, {{0, 481, 0, 0}, {3, 1, 0, 0}}};

// All at once as the reference has it, and the rows [first, first + count) of a sequence alone.
static void check_wide(const AttentionCase *one, uint32_t sequence, uint32_t first,
                       uint32_t count) {
    Prepared p;
    prepare(&p, one, KV_BF16, 0.5f);
    std::vector<float> wanted = reference(&p), got = run(&p, p.device.rows, p.q, WALKED);
    assert_near(got.data(), wanted.data(), got.size(), TOLERANCE_ATTENTION_CUDA[KV_BF16], one->name,
                KV_BF16);
    PagedRows few = paged_part_on_device(&p.device, &p.paged, sequence, first, count);
    size_t row = p.paged.sequences[sequence].row_first + first;
    std::vector<float> part = run(&p, few, p.q + row * (p.columns + 4), WALKED);
    assert_same_bits(part.data(), got.data() + row * p.columns, part.size(), one->name, KV_BF16,
                     "a row has other bits alone");
    unprepare(&p);
}

Test(attention, a_row_has_the_same_bits_in_a_step_of_many_rows) {
    context = open_context(simt_seeded(8));
    check_wide(&wide_case, 0, 120, 40);
    check_wide(&widest_case, 1, 0, 1);
    close_context(&context);
}

#ifdef TESSERA_SIMT // a GPU cannot launch and not run
static void launch_dry(const LayerShape *shape, KvKind kind, uint32_t rows, uint32_t sequences) {
    OpAttention op = {};
    op.q_stride = gemma4_qkv_rows(shape);
    op.cache.kind = kind;
    op.cache.shape = *shape;
    op.rows.row_count = rows;
    op.rows.sequence_count = sequences;
    op.rows.kv_length_max = 4096;
    op.window = 1024;
    op.out = {ACTIVATION_INT8, shape->head_count * shape->head_dim, 0, NULL, NULL, NULL};
    cr_assert_eq(cuda_attention(&context, &op), OK, "%u rows, %u sequences: %s", rows, sequences,
                 context.failure.text);
    cr_assert(strstr(simt_report()->kernel, "attention_tile") != NULL, "%u rows, %u sequences: %s",
              rows, sequences, simt_report()->kernel);
}

Test(attention, every_step_of_the_12b_has_tiles) {
    const LayerShape layers[] = {{LAYER_SLIDING, 16, 8, 256, false, 128},
                                 {LAYER_FULL, 16, 1, 512, true, 64}};
    context = open_context(simt_dry());
    for (const LayerShape &shape : layers) {
        for (KvKind kind : {KV_BF16, KV_INT8}) {
            for (uint32_t rows = 1; rows <= 4096; rows++) {
                for (uint32_t sequences = 1; sequences <= 256 && sequences <= rows; sequences++) {
                    launch_dry(&shape, kind, rows, sequences);
                }
            }
            launch_dry(&shape, kind, 65536, 4096); // the most that may be asked for
            launch_dry(&shape, kind, 4096, 4096);
        }
    }
    close_context(&context);
}
#endif

// As tests/ops/test_attention.c has it: scores of some hundreds. q keeps 16 bits (bf16 pages) or 15
// (int8), so scores of 400 are off by 400 x 2^-15, and probabilities by that share.
Test(attention, large_scores_are_safe) {
    context = open_context(simt_seeded(7));
    for (int kind = 0; kind < KV_KIND_COUNT; kind++) {
        Prepared p;
        prepare(&p, &small_case, (KvKind)kind, 100.0f);
        std::vector<float> wanted = reference(&p), got = run(&p, p.device.rows, p.q, WALKED);
        assert_near(got.data(), wanted.data(), got.size(), {0.02, 0.0}, "large scores",
                    (KvKind)kind);
        unprepare(&p);
    }
    close_context(&context);
}

#ifdef TESSERA_SIMT // a GPU does not count
// ---- What a GPU would have to do ----------------------------------------------------------------

static SimtReport profiled(const AttentionCase *one, KvKind kind, size_t *cache_bytes) {
    context = open_context(simt_profiled());
    Prepared p;
    prepare(&p, one, kind, 0.5f);
    run(&p, p.device.rows, p.q, SHARED);
    SimtReport report = *simt_report();
    *cache_bytes = p.device.page_bytes_all;
    unprepare(&p);
    close_context(&context);
    return report;
}

// Each with 64 positions and with 128, which differ in nothing but the cached numbers they read.
static const AttentionCase profile_cases[] = {
    {"decode sliding", {LAYER_SLIDING, 4, 2, 256, false, 128}, 1024, 1, {{63, 1, 0, 0}}},
    {"decode sliding", {LAYER_SLIDING, 4, 2, 256, false, 128}, 1024, 1, {{127, 1, 0, 0}}},
    {"decode full", {LAYER_FULL, 16, 1, 512, true, 64}, 0, 1, {{63, 1, 0, 0}}},
    {"decode full", {LAYER_FULL, 16, 1, 512, true, 64}, 0, 1, {{127, 1, 0, 0}}},
    {"prefill sliding", {LAYER_SLIDING, 4, 2, 256, false, 128}, 1024, 1, {{48, 16, 0, 0}}},
    {"prefill sliding", {LAYER_SLIDING, 4, 2, 256, false, 128}, 1024, 1, {{112, 16, 0, 0}}},
    {"prefill full", {LAYER_FULL, 16, 1, 512, true, 64}, 0, 1, {{62, 2, 0, 0}}},
    {"prefill full", {LAYER_FULL, 16, 1, 512, true, 64}, 0, 1, {{126, 2, 0, 0}}},
};

Test(attention, a_position_costs_its_own_bytes_once_and_no_bank_conflicts) {
    for (size_t i = 0; i < sizeof profile_cases / sizeof profile_cases[0]; i += 2) {
        for (KvKind kind : {KV_BF16, KV_INT8}) {
            const char *name = profile_cases[i].name;
            size_t few_bytes, many_bytes;
            SimtReport few = profiled(&profile_cases[i], kind, &few_bytes);
            SimtReport many = profiled(&profile_cases[i + 1], kind, &many_bytes);
            cr_assert_eq(few.bank_conflicts + many.bank_conflicts, 0, "%s, %s", name,
                         kind_names[kind]);
            double read = 32.0 * (double)(many.load_sectors - few.load_sectors);
            double least = (double)(many_bytes - few_bytes);
            cr_assert_leq(read, 1.05 * least, "%s, %s: reads %.0f bytes for %.0f", name,
                          kind_names[kind], read, least);
            cr_assert_geq(read, least, "%s, %s: reads less than there is", name, kind_names[kind]);
        }
    }
}
#endif

// ---- rope_table, rope_append --------------------------------------------------------------------

static void check_table(uint32_t pair_count, const std::vector<uint32_t> &positions,
                        const float *frequencies) {
    size_t count = positions.size() * pair_count;
    std::vector<float> cosine(count), sine(count), got_cosine(count), got_sine(count);
    OpRopeTable op = {(uint32_t)positions.size(),
                      positions.data(),
                      pair_count,
                      frequencies,
                      cosine.data(),
                      sine.data()};
    cr_assert_eq(rope_table_ref(NULL, &op), OK);
    std::vector<void *> memory;
    op.positions =
        (const uint32_t *)device_copy(positions.data(), positions.size() * 4, 0, &memory);
    op.inverse_frequency = (const float *)device_copy(frequencies, pair_count * 4, 0, &memory);
    op.cosine = (float *)device_copy(NULL, count * 4, 0xff, &memory);
    op.sine = (float *)device_copy(NULL, count * 4, 0xff, &memory);
    cr_assert_eq(cuda_rope_table(&context, &op), OK, "%s", simt_fault());
    device_read(got_cosine.data(), op.cosine, count * 4);
    device_read(got_sine.data(), op.sine, count * 4);
    // Both round a double of 52 good bits to 24: the same number.
    cr_assert_arr_eq(got_cosine.data(), cosine.data(), count * 4);
    cr_assert_arr_eq(got_sine.data(), sine.data(), count * 4);
    for (void *pointer : memory) {
        cudaFree(pointer);
    }
}

Test(rope_table, has_the_bits_of_the_reference_up_to_the_longest_context) {
    context = open_context(simt_seeded(2));
    std::vector<uint32_t> positions = {0, 1, 2, 3, 1023, 1024, 65535, 131071, 262143, 1048575};
    for (uint32_t i = 0; i < 50; i++) {
        positions.push_back(i * 5237 % 262144);
    }
    float *frequencies = random_floats(128, 0.5f, 4);
    for (uint32_t j = 0; j < 128; j++) {
        frequencies[j] = j >= 96 ? 0.0f : j == 0 ? 1.0f : fabsf(frequencies[j]);
    }
    check_table(128, positions, frequencies);
    check_table(32, {7}, frequencies);
    free(frequencies);
    close_context(&context);
}

// What of the norm of k goes to q: that of the numbers which RoPE leaves alone, where the page has
// no key for them.
static std::vector<float> moved_norm(const LayerShape *shape, KvKind kind, const float *k_norm) {
    std::vector<float> moved(shape->head_dim, 1.0f);
    for (uint32_t d = 0; d < shape->head_dim && shape->value_is_key && kind != KV_INT8; d++) {
        moved[d] = d % (shape->head_dim / 2) < shape->rotated_pairs ? 1.0f : k_norm[d];
    }
    return moved;
}

static void check_append(const LayerShape *shape, KvKind kind) {
    uint32_t pairs = shape->head_dim / 2, stride = gemma4_qkv_rows(shape) + 5;
    Paged wanted;
    PagedSpec spec = {*shape, kind, 1024, rope_sequences, ROPE_SEQUENCES, 5};
    paged_open(&wanted, &spec);
    PagedOnDevice d = paged_on_device(&wanted, 0);
    uint32_t rows = wanted.rows.row_count;
    size_t count = (size_t)rows * stride;
    float *norm = random_floats(2 * shape->head_dim, 1.0f, 3), *qkv = random_floats(count, 3.0f, 6);
    float *angles = random_floats((size_t)rows * pairs, 3.0f, 4);
    std::vector<float> cosine((size_t)rows * pairs), sine((size_t)rows * pairs), got(count);
    for (size_t i = 0; i < cosine.size(); i++) {
        bool turns = i % pairs < shape->rotated_pairs;
        cosine[i] = turns ? cosf(angles[i]) : 1.0f;
        sine[i] = turns ? sinf(angles[i]) : 0.0f;
    }
    std::vector<void *> memory;
    OpRopeAppend op = {};
    op.qkv = (float *)device_copy(qkv, count * 4, 0, &memory);
    op.qkv_stride = stride;
    op.q_norm = (const float *)device_copy(norm, shape->head_dim * 4, 0, &memory);
    op.k_norm = (const float *)device_copy(norm + shape->head_dim, shape->head_dim * 4, 0, &memory);
    op.eps = 1e-6f;
    op.cosine = (const float *)device_copy(cosine.data(), cosine.size() * 4, 0, &memory);
    op.sine = (const float *)device_copy(sine.data(), sine.size() * 4, 0, &memory);
    op.cache = d.cache;
    op.rows = d.rows;
    cr_assert_eq(cuda_rope_append(&context, &op), OK, "%s", simt_fault());
    device_read(got.data(), op.qkv, count * 4);
    OpRopeAppend host = {qkv,        stride,        norm,        norm + shape->head_dim,
                         1e-6f,      cosine.data(), sine.data(), wanted.cache,
                         wanted.rows};
    cr_assert_eq(rope_append_ref(NULL, &host), OK);
    std::vector<float> moved = moved_norm(shape, kind, norm + shape->head_dim);
    for (uint32_t r = 0; r < rows; r++) {
        float *q = qkv + (size_t)r * stride;
        for (uint32_t i = 0; i < shape->head_count * shape->head_dim; i++) {
            q[i] *= moved[i % shape->head_dim];
        }
        assert_near(got.data() + (size_t)r * stride, q, (size_t)shape->head_count * shape->head_dim,
                    TOLERANCE_ROPE, "q", kind);
    }
    size_t cached;
    float *numbers = paged_numbers(&wanted, &cached);
    std::vector<float> got_numbers = paged_numbers_on_device(&d, &wanted);
    cr_assert_eq(got_numbers.size(), cached);
    for (size_t i = 0; i < cached; i++) { // keys, values, keys, ...
        got_numbers[i] *= i / shape->head_dim % 2 == 0 ? moved[i % shape->head_dim] : 1.0f;
    }
    assert_near(got_numbers.data(), numbers, cached, TOLERANCE_CACHE[kind], "cache", kind);
    for (void *pointer : memory) {
        cudaFree(pointer);
    }
    free(numbers);
    free(norm);
    free(qkv);
    free(angles);
    paged_off_device(&d);
    paged_close(&wanted);
}

Test(rope_append, every_kind_of_page_equals_the_reference) {
    context = open_context(simt_seeded(3));
    for (size_t i = 0; i < ROPE_SHAPES; i++) {
        for (int kind = 0; kind < KV_KIND_COUNT; kind++) {
            check_append(&rope_shapes[i], (KvKind)kind);
        }
    }
    close_context(&context);
}

// ---- The page ----------------------------------------------------------------------------------

// Every number that a page of a form is said to have, at a place of its own, and nothing between.
static void check_page(const KvForm &form) {
    uint32_t number_bytes = kv_number_bytes(form.kind);
    std::vector<int> used(kv_layout_page_bytes(form), 0);
    for (KvSide side : {KV_KEYS, KV_VALUES}) {
        for (uint32_t i = 0; i < form.kv_heads * KV_PAGE_TOKENS * form.head_dim; i++) {
            uint32_t d = i % form.head_dim, head = i / form.head_dim / KV_PAGE_TOKENS;
            if (side == KV_VALUES || kv_key_kept(form, d)) {
                size_t at =
                    kv_number_offset(form, side, head, i / form.head_dim % KV_PAGE_TOKENS, d);
                cr_assert_leq(at + number_bytes, used.size());
                used[at]++;
            }
        }
    }
    size_t numbers = (size_t)form.kv_heads * KV_PAGE_TOKENS * (form.key_dim + form.head_dim);
    for (size_t at = 0; at < used.size(); at++) {
        int wanted = at % number_bytes == 0 && at < numbers * number_bytes ? 1 : 0;
        cr_assert_eq(used[at], wanted, "byte %zu is the start of %d numbers", at, used[at]);
    }
    cr_assert_eq(used.size(), numbers * number_bytes +
                                  (form.kind == KV_INT8 ? form.kv_heads * KV_PAGE_TOKENS * 8 : 0));
}

Test(kv_layout, a_number_has_one_place_and_a_shared_page_keeps_what_rope_turns_of_a_key) {
    const LayerShape full = {LAYER_FULL, 16, 1, 512, true, 64}; // of the 12B
    KvForm shared = kv_form(KV_BF16, &full);
    cr_assert_eq(shared.key_dim, 128);
    cr_assert_eq(kv_layout_page_bytes(shared), KV_PAGE_TOKENS * (512 + 128) * 2);
    for (uint32_t d = 0; d < 512; d++) { // model.md 1.3: 0..63 and 256..319 turn
        cr_assert_eq(kv_key_kept(shared, d), d < 64 || (d >= 256 && d < 320), "%u", d);
    }
    LayerShape shapes[] = {full, full, full, {LAYER_FULL, 4, 2, 24, true, 3}};
    shapes[1].value_is_key = false;
    shapes[2].rotated_pairs = 128; // another share than a quarter
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        for (int kind = 0; kind < KV_KIND_COUNT; kind++) {
            KvForm form = kv_form((KvKind)kind, &shapes[i]);
            cr_assert_eq(kv_is_shared(form), kind != KV_INT8 && (i == 0 || i == 3));
            check_page(form);
        }
    }
}

// ---- copy_pages ---------------------------------------------------------------------------------

Test(copy_pages, copies_every_layer_of_the_kind_and_nothing_else) {
    enum { LAYERS = 3, PAGES = 300, COPIES = 140 }; // more copies than a launch takes
    context = open_context(simt_seeded(4));
    LayerShape shape = {LAYER_FULL, 2, 1, 16, true, 2};
    size_t bytes = kv_layout_page_bytes(kv_form(KV_BF16, &shape));
    KvLayer layers[LAYERS];
    std::vector<void *> memory;
    std::vector<unsigned char> before(PAGES * bytes), after(PAGES * bytes);
    uint32_t from[COPIES], to[COPIES];
    for (uint32_t i = 0; i < COPIES; i++) {
        from[i] = 2 * i;
        to[i] = 2 * ((i + 7) % COPIES) + 1;
    }
    for (size_t i = 0; i < before.size(); i++) {
        before[i] = (unsigned char)(i * 2654435761u >> 13);
    }
    for (KvLayer &layer : layers) {
        layer = {KV_BF16, shape, bytes, device_copy(before.data(), before.size(), 0, &memory)};
    }
    OpCopyPages op = {layers, LAYERS, COPIES, from, to};
    cr_assert_eq(cuda_copy_pages(&context, &op), OK, "%s", simt_fault());
    std::vector<unsigned char> wanted = before;
    for (uint32_t i = 0; i < COPIES; i++) {
        memcpy(wanted.data() + to[i] * bytes, before.data() + from[i] * bytes, bytes);
    }
    for (KvLayer &layer : layers) {
        device_read(after.data(), layer.pages, after.size());
        cr_assert_arr_eq(after.data(), wanted.data(), after.size());
    }
    for (void *pointer : memory) {
        cudaFree(pointer);
    }
    close_context(&context);
}
