#!/usr/bin/env python3
"""Writes configs.json: hundreds of changes to flat/config.json, and whether transformers takes each.

Run:  python make_configs.py     (torch 2.15, transformers 5.24; CPU, two minutes, 4 GB)

A row is [path of the key, value, verdict]; the value null stands beside "absent": true where the key is
taken away. The verdict is "taken" when the config is read, the model is made and one forward pass of
five tokens runs, whatever its numbers; else the stage that fails: "config", "model" or "run". Models of
more than three million numbers are only laid out, not computed.
"""
import copy
import json
import os
import pathlib
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import torch
from transformers import AutoConfig, Gemma4UnifiedForConditionalGeneration

HERE = pathlib.Path(__file__).parent
BASE = json.loads((HERE / "flat" / "config.json").read_text())
ABSENT = object()
LARGE = 3_000_000
ROPE = BASE["text_config"]["rope_parameters"]

VALUES = {
    "text_config": [{}, 5, []],
    "text_config/rope_parameters": [{}, {"full_attention": ROPE["full_attention"]},
                                    {"sliding_attention": ROPE["sliding_attention"]},
                                    {"rope_theta": 10000.0, "rope_type": "default"}],
    "text_config/sliding_window": [0, -1, 1, 2, "x", 1.5, 10**6, True],
    "text_config/num_kv_shared_layers": [-1, 1, 2, 3, "x", False],
    "text_config/layer_types": [[], ["full_attention"] * 3, ["sliding_attention"] * 3, ["sliding_attention"] * 2,
                                ["chunked_attention"] * 3, "full_attention", [None] * 3],
    "text_config/num_hidden_layers": [0, 1, 2, 4, -1, "3", 3.0, True],
    "text_config/hidden_size": [0, -1, "40", 40.0, 48],
    "text_config/intermediate_size": [0, -1, "44", 44.0],
    "text_config/num_attention_heads": [0, 3, -1, "4", 1, 4.0],
    "text_config/num_key_value_heads": [0, 3, -1, "2", 1],
    "text_config/head_dim": [0, 5, 7, -1, "6", 1],
    "text_config/global_head_dim": [0, 5, -1, "10", 1],
    "text_config/num_global_key_value_heads": [0, 3, -1, "1", 2],
    "text_config/vocab_size": [0, -1, 1, 15, "70", 70.0],
    "text_config/rms_norm_eps": [0, 0.0, -1.0, "x", 1, True],
    "text_config/final_logit_softcapping": [0, 0.0, -1.0, "x", 1],
    "text_config/attention_k_eq_v": ["x", 1, 0],
    "text_config/hidden_activation": ["silu", "gelu", "nonsense", 5],
    "text_config/attention_bias": [True, "x", 0],
    "text_config/tie_word_embeddings": [False, "x", 0],
    "text_config/use_bidirectional_attention": ["all", "x", True, False],
    "text_config/use_double_wide_mlp": [True, 0],
    "text_config/max_position_embeddings": [0, -1, "x", 1],
    "text_config/model_type": ["gemma4_text", "x", 5],
    "text_config/pad_token_id": [-1, 70, 100, "x"],
    "text_config/bos_token_id": [-1, 70, [1, 2], "x"],
    "text_config/eos_token_id": [-1, 70, [1, 2], "x", []],
    "text_config/enable_moe_block": [True, False],
    "text_config/num_experts": [0, 4],
    "text_config/hidden_size_per_layer_input": [0, 4],
    "text_config/per_layer_config": [{}, {"0": {}}, {"0": {"head_dim": 8}}, {"9": {}}],
    "text_config/unknown_key": [5],
    "tie_word_embeddings": [False, "x", 0],
    "model_type": ["gemma4", "x", 5],
    "eos_token_id": [[], -1, "x", 1, [70]],
    "vision_config": [{}, 5, []],
    "vision_config/patch_size": [0, -1, "2", 2.0, 1],
    "vision_config/pooling_kernel_size": [0, -1, "3", 3.0, 1],
    "vision_config/model_patch_size": [6, 12],
    "vision_config/mm_embed_dim": [0, -1, "x", 40],
    "vision_config/mm_posemb_size": [0, -1, "x"],
    "vision_config/output_proj_dims": [0, 40, "x"],
    "vision_config/num_soft_tokens": [0, -1, 71, "x"],
    "vision_config/rms_norm_eps": [0, -1.0, "x"],
    "audio_config": [{}, 5, []],
    "audio_config/audio_embed_dim": [0, -1, "x", 21],
    "audio_config/hidden_size": [20, 30],
    "audio_config/audio_samples_per_token": [20, 30],
    "audio_config/output_proj_dims": [20, 30],
    "audio_config/rms_norm_eps": [0, -1.0, "x"],
    "quantization_config": [{}, {"quant_method": "gptq", "bits": 4}],
}
for key in ("boi", "image", "eoi", "boa", "audio", "video"):
    VALUES[f"{key}_token_id"] = [-1, 70, 10**6, "x", 1.0]
VALUES["eoa_token_index"] = [-1, 70, 10**6, "x", 1.0]
for kind in ("full_attention", "sliding_attention"):
    place = f"text_config/rope_parameters/{kind}"
    VALUES[place] = [{}]
    VALUES[f"{place}/rope_theta"] = [0, -1, "x", 0.5, 10000, True]
    VALUES[f"{place}/rope_type"] = ["yarn", "linear", "dynamic", "llama3", "proportional", "default", "nonsense", 5]
    VALUES[f"{place}/partial_rotary_factor"] = [0, 2.0, -1, "x", 0.5, 1.0, True]
    VALUES[f"{place}/factor"] = [0, 2.0, -1, "x", 0.5]


def every_key():
    """Keys that are there, then those of VALUES that are not; the texts of no meaning are left out."""
    for key, value in BASE.items():
        if key in ("architectures", "transformers_version", "dtype"):
            continue
        yield key
        if isinstance(value, dict):
            yield from (f"{key}/{inner}" for inner in value)
    yield from VALUES


def changed(path, value):
    config = copy.deepcopy(BASE)
    *outer, key = path.split("/")
    inside = config
    for step in outer:
        inside = inside[step]
    if value is ABSENT:
        inside.pop(key, None)
    else:
        inside[key] = value
    return config


def verdict(config):
    stage = "config"
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        (pathlib.Path(folder) / "config.json").write_text(json.dumps(config))
        try:
            read = AutoConfig.from_pretrained(folder)
            if type(read).__name__ != "Gemma4UnifiedConfig":
                return stage
            stage = "model"
            with torch.device("meta"):
                model = Gemma4UnifiedForConditionalGeneration(read)
            if sum(p.numel() for p in model.parameters()) > LARGE:
                return "taken"
            model = Gemma4UnifiedForConditionalGeneration(read).eval()
            stage = "run"
            ids = torch.tensor([[2, 5, 9, 11, 30]])
            model(input_ids=ids, attention_mask=torch.ones_like(ids))
        except Exception:
            return stage
    return "taken"


def main():
    torch.set_num_threads(1)
    rows = []
    for path in dict.fromkeys(every_key()):
        for value in [ABSENT, None, *VALUES.get(path, [])]:
            row = {"key": path, "value": None if value is ABSENT else value}
            if value is ABSENT:
                row["absent"] = True
            rows.append({**row, "verdict": verdict(changed(path, value))})
    lines = ",\n".join(json.dumps(row) for row in rows)
    (HERE / "configs.json").write_text(f"[\n{lines}\n]\n")


main()
