#!/usr/bin/env python3
"""Small gemma4_unified checkpoints and what transformers computes with them.

    python tests/golden/model/make_model.py [NAME...]      (ci/golden runs it in a pinned environment)

Made with torch 2.15.0 (CPU), transformers 5.24.0, safetensors 0.8, numpy 2.4. For every case below a folder:

    config.json, generation_config.json, *.safetensors   a checkpoint as transformers reads it
    tokens.npy      int32 [T]       the prompt; image_token_id where an image supplies the row
    pixels.npy      u8 [P][values]  patches of all images, and positions.npy u16 [P][2] (column, row)
    spans.npy       int32 [n][2]    first position and patch count of each image
    samples.npy     f32 [F][frame]  frames of all audio, audio_token_id in tokens.npy where one supplies the row
    clips.npy       int32 [n][2]    first position and frame count of each audio clip
    logits.npy      f32 [T][vocab]  of every position
    greedy.npy      int32 [64]      the greedy continuation, suppressed ids never drawn
    distance.npy    f32 [1]         how far these logits are from those of the same run in float64: the largest over the
                                    positions of max |a - b| / max |b|; `distance` of a case is the least wanted

The float64 run computes in float64 also what the model's code asks to be computed in float32: norms, soft maxima, angles.
Rounding grows from layer to layer in a random model, most in a deep one; no other f32 engine can be nearer to these
logits than they are to the truth, and the tests' bar grows with the distance.

The model runs in float32 with eager attention and without a cache: every step computes the whole sequence. Masks are
passed in, because the default path overlays images on full layers too: full layers are causal; sliding layers see
(causal or same image) and less than `sliding_window` positions back. The embedding's factor is sqrt(hidden) rounded to
the checkpoint's dtype, as when the model runs in that dtype, whatever the width it is computed in here.

A case is tried with growing seeds until the best logit leads the second one by GAP, and by twice what the bar allows
both to be off, at each of the 64 steps, so that a difference in the last bits cannot change a token, and until at least DISTINCT tokens appear.
"""
import contextlib
import json
import pathlib
import shutil
import sys

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import Gemma4UnifiedForConditionalGeneration

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from surfaces import surfaces

GREEDY = 64
GAP = 0.02
DISTINCT = 10
STORES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}

# layers: s = sliding, f = full. heads: query, kv of sliding layers, kv of full layers. images: (columns, rows) each.
# audio: frames of each clip. pixels: what draws the patches; noise without.
BASE = dict(hidden=64, ffn=64, layers="ssf", heads=(4, 2, 1), head_dim=(16, 32), window=8, vocab=160, k_eq_v=True,
            softcap=30.0, rotary=0.25, theta=(1e4, 1e6), prompt=24, images=[], audio=[], frame=20, patch=4, width=24, store="bf16",
            shards=1, names="old", config="flat", suppress=2, pixels=None, branch=1.0, scalar=(0.3, 0.6), distance=0.0)
