// SPDX-License-Identifier: Apache-2.0
// rope_append: a warp is one head of one row, q, k or v. It norms the head, turns it (q and k),
// multiplies it by the Hadamard matrix where the cache is int8 (q and k), and writes it: q back in
// place, k and v into the page (kv_layout.cuh), where a token's block of 64 or 128 bytes is one
// piece. v of a layer whose value is the key reads the raw k, which nobody overwrites. On shared
// pages k writes its turned numbers only, and q takes k_norm into the others.
//
// Tile: 8 heads of a row a block; lane l has numbers l, l + 32, ... of the head. 256 threads, one
// head each of shared memory (16 KB at head_dim 512) for the partner of a pair, 88 registers at
// head_dim 512. Bytes: each number read once and written once; about 20 operations a number, and 2
// per level of the Hadamard transform, the first five of them shuffles.
// promise: spills 0, calls 0
#include "cuda/context.h"
#include "cuda/kv_layout.cuh"

enum { WARPS = 8, THREADS = WARPS * 32, PER_LANE_MAX = 16 };

typedef struct RopeAppendArgs {
    KvView cache;
    float *qkv;
    uint32_t qkv_stride;
    bool value_is_key;
    uint32_t rotation; // order of the Hadamard matrix; 1 = none
    float eps;
    const float *q_norm, *k_norm, *cosine, *sine;
} RopeAppendArgs;

// What one warp works on.
typedef struct Head {
    uint32_t row, head;
    bool is_query;
    KvSide side; // of a cached head
    float *from; // in qkv
} Head;

DEVICE Head head_of(const RopeAppendArgs &args, uint32_t row, uint32_t index) {
    const KvView &cache = args.cache;
    float *qkv = args.qkv + (size_t)row * args.qkv_stride;
    uint32_t head_dim = cache.form.head_dim, kv_heads = cache.form.kv_heads;
    if (index < cache.head_count) {
        return {row, index, true, KV_KEYS, qkv + (size_t)index * head_dim};
    }
    uint32_t cached = index - cache.head_count;
    KvSide side = cached < kv_heads ? KV_KEYS : KV_VALUES;
    uint32_t head = cached % kv_heads;
    uint32_t from = side == KV_VALUES && args.value_is_key ? cache.head_count + head : index;
    return {row, head, false, side, qkv + (size_t)from * head_dim};
}

// Pair j is (j, j + head_dim / 2).
template <int PER_LANE>
DEVICE void rope(const RopeAppendArgs &args, uint32_t row, float *exchange, float x[PER_LANE]) {
    uint32_t head_dim = args.cache.form.head_dim, half = head_dim / 2, lane = thread_lane();
    UNROLL
    for (int i = 0; i < PER_LANE; i++) {
        uint32_t d = lane + 32 * i;
        if (d < head_dim) {
            shared_store(exchange + d, x[i]);
        }
    }
    warp_sync();
    UNROLL
    for (int i = 0; i < PER_LANE; i++) {
        uint32_t d = lane + 32 * i;
        if (d < head_dim) {
            bool low = d < half;
            size_t pair = (size_t)row * half + (low ? d : d - half);
            float c = global_load(args.cosine + pair), s = global_load(args.sine + pair);
            float other = shared_load(exchange + (low ? d + half : d - half));
            x[i] = low ? x[i] * c - other * s : x[i] * c + other * s;
        }
    }
}

// Butterflies over distances below 32 by shuffles, above in registers. A lane without a number has
// 0, and blocks never mix numbers with those.
template <int PER_LANE> DEVICE void hadamard(uint32_t order, float x[PER_LANE]) {
    uint32_t lane = thread_lane();
    for (uint32_t half = 1; half < 32 && half < order; half *= 2) {
        UNROLL
        for (int i = 0; i < PER_LANE; i++) {
            float other = warp_shuffle_xor(x[i], (int)half);
            x[i] = (lane & half) != 0 ? other - x[i] : x[i] + other;
        }
    }
    UNROLL
    for (int half = 1; half < PER_LANE; half *= 2) {
        if (32u * (uint32_t)half < order) {
            UNROLL
            for (int i = 0; i < PER_LANE; i++) {
                if ((i & half) == 0) {
                    float low = x[i], high = x[i + half];
                    x[i] = low + high;
                    x[i + half] = low - high;
                }
            }
        }
    }
    float factor = 1.0f / sqrtf((float)order);
    UNROLL
    for (int i = 0; i < PER_LANE; i++) {
        x[i] *= factor;
    }
}

