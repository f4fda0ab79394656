"""The demo model as a small torch module, for training on a CPU.

Owns: the network's shape (SHAPE) and its forward pass. Promises: parameter names are the tensor
names on disk, one to one, and the arithmetic is that of transformers' gemma4_unified in its
released form: image blocks see each other on sliding layers only, full layers are causal.
Two shortcuts hold while training and are undone by export.py: patch_ln1 has no weights, and no
sequence is longer than the sliding window.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn

SHAPE = dict(vocab=1536, hidden=256, layers=6, full=(2, 5), heads=4, kv_heads=2, head_dim=64,
             full_kv_heads=1, full_head_dim=128, mlp=768, patch=48 * 48 * 3, positions=64,
             audio=640, window=256, cap=30.0)
DTYPE = torch.bfloat16  # what matrix products run in


class Matrix(nn.Module):
    def __init__(self, inputs, outputs, gain=1.0, bias=False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * gain / math.sqrt(inputs))
        if bias:
            self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        bias = self.bias.to(DTYPE) if hasattr(self, "bias") else None
        return F.linear(x.to(DTYPE), self.weight.to(DTYPE), bias)


class Scale(nn.Module):
    """Root-mean-square norm with a weight."""

    def __init__(self, width, start=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), start))

    def forward(self, x):
        return plain_norm(x) * self.weight


def plain_norm(x):
    x = x.float()
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


def rope_table(length, head_dim, theta, part=1.0):
    turning = int(head_dim // 2 * part)
    frequency = torch.zeros(head_dim // 2)
    frequency[:turning] = theta ** (-torch.arange(0, 2 * turning, 2).float() / head_dim)
    angle = torch.arange(length).float()[:, None] * frequency
    angle = torch.cat([angle, angle], -1)
    return angle.cos()[:, None], angle.sin()[:, None]  # [length, 1, head_dim]


def turn(x, table):
    cos, sin = table
    low, high = x.chunk(2, -1)
    return (x * cos + torch.cat([-high, low], -1) * sin).to(DTYPE)


class Attention(nn.Module):
    def __init__(self, full):
        super().__init__()
        width = SHAPE["hidden"]
        self.full, self.heads = full, SHAPE["heads"]
        self.kv_heads = SHAPE["full_kv_heads" if full else "kv_heads"]
        self.head_dim = SHAPE["full_head_dim" if full else "head_dim"]
        self.q_proj = Matrix(width, self.heads * self.head_dim)
        self.k_proj = Matrix(width, self.kv_heads * self.head_dim)
        if not full:
            self.v_proj = Matrix(width, self.kv_heads * self.head_dim)
        self.o_proj = Matrix(self.heads * self.head_dim, width, 0.2)
        self.q_norm = Scale(self.head_dim, 0.25 if full else 0.35)
        self.k_norm = Scale(self.head_dim)

    def forward(self, x, table, mask):
        batch, length, _ = x.shape
        q = self.q_proj(x).view(batch, length, self.heads, self.head_dim)
        k = self.k_proj(x).view(batch, length, self.kv_heads, self.head_dim)
        v = k if self.full else self.v_proj(x).view(batch, length, self.kv_heads, self.head_dim)
        q = turn(self.q_norm(q), table).transpose(1, 2)
        k = turn(self.k_norm(k), table).transpose(1, 2)
        v = plain_norm(v).to(DTYPE).transpose(1, 2)
        share = self.heads // self.kv_heads
        k, v = k.repeat_interleave(share, 1), v.repeat_interleave(share, 1)
        # written out: at these lengths it is faster on a CPU than the fused call's backward pass
        y = ((q @ k.transpose(-1, -2)).float() + mask).softmax(-1).to(DTYPE) @ v
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_proj = Matrix(SHAPE["hidden"], SHAPE["mlp"])
        self.up_proj = Matrix(SHAPE["hidden"], SHAPE["mlp"])
        self.down_proj = Matrix(SHAPE["mlp"], SHAPE["hidden"], 0.2)

    def forward(self, x):
        return self.down_proj(F.gelu(self.gate_proj(x), approximate="tanh") * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, full):
        super().__init__()
        width = SHAPE["hidden"]
        self.self_attn, self.mlp = Attention(full), Mlp()
        self.input_layernorm, self.post_attention_layernorm = Scale(width), Scale(width, 0.3)
        self.pre_feedforward_layernorm, self.post_feedforward_layernorm = Scale(width), Scale(width, 0.3)
        self.layer_scalar = nn.Parameter(torch.ones(1))

    def attend(self, x, table, mask):
        return x + self.post_attention_layernorm(self.self_attn(self.input_layernorm(x), table, mask))

    def digest(self, x):
        x = x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))
        return x * self.layer_scalar


class VisionEmbedder(nn.Module):
    def __init__(self):
        super().__init__()
        width = SHAPE["hidden"]
        self.patch_dense = Matrix(SHAPE["patch"], width, bias=True)
        self.patch_ln2, self.pos_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.pos_embedding = nn.Parameter(torch.randn(SHAPE["positions"], 2, width) * 0.02)

    def forward(self, pixels, places):
        """pixels: bytes [patches, 6912]; places: column and row of each patch."""
        x = F.layer_norm(pixels.to(DTYPE) / 255, (SHAPE["patch"],), eps=1e-5)
        x = self.patch_ln2(self.patch_dense(x).float())
        x = x + self.pos_embedding[places[:, 0], 0] + self.pos_embedding[places[:, 1], 1]
        return plain_norm(self.pos_norm(x))


class Projection(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.embedding_projection = Matrix(inputs, SHAPE["hidden"])

    def forward(self, x):
        return self.embedding_projection(x).float()


class Embedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(SHAPE["vocab"], SHAPE["hidden"]) * 0.06)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed_tokens, self.norm = Embedding(), Scale(SHAPE["hidden"])
        self.layers = nn.ModuleList(Layer(i in SHAPE["full"]) for i in range(SHAPE["layers"]))


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.language_model, self.vision_embedder = Decoder(), VisionEmbedder()
        self.embed_vision, self.embed_audio = Projection(SHAPE["hidden"]), Projection(SHAPE["audio"])


class DemoModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = Parts()
        limit = SHAPE["window"]
        self.tables = (rope_table(limit, SHAPE["head_dim"], 1e4),
                       rope_table(limit, SHAPE["full_head_dim"], 1e6, 0.25))

    def forward(self, ids, is_image, pixels, places, rows, columns):
        """ids [batch, length], padded at the end; one picture or none a row. Returns the scores
        that follow the positions (rows[i], columns[i])."""
        decoder, length = self.model.language_model, ids.shape[1]
        x = decoder.embed_tokens.weight[ids] * math.sqrt(SHAPE["hidden"])
        if pixels is not None:
            soft = self.model.embed_vision(self.model.vision_embedder(pixels, places))
            x = x.masked_scatter(is_image[..., None], soft)
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        block = (causal | (is_image[:, :, None] & is_image[:, None, :]))[:, None]
        masks = [torch.zeros(open_.shape).masked_fill_(~open_, -1e9) for open_ in (block, causal)]
        tables = [[t[:length] for t in table] for table in self.tables]
        for layer in decoder.layers:
            x = layer.attend(x, tables[layer.self_attn.full], masks[layer.self_attn.full])
            if layer is decoder.layers[-1]:
                x = x[rows, columns]  # nothing after the last attention looks sideways
            x = layer.digest(x)
        scores = F.linear(decoder.norm(x).to(DTYPE), decoder.embed_tokens.weight.to(DTYPE))
        return SHAPE["cap"] * torch.tanh(scores.float() / SHAPE["cap"])