CASES = {
    # Window shorter than the prompt; multi-query full layers without a v projection.
    "text": dict(),
    # Full layers with a v projection, no soft cap, f32 in two files, a width whose root is not exact in bf16.
    "own_values": dict(hidden=40, ffn=56, layers="sfsf", heads=(6, 3, 0), head_dim=(16, 24), k_eq_v=False, softcap=None,
                       store="f32", shards=2, rotary=0.5, vocab=131, prompt=20),
    # One image longer than the window; old names of the vision tensors.
    "long_image": dict(layers="sfsf", hidden=48, images=[(4, 3)], window=6, prompt=22),
    # Three images with text between them; new names; f16.
    "images": dict(layers="ssfsf", hidden=48, ffn=64, heads=(4, 2, 2), images=[(3, 2), (1, 4), (2, 2)], window=10,
                   prompt=34, names="new", store="f16", theta=(5e3, 1e5)),
    # The head sizes of the 12B model.
    "wide_heads": dict(hidden=32, ffn=48, layers="sf", heads=(2, 1, 1), head_dim=(256, 512), window=12, prompt=20),
    # Many heads, a small soft cap, three shards.
    "many_heads": dict(layers="sssf", heads=(8, 4, 2), head_dim=(16, 64), softcap=12.0, shards=3, vocab=200, prompt=30),
    # A prompt of several pages and windows.
    "long_text": dict(layers="ssf", hidden=48, ffn=64, window=32, prompt=100, vocab=120, head_dim=(32, 64)),
    # True patches of 48 x 48 pixels: flat and nearly flat, gradients, sky, paper.
    "true_patch": dict(layers="sf", hidden=32, ffn=48, images=[(5, 3)], patch=16, width=8, prompt=24, window=64,
                       pixels=surfaces),
    # The newer per_layer_config form of config.json, as transformers writes it, and an odd head count ratio.
    "new_config": dict(layers="sf", heads=(6, 2, 1), head_dim=(32, 64), config="new", images=[(2, 2)],
                       window=16, prompt=26, names="new", suppress=0),
    # As many layers as the 12B model has, in the same order. What a layer adds is small beside the stream, else not one
    # digit of f32 survives 48 random layers; still f32 is farther from f64 than the bar of the other cases.
    "deep": dict(layers="sssssf" * 8, hidden=32, ffn=32, heads=(2, 1, 1), head_dim=(8, 16), window=12, prompt=32,
                 vocab=96, branch=0.5, scalar=(0.9, 0.1), distance=3e-4),
    # Two clips, the longer one longer than the window, and an image; frames from loud to nearly silent.
    "audio": dict(layers="ssf", hidden=48, images=[(2, 2)], audio=[9, 3], window=7, prompt=34),
}


def special_ids(vocab):
    names = ["boi_token_id", "image_token_id", "eoi_token_id", "boa_token_id", "audio_token_id", "eoa_token_index",
             "video_token_id"]
    return {name: vocab - len(names) + i for i, name in enumerate(names)}


def config_of(case):
    heads, kv_sliding, kv_full = case["heads"]
    head_sliding, head_full = case["head_dim"]
    ids = special_ids(case["vocab"])
    text = {
        "model_type": "gemma4_unified_text", "vocab_size": case["vocab"], "hidden_size": case["hidden"],
        "intermediate_size": case["ffn"], "num_hidden_layers": len(case["layers"]), "num_attention_heads": heads,
        "num_key_value_heads": kv_sliding, "head_dim": head_sliding,
        "num_global_key_value_heads": kv_full if case["k_eq_v"] else None, "global_head_dim": head_full,
        "attention_k_eq_v": case["k_eq_v"],
        "layer_types": [{"s": "sliding_attention", "f": "full_attention"}[c] for c in case["layers"]],
        "sliding_window": case["window"],
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": case["theta"][0]},
            "full_attention": {"rope_type": "proportional", "rope_theta": case["theta"][1],
                               "partial_rotary_factor": case["rotary"]}},
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "hidden_activation": "gelu_pytorch_tanh",
        "final_logit_softcapping": case["softcap"], "attention_bias": False, "attention_dropout": 0.0,
        "use_bidirectional_attention": "vision", "num_kv_shared_layers": 0, "use_double_wide_mlp": False,
        "tie_word_embeddings": True, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2,
    }
    vision = None
    if case["images"]:
        vision = {"model_type": "gemma4_unified_vision", "patch_size": case["patch"], "pooling_kernel_size": 3,
                  "model_patch_size": case["patch"] * 3, "mm_embed_dim": case["width"],
                  "output_proj_dims": case["width"], "mm_posemb_size": 16, "rms_norm_eps": 1e-6,
                  "num_soft_tokens": 70}
    dtype = {"bf16": "bfloat16", "f16": "float16", "f32": "float32"}[case["store"]]
    return {"architectures": ["Gemma4UnifiedForConditionalGeneration"], "model_type": "gemma4_unified",
            "dtype": dtype, "tie_word_embeddings": True, "eos_token_id": [1, 106 % case["vocab"]], **ids,
            "text_config": text, "vision_config": vision,
            "audio_config": {"model_type": "gemma4_unified_audio", "audio_embed_dim": case["frame"],
                             "rms_norm_eps": 1e-6} if case["audio"] else None}


