// SPDX-License-Identifier: Apache-2.0
// See paged_case.h.
#include "cuda/paged_case.h"

#include "cuda/kv_layout.cuh"

#include <criterion/criterion.h>
#include <math.h>

void *device_copy(const void *host, size_t bytes, int fill, std::vector<void *> *memory) {
    void *device = NULL;
    cr_assert_eq(cudaMalloc(&device, bytes), cudaSuccess);
    memory->push_back(device);
    if (host != NULL) {
        cr_assert_eq(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, NULL),
                     cudaSuccess);
    } else {
        cr_assert_eq(cudaMemsetAsync(device, fill, bytes, NULL), cudaSuccess);
    }
    cr_assert_eq(cudaDeviceSynchronize(), cudaSuccess);
    return device;
}

void device_read(void *host, const void *device, size_t bytes) {
    cr_assert_eq(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, NULL), cudaSuccess);
    cr_assert_eq(cudaDeviceSynchronize(), cudaSuccess);
}

PagedOnDevice paged_on_device(const Paged *paged, int fill) {
    const LayerShape *shape = &paged->shape;
    size_t rows = paged->rows.row_count;
    PagedOnDevice d = {};
    d.cache = paged->cache;
    d.cache.page_bytes = kv_layout_page_bytes(kv_form(paged->cache.kind, shape));
    d.page_bytes_all = paged->page_count * d.cache.page_bytes;
    d.cache.pages = device_copy(NULL, d.page_bytes_all, fill, &d.memory);
    d.rows = paged->rows;
    d.rows.positions = (const uint32_t *)device_copy(paged->positions, rows * 4, 0, &d.memory);
    d.rows.sliding_end = (const uint32_t *)device_copy(paged->sliding_end, rows * 4, 0, &d.memory);
    d.rows.row_sequence =
        (const uint32_t *)device_copy(paged->row_sequence, rows * 4, 0, &d.memory);
    d.rows.sequences = (const BatchSequence *)device_copy(
        paged->sequences, paged->rows.sequence_count * sizeof(BatchSequence), 0, &d.memory);
    d.rows.pages[shape->kind] =
        (const uint32_t *)device_copy(paged->page_table, paged->page_count * 4, 0, &d.memory);
    return d;
}

void paged_off_device(PagedOnDevice *d) {
    for (void *memory : d->memory) {
        cudaFree(memory);
    }
    d->memory.clear();
}

PagedRows paged_part_on_device(PagedOnDevice *d, const Paged *paged, uint32_t sequence,
                               uint32_t first, uint32_t count) {
    BatchSequence part;
    uint32_t row = paged->sequences[sequence].row_first + first;
    PagedRows rows = paged_part(paged, sequence, first, count, &part);
    rows.positions = d->rows.positions + row;
    rows.sliding_end = d->rows.sliding_end + row;
    rows.row_sequence = (const uint32_t *)device_copy(NULL, count * 4, 0, &d->memory);
    rows.sequences = (const BatchSequence *)device_copy(&part, sizeof part, 0, &d->memory);
    memcpy(rows.pages, d->rows.pages, sizeof rows.pages);
    return rows;
}

// The head x[head_dim] of a token into a page, rounded as activations are.
static void store_head(const KvLayer *cache, unsigned char *page, KvSide side, uint32_t head,
                       uint32_t token, const float *x) {
    KvForm form = kv_form(cache->kind, &cache->shape);
    float absmax = 0.0f;
    for (uint32_t d = 0; d < form.head_dim; d++) {
        absmax = fmaxf(absmax, fabsf(x[d]));
    }
    if (cache->kind == KV_INT8) {
        float scale = absmax / 127.0f;
        memcpy(page + kv_scale_offset(form, side, head, token), &scale, 4);
    }
    for (uint32_t d = 0; d < form.head_dim; d++) {
        if (side == KV_KEYS && !kv_key_kept(form, d)) {
            continue;
        }
        unsigned char *to = page + kv_number_offset(form, side, head, token, d);
        if (cache->kind == KV_F32) {
            memcpy(to, &x[d], 4);
        } else if (cache->kind == KV_BF16) {
            uint16_t bits = bf16_from_float(x[d]);
            memcpy(to, &bits, 2);
        } else {
            int code = (int)lrintf(x[d] * (127.0f / absmax));
            *to = (unsigned char)(side == KV_VALUES ? code + KV_VALUE_OFFSET : code);
        }
    }
}

