// SPDX-License-Identifier: Apache-2.0
// attention: o = softmax(q . k) v over the row's range, scale 1, softmax in f32. Tiles of mma where
// they fit, one plain kernel for the rest.
#include "cuda/kernels/attention.h"

Status cuda_attention(void *context, const OpAttention *op) {
    CudaContext *cuda = (CudaContext *)context;
    if (op->rows.row_count == 0 || cuda->failed != OK) {
        return cuda->failed;
    }
    return attention_separate_kv_fits(op) ? attention_separate_kv(cuda, op)
           : attention_shared_kv_fits(op) ? attention_shared_kv(cuda, op)
                                          : attention_plain(cuda, op);
}
