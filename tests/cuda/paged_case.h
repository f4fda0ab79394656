// SPDX-License-Identifier: Apache-2.0
// A paged cache of tests/ops/paged.h on the device: the same rows, tables and numbers, in the order
// of cuda/kv_layout.cuh.
#ifndef TESTS_CUDA_PAGED_CASE_H
#define TESTS_CUDA_PAGED_CASE_H

#include "cuda/context.h"
#include "tests/cuda/machine.h"

extern "C" {
#include "ops/paged.h"
}

#include <vector>

typedef struct PagedOnDevice {
    KvLayer cache;
    PagedRows rows;
    size_t page_bytes_all;
    std::vector<void *> memory;
} PagedOnDevice;

// Device memory with a copy of `bytes` from the host, or of `fill` bytes where host is NULL.
void *device_copy(const void *host, size_t bytes, int fill, std::vector<void *> *memory);
void device_read(void *host, const void *device, size_t bytes);

// Every byte of the pages is `fill`.
PagedOnDevice paged_on_device(const Paged *paged, int fill);
void paged_off_device(PagedOnDevice *d);

// As paged_part: rows [first, first + count) of a sequence as a step of their own in the same
// pages.
PagedRows paged_part_on_device(PagedOnDevice *d, const Paged *paged, uint32_t sequence,
                               uint32_t first, uint32_t count);

// As paged_fill, with the numbers rounded as the cpu's pages round them.
void paged_fill_on_device(const PagedOnDevice *d, const Paged *paged, uint64_t seed);

// Every number of the pages, widened: [page][head][token][side][head_dim], as the cpu's
// paged_numbers has them. A number that a shared page has no key for is the value's.
std::vector<float> paged_numbers_on_device(const PagedOnDevice *d, const Paged *paged);

#endif
