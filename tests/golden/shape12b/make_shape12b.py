#!/usr/bin/env python3
"""One layer pair of the true 12B shape: what transformers computes with our synthetic weights.

    TESSERA_EXPORT_SYNTHETIC=build/release/tests/export_synthetic python tests/golden/shape12b/make_shape12b.py

The program (tests/tools, build target export_synthetic) writes synthetic:gemma-4-12b-2l with the first VOCAB rows of
its vocabulary as a checkpoint of 1.2 GB into a temporary folder. Needs 6 GB of memory. Made with
torch 2.15.0 (CPU), transformers 5.24.0. Writes beside itself, as make_model.py does for the small cases:
tokens, spans, positions, logits.npy f32 [rows of ROWS][VOCAB], greedy.npy; pixels are a formula (pixels_of).
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "model"))
import make_model  # noqa: E402  the same masks and inputs

VOCAB = 2048
ROWS = [0, 7, 10, 17]  # positions whose logits are kept
GREEDY = 64
GAP = 0.01  # a prompt is taken whose best logit leads by that at each step; errors are below 0.001
PENALTY = 8.0  # without it, random weights with a tied embedding repeat the last token for ever


def pixels_of(patches):
    """Pixel i of patch p is (i * 37 + (i // 144) * 11 + p * 101) mod 256: both sides compute it."""
    i = np.arange(6912)
    return np.stack([(i * 37 + i // 144 * 11 + p * 101) % 256 for p in range(patches)]).astype(np.uint8)


@torch.no_grad()
def greedy_of(truth, tokens, first):
    """The continuation through transformers' own cache (everything is inside the window, so it keeps everything), and
    the smallest lead of a chosen token over the next best."""
    out, lead, length, chosen = first, np.inf, len(tokens), []
    for _ in range(GREEDY):
        last = out.logits[0, -1].float().numpy().copy()
        seen = sorted({int(t) for t in [*tokens, *chosen] if t < VOCAB})
        last[seen] = np.where(last[seen] < 0, last[seen] * PENALTY, last[seen] / PENALTY)
        best = np.sort(last)[-2:]
        lead = min(lead, best[1] - best[0])
        if lead < GAP:
            return None, lead
        chosen.append(int(last.argmax()))
        length += 1
        see_all = torch.zeros(1, 1, 1, length)
        out = truth.model(input_ids=torch.tensor([[chosen[-1]]]), cache=out.cache, use_cache=True,
                          attention_mask={"full_attention": see_all, "sliding_attention": see_all})
    return np.array(chosen, np.int32), lead


def main():
    with tempfile.TemporaryDirectory() as scratch:
        make(pathlib.Path(scratch))


def make(scratch):
    subprocess.run([os.environ["TESSERA_EXPORT_SYNTHETIC"], "synthetic:gemma-4-12b-2l", str(scratch), str(VOCAB)], check=True)
    config = json.loads((scratch / "config.json").read_text())
    config["text_config"].update(vocab_size=VOCAB, rope_parameters={
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        "full_attention": {"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.25}})
    config["audio_config"] = None
    (scratch / "config.json").write_text(json.dumps(config))
    case = dict(make_model.BASE, hidden=3840, window=1024, store="bf16")
    truth = make_model.Truth(scratch, case)
    truth.run = torch.no_grad()(truth.run)
    for seed in range(200):
        text = np.random.default_rng([12, seed]).integers(3, VOCAB, 12)
        tokens = np.concatenate([text[:5], [258880] * 6, text[5:]]).astype(np.int32)
        places = np.array([(x, y) for y in range(2) for x in range(3)], np.uint16)
        prompt = (tokens, np.array([[5, 6]], np.int32), places, pixels_of(6))
        first = truth.run(*prompt, use_cache=True)
        logits = first.logits[0].float().numpy()
        greedy, lead = greedy_of(truth, tokens, first)
        if greedy is not None:
            break
    else:
        sys.exit("no prompt has a clear greedy continuation")
    print(f"seed {seed}, lead {lead:.4f}, distinct {len(set(greedy))}, logits {np.abs(logits).max():.2f}")
    np.save(HERE / "tokens.npy", tokens)
    np.save(HERE / "spans.npy", prompt[1])
    np.save(HERE / "positions.npy", prompt[2])
    np.save(HERE / "logits.npy", logits[ROWS])
    np.save(HERE / "greedy.npy", greedy)


if __name__ == "__main__":
    main()