def tensors_of(case, rng):
    """Weights of a sane model: unit variance through every linear, norm weights far from 1 and of both signs, attention
    scores of standard deviation about 2, logits of about 4."""
    def normal(*shape):
        return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))

    def linear(rows, columns):
        return normal(rows, columns) / columns ** 0.5

    def norm(size, mean):
        return mean * torch.exp(0.3 * normal(size)) * torch.sign(normal(size) + 2.0)

    hidden, ffn = case["hidden"], case["ffn"]
    heads, kv_sliding, kv_full = case["heads"]
    out = {}
    base = "model.language_model."
    out[base + "embed_tokens.weight"] = normal(case["vocab"], hidden) / hidden ** 0.5
    out[base + "norm.weight"] = norm(hidden, 4.0)
    for i, kind in enumerate(case["layers"]):
        layer = f"{base}layers.{i}."
        head_dim = case["head_dim"]["sf".index(kind)]
        kv = kv_full if kind == "f" and case["k_eq_v"] else kv_sliding
        for name, mean in (("input", 1.5), ("post_attention", 1.0 * case["branch"]), ("pre_feedforward", 1.5),
                           ("post_feedforward", 1.2 * case["branch"])):
            out[f"{layer}{name}_layernorm.weight"] = norm(hidden, mean)
        out[layer + "self_attn.q_proj.weight"] = linear(heads * head_dim, hidden)
        out[layer + "self_attn.k_proj.weight"] = linear(kv * head_dim, hidden)
        if not (kind == "f" and case["k_eq_v"]):
            out[layer + "self_attn.v_proj.weight"] = linear(kv * head_dim, hidden)
        out[layer + "self_attn.o_proj.weight"] = linear(hidden, heads * head_dim)
        out[layer + "self_attn.q_norm.weight"] = norm(head_dim, 1.0)
        out[layer + "self_attn.k_norm.weight"] = norm(head_dim, 2.0 / head_dim ** 0.5)
        out[layer + "mlp.gate_proj.weight"] = linear(ffn, hidden)
        out[layer + "mlp.up_proj.weight"] = linear(ffn, hidden)
        out[layer + "mlp.down_proj.weight"] = linear(hidden, ffn)
        out[layer + "layer_scalar"] = torch.tensor([case["scalar"][0] + case["scalar"][1] * rng.random()],
                                                     dtype=torch.float32)
    if case["images"]:
        values, width = (3 * case["patch"]) ** 2 * 3, case["width"]
        old = case["names"] == "old"
        vision = "model.vision_embedder." if old else "model.embed_vision."
        for name, size in (("patch_ln1", values), ("patch_ln2", width), ("pos_norm", width)):
            out[f"{vision}{name}.weight"] = norm(size, 1.0)
            out[f"{vision}{name}.bias"] = 0.3 * normal(size)
        out[vision + "patch_dense.weight"] = linear(width, values)
        out[vision + "patch_dense.bias"] = 0.3 * normal(width)
        out[vision + "pos_embedding"] = 0.7 * normal(16, 2, width)
        projection = "embedding_projection.weight" if old else "multimodal_embedder.embedding_projection.weight"
        out["model.embed_vision." + projection] = linear(case["hidden"], width)
    if case["audio"]:
        out["model.embed_audio.embedding_projection.weight"] = linear(case["hidden"], case["frame"])
    return {name: tensor.to(STORES[case["store"]]).contiguous() for name, tensor in out.items()}


def write_checkpoint(folder, case, tensors):
    (folder / "config.json").write_text(json.dumps(config_of(case), indent=2) + "\n")
    names = list(tensors)
    if case["shards"] == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    index = {}
    for i in range(case["shards"]):
        file = f"model-{i + 1:05d}-of-{case['shards']:05d}.safetensors"
        part = names[i::case["shards"]]
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        index.update({name: file for name in part})
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=1) + "\n")