void paged_fill_on_device(const PagedOnDevice *d, const Paged *paged, uint64_t seed) {
    const LayerShape *shape = &paged->shape;
    std::vector<unsigned char> pages(d->page_bytes_all);
    device_read(pages.data(), d->cache.pages, pages.size());
    for (uint32_t s = 0; s < paged->rows.sequence_count; s++) {
        const BatchSequence *sequence = &paged->sequences[s];
        uint32_t skipped = sequence->page_skip[shape->kind];
        uint32_t end = sequence->position_first + sequence->row_count;
        for (uint32_t p = skipped * KV_PAGE_TOKENS; p < end; p++) {
            uint32_t entry = sequence->page_first[shape->kind] + p / KV_PAGE_TOKENS - skipped;
            unsigned char *page = pages.data() + paged->page_table[entry] * d->cache.page_bytes;
            for (uint32_t head = 0; head < shape->kv_head_count; head++) {
                float k[PAGED_HEAD_MAX], v[PAGED_HEAD_MAX];
                paged_head(shape, PagedHead{seed, sequence->tag, p, head}, k, v);
                store_head(&d->cache, page, KV_KEYS, head, p % KV_PAGE_TOKENS, k);
                store_head(&d->cache, page, KV_VALUES, head, p % KV_PAGE_TOKENS, v);
            }
        }
    }
    cr_assert_eq(
        cudaMemcpyAsync(d->cache.pages, pages.data(), pages.size(), cudaMemcpyHostToDevice, NULL),
        cudaSuccess);
    cr_assert_eq(cudaDeviceSynchronize(), cudaSuccess);
}

std::vector<float> paged_numbers_on_device(const PagedOnDevice *d, const Paged *paged) {
    KvKind kind = d->cache.kind;
    KvForm form = kv_form(kind, &paged->shape);
    uint32_t heads = form.kv_heads;
    std::vector<unsigned char> pages(d->page_bytes_all);
    device_read(pages.data(), d->cache.pages, pages.size());
    std::vector<float> out;
    for (size_t i = 0; i < (size_t)paged->page_count * heads * KV_PAGE_TOKENS * 2; i++) {
        KvSide side = (KvSide)(i % 2);
        uint32_t token = (uint32_t)(i / 2 % KV_PAGE_TOKENS);
        uint32_t head = (uint32_t)(i / (2 * KV_PAGE_TOKENS) % heads);
        const unsigned char *page =
            pages.data() + i / (2 * KV_PAGE_TOKENS * heads) * d->cache.page_bytes;
        float scale = 1.0f;
        if (kind == KV_INT8) {
            memcpy(&scale, page + kv_scale_offset(form, side, head, token), 4);
        }
        for (uint32_t j = 0; j < form.head_dim; j++) {
            KvSide from = kv_key_kept(form, j) ? side : KV_VALUES;
            const unsigned char *at = page + kv_number_offset(form, from, head, token, j);
            float value = 0.0f;
            uint16_t bits = 0;
            memcpy(&bits, at, kind == KV_BF16 ? 2 : 0);
            memcpy(&value, at, kind == KV_F32 ? 4 : 0);
            int code = side == KV_VALUES ? *at - KV_VALUE_OFFSET : (int)(int8_t)*at;
            out.push_back(kind == KV_F32    ? value
                          : kind == KV_BF16 ? bf16_to_float(bits)
                          : scale == 0.0f   ? 0.0f // a page that nobody wrote
                                            : (float)code * scale);
        }
    }
    return out;
}
