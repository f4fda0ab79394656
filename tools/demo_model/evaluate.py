"""Scores an exported folder on held-out scenes: exact answers by question kind and object count.

Owns: the held-out seeds 0..999 and the figures quoted in the README. Promises: an answer counts
only if greedy decoding would give it token for token, its end included. That is read off one
forward pass: greedy decoding reproduces a text exactly when each of its tokens is the best one
after those before it.

    python evaluate.py ../../examples/demo-model [scenes] [loose]
"""
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import scenes
import wording
from model import DemoModel
from train import Sampler, collate


def load(folder):
    """The training module with the weights on disk; the first norm goes back into the matrix."""
    weights = {k: v.float() for k, v in load_file(f"{folder}/model.safetensors").items()}
    part = "model.vision_embedder."
    power, shift = weights.pop(part + "patch_ln1.weight"), weights.pop(part + "patch_ln1.bias")
    weights[part + "patch_dense.bias"] += weights[part + "patch_dense.weight"] @ shift
    weights[part + "patch_dense.weight"] *= power
    net = DemoModel()
    net.load_state_dict(weights)
    return net.eval()


@torch.no_grad()
def exact(net, sampler, packed):
    """-> for each sample whether its answer is the greedy one, and the mean loss of its tokens"""
    batch = collate(packed, sampler.image_id)
    rows, columns, wanted = batch["targets"][:batch["said"]].unbind(1)
    scores = net(batch["ids"], batch["is_image"], batch["pixels"], batch["places"], rows, columns)
    for token in ("<audio|>", "<image|>"):  # as generation_config.json asks
        scores[:, sampler.tokenizer.token_to_id(token)] = -1e9
    wrong = torch.bincount(rows, (scores.argmax(-1) != wanted).float(), minlength=len(packed))
    return (wrong == 0).tolist(), F.cross_entropy(scores, wanted).item()


def main(folder, total, loose):
    net, sampler = load(folder), Sampler()
    questions = dict(caption=wording.CAPTION[0], count=wording.COUNT[0], colour=wording.COLOUR[0])
    hits = {(kind, n): [] for kind in questions for n in (1, 2, 3)}
    for start in range(0, total, 25):
        drawn = [scenes.scene(seed, loose=loose) for seed in range(start, min(start + 25, total))]
        for kind, question in questions.items():
            packed = [sampler.pack(wording.prompt(question), sampler.answer(kind, plan), plan, picture)
                      for picture, plan in drawn]
            for (_, plan), right in zip(drawn, exact(net, sampler, packed)[0]):
                hits[kind, plan.count].append(right)
    print("question   all      1 object  2 objects 3 objects")
    for kind in questions:
        groups = [hits[kind, n] for n in (1, 2, 3)]
        groups.insert(0, sum(groups, []))
        print(f"{kind:10}", " ".join(f"{100 * sum(g) / max(1, len(g)):6.2f} % " for g in groups))
    print("scenes    ", " ".join(f"{len(hits['caption', n]):6d}" for n in (1, 2, 3)))
    texts = [sampler.pack(wording.prompt(wording.WRITE[0], False), scenes.scene(seed)[1].caption())
             for seed in range(100)]
    loss = exact(net, sampler, texts)[1]
    print(f"text-only captions: {loss:.3f} nats a token")


if __name__ == "__main__":
    numbers = [int(a) for a in sys.argv[2:] if a.isdigit()]
    main(sys.argv[1], (numbers + [1000])[0], "loose" in sys.argv)