def prompt_of(case, rng):
    """Text with the images, then the audio, spread through it, each between its begin and end token."""
    ids = special_ids(case["vocab"])
    media = len(case["images"]) + len(case["audio"])
    text_count = case["prompt"] - sum(c * r + 2 for c, r in case["images"]) - sum(n + 2 for n in case["audio"])
    pieces = np.array_split(rng.integers(3, case["vocab"] - 7, text_count), media + 1)
    tokens, spans, positions, clips = [2] + list(pieces[0][1:]), [], [], []
    for (columns, rows), piece in zip(case["images"], pieces[1:]):
        tokens.append(ids["boi_token_id"])
        spans.append((len(tokens), columns * rows))
        tokens += [ids["image_token_id"]] * (columns * rows)
        positions += [(x, y) for y in range(rows) for x in range(columns)]
        tokens += [ids["eoi_token_id"]] + list(piece)
    for frames, piece in zip(case["audio"], pieces[1 + len(case["images"]):]):
        tokens.append(ids["boa_token_id"])
        clips.append((len(tokens), frames))
        tokens += [ids["audio_token_id"]] * frames + [ids["eoa_token_index"]] + list(piece)
    values = (3 * case["patch"]) ** 2 * 3
    pixels = case["pixels"](3 * case["patch"]) if case["pixels"] else rng.integers(0, 256, (len(positions), values))
    pixels = pixels.astype(np.uint8)
    samples = np.zeros((0, case["frame"]), np.float32)
    if case["audio"]:
        loudness = 10.0 ** -rng.uniform(0.5, 4.0, (sum(case["audio"]), 1))  # rms; eps is 1e-6 of its square
        samples = (rng.standard_normal((len(loudness), case["frame"])) * loudness).astype(np.float32)
    return (np.array(tokens, np.int32), np.array(spans, np.int32).reshape(-1, 2),
            np.array(positions, np.uint16).reshape(-1, 2), pixels, np.array(clips, np.int32).reshape(-1, 2), samples)


def masks_of(length, spans, window):
    row, column = np.arange(length)[:, None], np.arange(length)[None, :]
    causal = column <= row
    block = np.full(length, -1)
    for i, (first, count) in enumerate(spans):
        block[first:first + count] = i
    same = (block[:, None] == block[None, :]) & (block[:, None] >= 0)
    sliding = (causal | same) & (column > row - window)

    def additive(mask):
        lowest = torch.finfo(torch.float32).min
        return torch.where(torch.from_numpy(mask), 0.0, lowest).float()[None, None]
    return {"full_attention": additive(causal), "sliding_attention": additive(sliding)}


@contextlib.contextmanager
def in_float64():
    """Where the model's code says float32, float64 is meant."""
    to_float, softmax = torch.Tensor.float, torch.nn.functional.softmax

    def wide_softmax(*arguments, dtype=None, **more):
        return softmax(*arguments, dtype=torch.float64 if dtype is torch.float32 else dtype, **more)
    torch.Tensor.float, torch.nn.functional.softmax = torch.Tensor.double, wide_softmax
    try:
        yield
    finally:
        torch.Tensor.float, torch.nn.functional.softmax = to_float, softmax


