#!/usr/bin/env python3
"""Writes the small checkpoints of tests/unit/weights and what transformers itself reads from them.

Run:  python make_weights.py     (torch 2.15, transformers 5.24, safetensors; CPU, a second)

Each folder is a gemma4_unified checkpoint of about 25 thousand numbers with deliberately odd sizes
(hidden 40, head_dim 6 and 10, MLP 44), written by transformers' save_pretrained:

  per_layer   f32, several shards with an index, config in the per_layer_config form as saved
  flat        bf16, one file, config rewritten to the flat global_* form of the released model
  renamed     f16, one file, the vision tensors under transformers' names in memory

expected.json holds, per folder and piece of weights/manifest.def, the shape and the weighted sum
sum_i value_i * frac((i + 1) * 0.6180339887498949) in float64 over the logical row-major matrix, computed
from the model that from_pretrained loads from that folder, so names, order and values all come from
transformers.
"""
import json
import pathlib
import shutil

import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma4UnifiedConfig, Gemma4UnifiedForConditionalGeneration

HERE = pathlib.Path(__file__).parent


def make_config(audio=True):
    text = dict(
        vocab_size=70, hidden_size=40, intermediate_size=44, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, head_dim=6, num_global_key_value_heads=1,
        global_head_dim=10, attention_k_eq_v=True,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        sliding_window=24, max_position_embeddings=512, final_logit_softcapping=30.0)
    vision = dict(patch_size=2, pooling_kernel_size=3, mm_embed_dim=24, mm_posemb_size=12,
                  output_proj_dims=24, num_soft_tokens=70)
    ids = dict(boi_token_id=60, image_token_id=61, eoi_token_id=62, boa_token_id=63,
               audio_token_id=64, eoa_token_index=65, video_token_id=66)
    return Gemma4UnifiedConfig(text_config=text, vision_config=vision,
                               audio_config=dict(audio_embed_dim=20) if audio else None, **ids)


def make_model(seed, dtype, **kwargs):
    torch.manual_seed(seed)
    model = Gemma4UnifiedForConditionalGeneration(make_config(**kwargs))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1)
        for name, buffer in model.named_buffers():
            if name.endswith("layer_scalar"):
                buffer.copy_(torch.rand_like(buffer))
    return model.to(dtype)


def weighted_sum(tensor):
    flat = tensor.double().flatten()
    index = torch.arange(1, flat.numel() + 1, dtype=torch.float64) * 0.6180339887498949
    return float((flat * (index - index.floor())).sum())


def pieces(model):
    state = model.state_dict()
    text = "model.language_model."
    out = {"embedding": state[text + "embed_tokens.weight"], "final_norm": state[text + "norm.weight"]}
    names = {"input_norm": "input_layernorm.weight", "post_attention_norm": "post_attention_layernorm.weight",
             "pre_ffn_norm": "pre_feedforward_layernorm.weight", "post_ffn_norm": "post_feedforward_layernorm.weight",
             "q_norm": "self_attn.q_norm.weight", "k_norm": "self_attn.k_norm.weight",
             "layer_scalar": "layer_scalar", "o": "self_attn.o_proj.weight", "down": "mlp.down_proj.weight"}
    for layer in range(model.config.text_config.num_hidden_layers):
        prefix = f"{text}layers.{layer}."
        for ours, theirs in names.items():
            out[f"layers.{layer}.{ours}"] = state[prefix + theirs]
        qkv = [state.get(f"{prefix}self_attn.{p}_proj.weight") for p in "qkv"]
        out[f"layers.{layer}.qkv"] = torch.cat([p for p in qkv if p is not None])
        # Panels of 16 rows alternate between gate and up, each padded with rows of zero.
        halves = [state[f"{prefix}mlp.{p}_proj.weight"] for p in ("gate", "up")]
        padded = [torch.nn.functional.pad(h, (0, 0, 0, -h.shape[0] % 16)).reshape(-1, 16, h.shape[1])
                  for h in halves]
        out[f"layers.{layer}.gate_up"] = torch.stack(padded, 1).reshape(-1, halves[0].shape[1])
    vision = "model.embed_vision."
    for ours, theirs in {"patch_norm_weight": "patch_ln1.weight", "patch_norm_bias": "patch_ln1.bias",
                         "patch_dense": "patch_dense.weight", "patch_dense_bias": "patch_dense.bias",
                         "dense_norm_weight": "patch_ln2.weight", "dense_norm_bias": "patch_ln2.bias",
                         "positions": "pos_embedding", "position_norm_weight": "pos_norm.weight",
                         "position_norm_bias": "pos_norm.bias",
                         "projection": "multimodal_embedder.embedding_projection.weight"}.items():
        out[f"vision.{ours}"] = state[vision + theirs]
    audio = "model.embed_audio.embedding_projection.weight"
    if audio in state:
        out["audio.projection"] = state[audio]
    return out


def flatten_config(path):
    """The config as the released checkpoint spells it."""
    config = json.loads(path.read_text())
    text = config["text_config"]
    layers = text.pop("per_layer_config")
    full = next(iter(layers.values()))
    text["global_head_dim"] = full["head_dim"]
    text["num_global_key_value_heads"] = full["num_key_value_heads"]
    config["eos_token_id"] = [1, 6]
    path.write_text(json.dumps(config, indent=1))


def rename_tensors(path):
    tensors = {}
    for name, tensor in load_file(path).items():
        name = name.replace("embed_vision.embedding", "embed_vision.multimodal_embedder.embedding")
        tensors[name.replace("vision_embedder.", "embed_vision.")] = tensor
    save_file(tensors, path, metadata={"format": "pt"})


def main():
    expected = {}
    for name, seed, dtype in (("per_layer", 1, torch.float32), ("flat", 2, torch.bfloat16),
                              ("renamed", 3, torch.float16)):
        folder = HERE / name
        shutil.rmtree(folder, ignore_errors=True)
        model = make_model(seed, dtype, audio=name != "renamed")
        shards = dict(max_shard_size="40KB") if name == "per_layer" else {}
        model.save_pretrained(folder, **shards)
        if name == "flat":
            flatten_config(folder / "config.json")
            (folder / "generation_config.json").write_text(json.dumps(dict(
                do_sample=True, temperature=0.7, top_k=64, top_p=0.95, eos_token_id=[1, 6, 5],
                suppress_tokens=[65, 62])))
            (folder / "processor_config.json").write_text(json.dumps(dict(
                image_seq_length=70, image_processor=dict(max_soft_tokens=140))))
        if name == "renamed":
            rename_tensors(folder / "model.safetensors")
        for file in folder.iterdir():
            file.chmod(0o644)
        loaded = Gemma4UnifiedForConditionalGeneration.from_pretrained(folder, dtype=dtype)
        scale = loaded.model.language_model.embed_tokens.embed_scale.to(dtype)
        expected[name] = {
            "embed_scale": float(scale),
            "pieces": {key: {"shape": list(value.shape), "sum": weighted_sum(value)}
                       for key, value in pieces(loaded).items()}}
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