template <int PER_LANE>
DEVICE void store_cached(const KvView &cache, const Head &head, const float x[PER_LANE]) {
    const KvForm &form = cache.form;
    uint32_t lane = thread_lane();
    uint32_t position = global_load(cache.positions + head.row);
    uint32_t token = position % KV_PAGE_TOKENS;
    const uint32_t *table = kv_sequence_table(cache, global_load(cache.row_sequence + head.row));
    unsigned char *page = kv_page(cache, table, position);
    float factor = 0.0f;
    if (form.kind == KV_INT8) {
        float absmax = 0.0f;
        UNROLL
        for (int i = 0; i < PER_LANE; i++) {
            absmax = fmaxf(absmax, fabsf(x[i]));
        }
        absmax = warp_max(absmax);
        bool zero = absmax < KV_ABSMAX_MIN;
        factor = zero ? 0.0f : 127.0f / absmax;
        if (lane == 0) {
            size_t at = kv_scale_offset(form, head.side, head.head, token);
            global_store((float *)(page + at), zero ? 0.0f : absmax / 127.0f);
        }
    }
    UNROLL
    for (int i = 0; i < PER_LANE; i++) {
        uint32_t d = lane + 32 * i;
        if (d >= form.head_dim || (head.side == KV_KEYS && !kv_key_kept(form, d))) {
            continue;
        }
        unsigned char *to = page + kv_number_offset(form, head.side, head.head, token, d);
        if (form.kind == KV_F32) {
            global_store((float *)to, x[i]);
        } else if (form.kind == KV_BF16) {
            global_store((uint16_t *)to, bf16_from_float(x[i]));
        } else {
            int code = round_to_int(x[i] * factor);
            global_store(to, (uint8_t)(head.side == KV_VALUES ? code + KV_VALUE_OFFSET : code));
        }
    }
}

template <int PER_LANE> DEVICE void rope_append_head(const RopeAppendArgs &args, const Head &head) {
    uint32_t lane = thread_lane(), head_dim = args.cache.form.head_dim;
    float *exchange = (float *)shared_base() + (size_t)thread_warp() * head_dim;
    bool turns = head.is_query || head.side == KV_KEYS;
    float x[PER_LANE], sum = 0.0f;
    UNROLL
    for (int i = 0; i < PER_LANE; i++) {
        uint32_t d = lane + 32 * i;
        x[i] = d < head_dim ? global_load(head.from + d) : 0.0f;
        sum = fmaf(x[i], x[i], sum);
    }
    float factor = 1.0f / sqrtf(warp_sum(sum) / (float)head_dim + args.eps);
    const float *norm = head.is_query ? args.q_norm : args.k_norm;
    UNROLL
    for (int i = 0; i < PER_LANE; i++) {
        uint32_t d = lane + 32 * i;
        x[i] *= factor;
        if (turns && d < head_dim) {
            x[i] *= global_load(norm + d);
        }
    }
    if (turns) {
        rope<PER_LANE>(args, head.row, exchange, x);
        if (args.rotation > 1) {
            hadamard<PER_LANE>(args.rotation, x);
        }
    }
    if (!head.is_query) {
        store_cached<PER_LANE>(args.cache, head, x);
        return;
    }
    UNROLL
    for (int i = 0; i < PER_LANE; i++) {
        uint32_t d = lane + 32 * i;
        if (d < head_dim) {
            bool kept = kv_key_kept(args.cache.form, d);
            global_store(head.from + d, kept ? x[i] : x[i] * global_load(args.k_norm + d));
        }
    }
}

template <int PER_LANE>
KERNEL_TEMPLATE void KERNEL_BOUNDS(THREADS, 2) rope_append_kernel(const RopeAppendArgs args) {
    uint32_t index = block_y() * WARPS + thread_warp();
    if (index < args.cache.head_count + 2 * args.cache.form.kv_heads) {
        rope_append_head<PER_LANE>(args, head_of(args, block_x(), index));
    }
}

Status cuda_rope_append(void *context, const OpRopeAppend *op) {
    CudaContext *cuda = (CudaContext *)context;
    const LayerShape *shape = &op->cache.shape;
    RopeAppendArgs args = {kv_view(&op->cache, &op->rows, 0),
                           op->qkv,
                           op->qkv_stride,
                           shape->value_is_key,
                           op->cache.kind == KV_INT8 ? kv_rotation(shape->head_dim) : 1,
                           op->eps,
                           op->q_norm,
                           op->k_norm,
                           op->cosine,
                           op->sine};
    uint32_t heads = shape->head_count + 2 * shape->kv_head_count;
    dim3 grid(op->rows.row_count, (heads + WARPS - 1) / WARPS);
    size_t shared = (size_t)WARPS * shape->head_dim * sizeof(float);
    cudaError_t status = cudaErrorInvalidValue;
    if (shape->head_dim <= 64) {
        status = LAUNCH(rope_append_kernel<2>, grid, THREADS, shared, cuda->stream, args);
    } else if (shape->head_dim <= 128) {
        status = LAUNCH(rope_append_kernel<4>, grid, THREADS, shared, cuda->stream, args);
    } else if (shape->head_dim <= 256) {
        status = LAUNCH(rope_append_kernel<8>, grid, THREADS, shared, cuda->stream, args);
    } else if (shape->head_dim <= 32 * PER_LANE_MAX) {
        status = LAUNCH(rope_append_kernel<16>, grid, THREADS, shared, cuda->stream, args);
    }
    return cuda_launched(cuda, "rope_append", status);
}
