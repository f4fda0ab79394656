// SPDX-License-Identifier: Apache-2.0
// What the kernels of attention share: one op, three ways to do it. attention.cu chooses.
#ifndef CUDA_KERNELS_ATTENTION_H
#define CUDA_KERNELS_ATTENTION_H

#include "cuda/context.h"
#include "cuda/kv_layout.cuh"

// Everything: f32 pages, any head size up to 512, any number of heads.
Status attention_plain(CudaContext *cuda, const OpAttention *op);

// Pages that mma reads, head sizes 64, 128, 256 and 512, at most 16 query heads on a kv head: with
// keys and values apart, or joined.
bool attention_apart_fits(const OpAttention *op);
Status attention_apart(CudaContext *cuda, const OpAttention *op);
bool attention_joined_fits(const OpAttention *op);
Status attention_joined(CudaContext *cuda, const OpAttention *op);

#endif
