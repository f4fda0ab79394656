#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What transformers computes for masks, RoPE with norms, the patch embedder and the audio embedder, on small shapes.

    pip install torch==2.15.* transformers==5.24.*
    python tests/golden/ops/make_ops.py        # writes *.bin beside itself

Every file is a sequence of little-endian u32, f32 and (pixels) u8 arrays in the order of the `put` calls; the C tests
(tests/ops/test_golden.c) read them in the same order.
"""
import pathlib
import struct
import sys
import types

import numpy as np
import torch
import transformers
from transformers import masking_utils
from transformers.models.gemma4_unified import modeling_gemma4_unified as gemma
from transformers.models.gemma4_unified.configuration_gemma4_unified import (
    Gemma4UnifiedAudioConfig,
    Gemma4UnifiedTextConfig,
    Gemma4UnifiedVisionConfig,
)
from transformers.models.gemma4_unified.image_processing_gemma4_unified import Gemma4UnifiedImageProcessor

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from surfaces import surfaces


class Out:
    def __init__(self):
        self.data = bytearray()

    def u32(self, *values):
        self.data += struct.pack(f"<{len(values)}I", *values)

    def f32(self, tensor):
        self.data += np.asarray(tensor.detach().numpy(), dtype="<f4").tobytes()

    def write(self, name):
        (HERE / name).write_bytes(self.data)
        print(name, len(self.data), "bytes")


def attention():
    """Masks by transformers' own mask functions, composed as its create_masks_for_vision_model does."""
    torch.manual_seed(1)
    rows, heads, kv_heads, head_dim, window = 45, 4, 2, 32, 8
    blocks = torch.full((1, rows), -1)
    blocks[0, 5:17] = 0  # an image longer than the window
    blocks[0, 17:20] = 1  # another right behind it
    blocks[0, 33:39] = 2
    both = masking_utils.or_masks(masking_utils.causal_mask_function, masking_utils.blockwise_overlay(blocks))
    rules = {
        "full": masking_utils.causal_mask_function,
        "sliding": masking_utils.and_masks(both, masking_utils.sliding_window_overlay(window)),
    }
    q = torch.randn(rows, heads, head_dim) * 0.5
    k = torch.randn(rows, kv_heads, head_dim) * 0.5
    v = torch.randn(rows, kv_heads, head_dim)
    out = Out()
    out.u32(rows, heads, kv_heads, head_dim, window)
    for p in range(rows):
        end = p + 1
        while blocks[0, p] >= 0 and end < rows and blocks[0, end] == blocks[0, p]:
            end += 1
        out.u32(end)
    for tensor in (q, k, v):
        out.f32(tensor)
    for rule in rules.values():
        mask = torch.tensor([[bool(rule(0, 0, torch.tensor(i), torch.tensor(j))) for j in range(rows)]
                             for i in range(rows)])
        kk = k.double().repeat_interleave(heads // kv_heads, 1)
        vv = v.double().repeat_interleave(heads // kv_heads, 1)
        scores = torch.einsum("ihd,jhd->hij", q.double(), kk).masked_fill(~mask, -torch.inf)
        out.f32(torch.einsum("hij,jhd->ihd", scores.softmax(-1), vv))
    out.write("attention.bin")


def rope():
    """q, k and v of one kv head as the layers make them, at the true head sizes of both kinds."""
    torch.manual_seed(2)
    config = Gemma4UnifiedTextConfig()
    rotary = gemma.Gemma4UnifiedTextRotaryEmbedding(config)
    positions = torch.tensor([[0, 1, 15, 16, 1023, 4097, 131071, 262143]])
    out = Out()
    out.u32(positions.shape[1], *positions[0].tolist())
    for layer_type, head_dim in (("sliding_attention", 256), ("full_attention", 512)):
        cos, sin = rotary(torch.zeros(1, positions.shape[1], head_dim), positions, layer_type)
        inv_freq = getattr(rotary, f"{layer_type}_inv_freq")
        raw = torch.randn(1, positions.shape[1], 1, head_dim) * 3
        raw_v = torch.randn(1, positions.shape[1], 1, head_dim) * 3
        norm = gemma.Gemma4UnifiedRMSNorm(head_dim, eps=1e-6)
        norm.weight.data = torch.rand(head_dim) + 0.5
        bare = gemma.Gemma4UnifiedRMSNorm(head_dim, eps=1e-6, with_scale=False)
        out.u32(head_dim)
        out.f32(inv_freq)
        out.f32(cos[0, :, : head_dim // 2])
        out.f32(sin[0, :, : head_dim // 2])
        out.f32(norm.weight)
        out.f32(raw)
        out.f32(raw_v)
        out.f32(gemma.apply_rotary_pos_emb(norm(raw), cos, sin, unsqueeze_dim=2))
        out.f32(bare(raw if layer_type == "full_attention" else raw_v))
    out.write("rope.bin")


def noise(side):
    return torch.randint(0, 256, (6, side * side * 3))


def patches(name, seed, side, patch, width, hidden, draw):
    """In double, from pixels that the image processor rescaled in f32."""
    torch.manual_seed(seed)
    table = 7
    vision = Gemma4UnifiedVisionConfig(patch_size=patch, pooling_kernel_size=side // patch, model_patch_size=side,
                                       mm_embed_dim=width, output_proj_dims=width, mm_posemb_size=table)
    text = types.SimpleNamespace(hidden_size=hidden)
    assert vision.model_patch_size == side and vision.mm_embed_dim == width
    model = gemma.Gemma4UnifiedVisionEmbedder(vision, text).double()
    for parameter in model.parameters():
        parameter.data = (torch.randn(parameter.shape) * 0.3).float().double()
    pixels = draw(side)
    positions = torch.tensor([[i % 3, i // 3 % 3 + 4] for i in range(len(pixels))])
    rescaled = Gemma4UnifiedImageProcessor().rescale(pixels.to(torch.uint8), 1 / 255)
    assert rescaled.dtype == torch.float32
    result = model(rescaled.double()[None], positions[None]).pooler_output
    out = Out()
    out.u32(side * side * 3, width, hidden, table, len(pixels))
    out.data += pixels.numpy().astype(np.uint8).tobytes()
    out.u32(*positions.flatten().tolist())
    for tensor in (model.patch_ln1.weight, model.patch_ln1.bias, model.patch_dense.weight, model.patch_dense.bias,
                   model.patch_ln2.weight, model.patch_ln2.bias, model.pos_embedding, model.pos_norm.weight,
                   model.pos_norm.bias, model.multimodal_embedder.embedding_projection.weight, result):
        out.f32(tensor)
    out.write(name)


def frames():
    """Frames of audio, from loud ones to one that is small beside the norm's eps and one of zeros."""
    torch.manual_seed(4)
    frame, hidden, loudness = 40, 48, torch.tensor([[0.5], [0.05], [1e-3], [1e-5], [0.0]])
    text = types.SimpleNamespace(hidden_size=hidden)
    model = gemma.Gemma4UnifiedMultimodalEmbedder(Gemma4UnifiedAudioConfig(audio_embed_dim=frame), text).double()
    model.embedding_projection.weight.data = (torch.randn(hidden, frame) * 0.3).float().double()
    samples = torch.randn(len(loudness), frame) * loudness
    out = Out()
    out.u32(frame, hidden, len(loudness))
    for tensor in (samples, model.embedding_projection.weight, model(samples.double())):
        out.f32(tensor)
    out.write("frames.bin")


if __name__ == "__main__":
    print("torch", torch.__version__, "transformers", transformers.__version__)
    attention()
    rope()
    patches("patches.bin", 3, side=4, patch=2, width=32, hidden=48, draw=noise)
    patches("surfaces.bin", 5, side=48, patch=16, width=4, hidden=8, draw=lambda side: torch.from_numpy(surfaces(side)))
    frames()