class Truth:
    def __init__(self, folder, case):
        self.model = Gemma4UnifiedForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager").eval()
        scale = torch.tensor(case["hidden"] ** 0.5).to(STORES[case["store"]]).float()
        self.model.model.language_model.embed_tokens.embed_scale.copy_(scale)
        self.case = case

    @torch.no_grad()
    def run(self, tokens, spans, positions, pixels, clips, samples, use_cache=False):
        ids = torch.from_numpy(np.asarray(tokens, np.int64))[None]
        inputs = {}
        if len(spans):
            longest = max(count for _, count in spans)
            values = torch.zeros(len(spans), longest, pixels.shape[1])
            places = torch.full((len(spans), longest, 2), -1)
            at = 0
            for i, (_, count) in enumerate(spans):
                values[i, :count] = torch.from_numpy(pixels[at:at + count]).float() * (1.0 / 255.0)
                places[i, :count] = torch.from_numpy(positions[at:at + count].astype(np.int64))
                at += count
            inputs = {"pixel_values": values, "image_position_ids": places}
        if len(clips):
            longest = max(count for _, count in clips)
            features = torch.zeros(len(clips), longest, samples.shape[1])
            valid = torch.zeros(len(clips), longest, dtype=torch.bool)
            at = 0
            for i, (_, count) in enumerate(clips):
                features[i, :count] = torch.from_numpy(samples[at:at + count])
                valid[i, :count] = True
                at += count
            inputs |= {"input_features": features, "input_features_mask": valid}
        masks = masks_of(ids.shape[1], spans, self.case["window"])
        return self.model(input_ids=ids, attention_mask=masks, use_cache=use_cache, **inputs)

    def logits(self, *prompt):
        return self.run(*prompt).logits[0].float().numpy()

    def distance(self, logits, *prompt):
        """Of f32 logits from the same in float64, which the model keeps from then on."""
        self.model.double()
        with in_float64():
            exact = self.run(*prompt).logits[0].numpy()
        return (np.abs(logits - exact).max(1) / np.abs(exact).max(1)).max()

    def greedy(self, prompt, suppress):
        """The continuation, and the smallest lead of a chosen token over the next best."""
        tokens, lead = list(prompt[0]), np.inf
        for _ in range(GREEDY):
            last = self.logits(tokens, *prompt[1:])[-1].copy()
            last[suppress] = -np.inf
            best = np.sort(last)[-2:]
            lead = min(lead, best[1] - best[0])
            tokens.append(int(last.argmax()))
            if lead < GAP:
                return None, lead
        return np.array(tokens[len(prompt[0]):], np.int32), lead


def make(name, case):
    folder = HERE / name
    for seed in range(200):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        rng = np.random.default_rng([sum(name.encode()), seed])
        write_checkpoint(folder, case, tensors_of(case, rng))
        prompt = prompt_of(case, rng)
        truth = Truth(folder, case)
        logits = truth.logits(*prompt)
        # What would win at once is suppressed, as the overwritten rows of the released model are; soft-token ids too,
        # since transformers reads them as places for an image.
        ids = special_ids(case["vocab"])
        suppress = [int(i) for i in np.argsort(-logits[-1])[:case["suppress"]]]
        suppress += [ids[name] for name in ("image_token_id", "audio_token_id", "video_token_id")]
        greedy, lead = truth.greedy(prompt, suppress)
        if greedy is None or len(set(greedy)) < DISTINCT:
            continue
        distance = truth.distance(logits, *prompt)
        if lead >= 6 * distance * np.abs(logits).max() and distance >= case["distance"]:
            break
    else:
        sys.exit(f"{name}: no seed has a clear greedy continuation")
    if case["config"] == "new":
        truth.model.config.save_pretrained(folder)
    generation = {"bos_token_id": 2, "eos_token_id": [1], "pad_token_id": 0, "do_sample": False,
                  "suppress_tokens": suppress}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    np.save(folder / "tokens.npy", prompt[0])
    np.save(folder / "logits.npy", logits)
    np.save(folder / "greedy.npy", greedy)
    np.save(folder / "distance.npy", np.array([distance], np.float32))
    if case["images"]:
        np.save(folder / "spans.npy", prompt[1])
        np.save(folder / "positions.npy", prompt[2])
        np.save(folder / "pixels.npy", prompt[3])
    if case["audio"]:
        np.save(folder / "clips.npy", prompt[4])
        np.save(folder / "samples.npy", prompt[5])
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{name:12} seed {seed:3} lead {lead:.3f} distinct {len(set(greedy)):2} logits "
          f"{np.abs(logits).max():.1f} from f64 {distance:.1e} {size / 1e3:.0f} kB", flush=True)


def main():
    torch.set_num_threads(1)
    for name in sys.argv[1:] or CASES:
        make(name, {**BASE, **CASES[name]})


if __name__ == "__main__":
    main()
