// SPDX-License-Identifier: Apache-2.0
// attention for everything: f32 pages (truth) and head sizes that mma tiles do not fit. A block is
// one head of one row, so that a row cannot see its neighbours; the
// positions go by in chunks of 128 at absolute places, a thread is a position for the scores and a
// column for the output.
//
// Tile: 128 positions; 128 threads; shared memory for q, the probabilities and their sums (3 KB at
// head_dim 512); 68 registers. Bytes: a group of heads reads its keys and values once per head, not
// once; 4 operations a number.
// promise: spills 0, calls 0
#include "cuda/kernels/attention.h"
#include "cuda/kernels/exp.cuh"

enum { CHUNK = 128, COLUMNS_MAX = 4 }; // columns of a thread: head_dim 512

typedef struct AttentionArgs {
    KvView cache;
    const float *q;
    uint32_t q_stride;
    float *scratch; // [rows][heads * head_dim]
} AttentionArgs;

// One cached number, widened; int8 without its scale.
DEVICE float cached(const KvForm &form, const unsigned char *page, KvSide side, uint32_t head,
                    uint32_t token, uint32_t d) {
    side = kv_key_kept(form, d) ? side : KV_VALUES; // of shared pages
    const unsigned char *at = page + kv_number_offset(form, side, head, token, d);
    if (form.kind == KV_F32) {
        return global_load((const float *)at);
    }
    if (form.kind == KV_BF16) {
        return bf16_to_float(global_load((const uint16_t *)at));
    }
    int code = global_load(at);
    return (float)(side == KV_VALUES ? code - KV_VALUE_OFFSET : (int)(int8_t)code);
}

DEVICE float cached_scale(const KvForm &form, const unsigned char *page, KvSide side, uint32_t head,
                          uint32_t token) {
    return form.kind != KV_INT8
               ? 1.0f
               : global_load((const float *)(page + kv_scale_offset(form, side, head, token)));
}

// A value of every thread to all of them, in a fixed order: through the first sums of the block.
template <typename Fold> DEVICE float block_fold(float *sums, float value, Fold fold) {
    block_sync();
    shared_store(sums + thread_index(), value);
    for (unsigned half = CHUNK / 2; half > 0; half /= 2) {
        block_sync();
        if (thread_index() < half) {
            float other = shared_load(sums + thread_index() + half);
            shared_store(sums + thread_index(), fold(shared_load(sums + thread_index()), other));
        }
    }
    block_sync();
    return shared_load(sums);
}

KERNEL void KERNEL_BOUNDS(CHUNK, 4) attention_plain_kernel(const AttentionArgs args) {
    const KvView &cache = args.cache;
    uint32_t row = block_x(), head = block_y(), thread = thread_index();
    const KvForm &form = cache.form;
    uint32_t head_dim = form.head_dim, kv_head = head / (cache.head_count / form.kv_heads);
    float *q = (float *)shared_base(), *probabilities = q + head_dim, *sums = probabilities + CHUNK;
    const float *from = args.q + (size_t)row * args.q_stride + (size_t)head * head_dim;
    for (uint32_t d = thread; d < head_dim; d += CHUNK) {
        shared_store(q + d, global_load(from + d));
    }
    block_sync();

    KvRange range = kv_range(cache, row);
    const uint32_t *table = kv_sequence_table(cache, global_load(cache.row_sequence + row));
    float highest = -INFINITY, sum = 0.0f, out[COLUMNS_MAX] = {0, 0, 0, 0};
    for (uint32_t first = range.first / CHUNK * CHUNK; first < range.end; first += CHUNK) {
        uint32_t position = first + thread;
        bool seen = position >= range.first && position < range.end;
        float score = -INFINITY, scale = 0.0f;
        if (seen) {
            const unsigned char *page = kv_page(cache, table, position);
            uint32_t token = position % KV_PAGE_TOKENS;
            score = 0.0f;
            for (uint32_t d = 0; d < head_dim; d++) {
                score =
                    fmaf(shared_load(q + d), cached(form, page, KV_KEYS, kv_head, token, d), score);
            }
            score *= cached_scale(form, page, KV_KEYS, kv_head, token);
            scale = cached_scale(form, page, KV_VALUES, kv_head, token);
        }
        float before = highest;
        highest =
            fmaxf(highest, block_fold(sums, score, [](float a, float b) { return fmaxf(a, b); }));
        float probability = seen ? exp_f32(score - highest) : 0.0f;
        shared_store(probabilities + thread, probability * scale);
        float factor = exp_f32(before - highest); // the first time exp(-inf) = 0
        float total = block_fold(sums, probability, [](float a, float b) { return a + b; });
        sum = fmaf(sum, factor, total);
        uint32_t t_first = range.first > first ? range.first - first : 0;
        uint32_t t_end = range.end - first < CHUNK ? range.end - first : (uint32_t)CHUNK;
        UNROLL
        for (int c = 0; c < COLUMNS_MAX; c++) {
            uint32_t d = thread + (uint32_t)c * CHUNK;
            out[c] *= factor;
            for (uint32_t t = t_first; t < t_end && d < head_dim; t++) {
                const unsigned char *page = kv_page(cache, table, first + t);
                float value = cached(form, page, KV_VALUES, kv_head, t % KV_PAGE_TOKENS, d);
                out[c] = fmaf(shared_load(probabilities + t), value, out[c]);
            }
        }
    }
    float *to = args.scratch + ((size_t)row * cache.head_count + head) * head_dim;
    UNROLL
    for (int c = 0; c < COLUMNS_MAX; c++) {
        uint32_t d = thread + (uint32_t)c * CHUNK;
        if (d < head_dim) {
            global_store(to + d, out[c] / sum);
        }
    }
}

Status attention_plain(CudaContext *cuda, const OpAttention *op) {
    const LayerShape *shape = &op->cache.shape;
    AttentionArgs args = {kv_view(&op->cache, &op->rows, op->window), op->q, op->q_stride,
                          op->scratch};
    dim3 grid(op->rows.row_count, shape->head_count);
    size_t shared = (shape->head_dim + 2 * CHUNK) * sizeof(float);
    Status status =
        cuda_launched(cuda, "attention_plain",
                      LAUNCH(attention_plain_kernel, grid, CHUNK, shared, cuda->stream, args));
    OpActivate activate = {op->rows.row_count, op->scratch, shape->head_count * shape->head_dim,
                           op->out};
    return status != OK ? status : cuda_activate(cuda, &activate);
}
