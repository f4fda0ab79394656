// SPDX-License-Identifier: Apache-2.0
// What the kernels of attention share: one op, three ways to do it. attention.cu chooses.
#ifndef CUDA_KERNELS_ATTENTION_H
#define CUDA_KERNELS_ATTENTION_H

#include "cuda/context.h"
#include "cuda/kv_layout.cuh"

// Everything: f32 pages, any head size up to 512, any number of heads.
Status attention_plain(CudaContext *cuda, const OpAttention *op);

// Pages that mma reads, head sizes 64, 128, 256 and 512, at most 16 query heads on a kv head: with
// separate keys and values, or shared ones.
bool attention_separate_kv_fits(const OpAttention *op);
Status attention_separate_kv(CudaContext *cuda, const OpAttention *op);
bool attention_shared_kv_fits(const OpAttention *op);
Status attention_shared_kv(CudaContext *cuda, const OpAttention *op);

#endif
