// SPDX-License-Identifier: Apache-2.0
// Inverse frequencies of rotary position embedding (Su et al., "RoFormer", 2021), in the two forms
// this model has (model card; transformers' modeling_rope_utils):
//   default       theta^(-2j / head_dim)            for every pair j < head_dim / 2
//   proportional  theta^(-2j / head_dim) / factor   for the first rotated pairs, 0 for the rest
// The denominator is the whole head_dim in both: proportional RoPE turns fewer pairs, not a smaller
// head.
#ifndef MODEL_ROPE_H
#define MODEL_ROPE_H

#include "weights/gemma4.h"

// out[head_dim / 2], rounded step by step as torch rounds in f32.
void rope_inverse_frequency(const RopeShape *rope, uint32_t head_dim, float *out);

#endif
