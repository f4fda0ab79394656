#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tokens and log probabilities as transformers' logits processors give them.

    pip install torch==2.15.* transformers==5.24.*
    python tests/golden/sampling/make_sampling.py        # writes sampling.bin beside itself

Order: RepetitionPenalty, SuppressTokens, (log softmax), Temperature, TopK, TopP, MinP. What is kept comes
from transformers; the draw is ours: Philox 4x32-10 written here again, over tokens by falling probability,
equal ones by rising id. A draw nearer than 1e-5 to a boundary is not recorded.
"""
import pathlib
import random
import struct

import numpy as np
import torch
import transformers
from transformers.generation import logits_process as lp

HERE = pathlib.Path(__file__).parent
DRAWS = 24


def uniform(seed, draw):
    mask = 0xFFFFFFFF
    c = [draw & mask, draw >> 32, 0, 0]
    k = [seed & mask, seed >> 32]
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [p1 >> 32 ^ c[1] ^ k[0], p1 & mask, p0 >> 32 ^ c[3] ^ k[1], p0 & mask]
        k = [(k[0] + 0x9E3779B9) & mask, (k[1] + 0xBB67AE85) & mask]
    return (((c[1] << 32) | c[0]) >> 11) * 2.0**-53


def main():
    print("torch", torch.__version__, "transformers", transformers.__version__)
    torch.manual_seed(5)
    random.seed(5)
    cases = []
    for vocab in (1, 17, 200, 1000):
        for temperature, top_k, top_p, min_p, penalty in (
            (0.0, 0, 1.0, 0.0, 1.0),
            (0.0, 0, 1.0, 0.0, 1.8),
            (1.0, 0, 1.0, 0.0, 1.0),
            (1.0, 64, 0.95, 0.0, 1.0),
            (0.7, 5, 1.0, 0.0, 1.3),
            (1.5, 0, 0.6, 0.0, 1.0),
            (2.5, 0, 0.999, 0.0, 1.0),
            (1.0, 0, 1.0, 0.1, 0.8),
            (0.9, 100, 0.9, 0.05, 1.1),
            (1.0, 1, 1.0, 0.0, 1.0),
            (1.0, 0, 0.0001, 0.0, 1.0),
        ):
            cases.append((vocab, temperature, top_k, top_p, min_p, penalty))
    data = bytearray(struct.pack("<II", len(cases), DRAWS))
    for number, (vocab, temperature, top_k, top_p, min_p, penalty) in enumerate(cases):
        logits = torch.randn(vocab) * (2.0 if number % 2 else 0.7)
        history = [random.randrange(vocab) for _ in range(12)] * 2
        suppressed = sorted(random.sample(range(vocab), 2)) if vocab > 2 else []
        if top_k and vocab > 2 * top_k:  # a tie at the edge of top_k: transformers keeps both
            order = logits.argsort(descending=True)
            logits[order[top_k]] = logits[order[top_k - 1]]
        ids = torch.tensor([history])
        scores = logits[None].clone()
        scores = lp.RepetitionPenaltyLogitsProcessor(penalty)(ids, scores) if penalty != 1.0 else scores
        scores = lp.SuppressTokensLogitsProcessor(suppressed)(ids, scores) if suppressed else scores
        logprobs = scores.double().log_softmax(-1)[0]
        if temperature > 0:
            scores = lp.TemperatureLogitsWarper(temperature)(ids, scores) if temperature != 1.0 else scores
            scores = lp.TopKLogitsWarper(top_k)(ids, scores) if top_k else scores
            scores = lp.TopPLogitsWarper(top_p)(ids, scores) if top_p < 1.0 else scores
            scores = lp.MinPLogitsWarper(min_p)(ids, scores) if min_p else scores
        probabilities = scores.double().softmax(-1)[0].tolist()
        order = sorted((i for i in range(vocab) if probabilities[i] > 0), key=lambda i: (-probabilities[i], i))
        seed = random.getrandbits(64)
        tokens = []
        for draw in range(DRAWS):
            if temperature == 0:
                tokens.append(int(scores[0].argmax()))
                continue
            target, total, token = uniform(seed, draw), 0.0, order[-1]
            for i in order:
                total += probabilities[i]
                if abs(total - target) < 1e-5 and i != order[-1]:
                    token = 0xFFFFFFFF
                    break
                if total > target:
                    token = i
                    break
            tokens.append(token)
        data += struct.pack("<IIIII", vocab, top_k, len(history), len(suppressed), len(order))
        data += struct.pack("<ffff", temperature, top_p, min_p, penalty)
        data += struct.pack("<II", seed & 0xFFFFFFFF, seed >> 32)
        data += struct.pack(f"<{len(history)}I", *history) + struct.pack(f"<{len(suppressed)}I", *suppressed)
        data += np.asarray(logits.numpy(), dtype="<f4").tobytes()
        data += np.asarray(logprobs.numpy(), dtype="<f4").tobytes()
        data += struct.pack(f"<{DRAWS}I", *tokens)
    (HERE / "sampling.bin").write_bytes(data)
    print("sampling.bin", len(data), "bytes")


if __name__ == "__main__":
    main()
