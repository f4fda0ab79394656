"""Trains the demo model on scenes drawn as it goes.

Owns: the mix of samples, the optimisers, the schedule and the checkpoints. Promises: ends within
its time budget, writes a checkpoint every few minutes and goes on from it when started again;
training scenes never use held-out seeds.

    python train.py --minutes 85 --out run/       (same command again: resume)

Each sample asks one question about one picture (or none, for text). Beside the answer, every
patch of a picture is asked for the word of the thing it shows, through the same output matrix:
some sixty extra targets a picture for no extra forward pass. "Crowd" samples are pictures full
of things with those patch targets only. Matrices are moved by Muon, the rest by AdamW.
"""
import argparse
import json
import os
import random
import time

import numpy as np
import torch
import torch.nn.functional as F

import scenes
import wording
from model import DemoModel
from tokenizer import build

BATCH = 64
FIRST_SEED = 1_000_000_000
GROUND_WEIGHT, PATCH_WEIGHT = 0.1, 0.4
MUON_RATE, ADAM_RATE, WARM_STEPS = 0.02, 3e-3, 60


class Sampler:
    """Turns a seed into token ids, targets and patches."""

    def __init__(self):
        self.tokenizer = build()[0]
        self.image_id = self.tokenizer.token_to_id("<|image|>")
        self.label_ids = np.array([self.word(w) for w in scenes.LABEL_OF])
        self.colour_ids = {c: self.word(c) for c in scenes.COLOUR_NAMES}

    def word(self, word):
        (only,) = self.tokenizer.encode(" " + word).ids
        return only

    def ids(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def answer(self, kind, plan):
        return {"caption": plan.caption(), "count": str(plan.count), "colour": plan.colour}[kind]

    def question(self, kind, rng):
        return rng.choice({"caption": wording.CAPTION, "count": wording.COUNT,
                           "colour": wording.COLOUR}[kind])

    def pack(self, prompt, answer, plan=None, picture=None):
        """-> ids, where answers start, patches, places, patch targets"""
        tail = self.ids(answer) + self.ids("<turn|>") if answer is not None else []
        if plan is None:
            head = self.ids(prompt)
            return head + tail, len(head), None, None, None
        columns, rows = plan.grid
        head = self.ids(wording.expand(prompt, columns * rows))
        places = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2)
        kinds = scenes.patch_labels(plan)
        labels = np.where(kinds >= 0, self.label_ids[kinds], self.colour_ids[plan.colour])
        weights = np.where(kinds >= 0, 1.0, GROUND_WEIGHT).astype(np.float32)
        return head + tail, len(head), scenes.patches(picture), places, (labels, weights)

    def crowd(self, seed, loose):
        rng = random.Random(seed)
        plan = scenes.layout(rng, crowd=True, loose=loose)
        picture = scenes.draw(plan, rng)
        if rng.random() < 0.1:
            picture = scenes.wear(picture, rng)
        return self.pack("<bos><|turn>user\n<|image|>", None, plan, picture)

    def text(self, rng):
        plan = scenes.layout(rng)
        if rng.random() < 0.5:
            return self.pack(wording.prompt(rng.choice(wording.WRITE), False), plan.caption())
        about = scenes.with_article(scenes.NAME_OF[rng.choice(plan.things).kind])
        return self.pack(wording.prompt(wording.WRITE_ABOUT.format(about), False), plan.caption())

    def sample(self, seed, count, long, loose):
        rng = random.Random(seed)
        if rng.random() < 0.05:
            return self.text(rng)
        plan = scenes.layout(rng, count, loose=loose)
        picture = scenes.draw(plan, rng)
        if rng.random() < 0.15:
            picture = scenes.wear(picture, rng)
        kind = rng.choice(["caption"] * 16 + ["count"] * 3 + ["colour"])
        question, answer = self.question(kind, rng), self.answer(kind, plan)
        form = rng.choice(["think", "again", "system"]) if long else "plain"
        prompt = wording.prompt(question)
        if form == "think":
            thought = wording.THOUGHT.format(wording.NUMBERS[plan.count], plan.colour)
            prompt = wording.prompt(question, True, rng.choice([None] + wording.SYSTEM), True)
            answer = f"<|channel>thought\n{thought}\n<channel|>{answer}"
        elif form == "again":  # a second question about the same picture
            before = rng.choice(["caption", "count", "colour"])
            earlier = [(self.question(before, rng), self.answer(before, plan))]
            prompt = wording.prompt(question, earlier=earlier)
        elif form == "system":
            prompt = wording.prompt(question, system=rng.choice(wording.SYSTEM))
        return self.pack(prompt, answer, plan, picture)


def collate(samples, image_id):
    """Samples -> one batch. Targets are (row, column, id, weight) lists: only those positions are
    turned into scores. Answers weigh one each; patch targets as their own weights say."""
    length = max(len(s[0]) for s in samples)
    ids = np.zeros((len(samples), length), np.int64)
    said, seen = [], []
    for row, (tokens, start, _, _, labels) in enumerate(samples):
        ids[row, :len(tokens)] = tokens
        said += [(row, at - 1, tokens[at]) for at in range(start, len(tokens))]
        if labels is not None:
            first = tokens.index(image_id)
            seen += [(row, first + i, label) for i, label in enumerate(labels[0])]
    pictures = [s for s in samples if s[2] is not None]
    weights = [s[4][1] for s in pictures if s[4] is not None]
    targets = np.array(said + seen, np.int64).reshape(-1, 3)
    ids = torch.from_numpy(ids)
    return dict(
        ids=ids, is_image=ids == image_id, targets=torch.from_numpy(targets), said=len(said),
        weights=torch.from_numpy(np.concatenate(weights)) if weights else torch.zeros(0),
        pixels=torch.from_numpy(np.concatenate([s[2] for s in pictures])) if pictures else None,
        places=torch.from_numpy(np.concatenate([s[3] for s in pictures])) if pictures else None)


class Stream(torch.utils.data.IterableDataset):
    """Endless batches. `done` is the share of the time budget used up, kept in shared memory."""

    def __init__(self, seed, done):
        self.seed, self.done = seed, done

    def __iter__(self):
        torch.set_num_threads(1)
        sampler, rng, seed = Sampler(), random.Random(self.seed), self.seed
        while True:
            done = self.done.item()
            # three stages: name things; caption them; caption many, in the clearer scenes (not loose)
            stage = 0 if done < 0.08 else 1 if done < 0.34 else 2
            crowd = rng.random() < (0.6, 0.3, 0.03)[stage]
            counts = ((1, 1, 1, 1, 1, 1, 1, 2, 2, 3), (1, 1, 1, 1, 2, 2, 2, 3, 3, 3),
                      (1, 2, 2, 2, 2, 3, 3, 3, 3, 3))[stage]
            long = rng.random() < 0.1  # the long forms share batches: less padding
            batch = [sampler.crowd(seed + i, stage < 2) if crowd
                     else sampler.sample(seed + i, rng.choice(counts), long, stage < 2)
                     for i in range(BATCH)]
            if stage == 2 and not crowd and rng.random() < 0.7:
                batch = [b[:4] + (None,) for b in batch]  # patches are known by now: save the time
            seed += BATCH
            batch = collate(batch, sampler.image_id)
            batch["seed"] = seed
            yield batch


def losses(net, batch):
    """-> (answer loss, patch loss, share of patches named right)"""
    rows, columns, wanted = batch["targets"].unbind(1)
    scores = net(batch["ids"], batch["is_image"], batch["pixels"], batch["places"], rows, columns)
    each = F.cross_entropy(scores, wanted, reduction="none")
    said, weights = batch["said"], batch["weights"]
    spoken = each[:said].mean() if said else torch.zeros(())
    patch = (each[said:] * weights).sum() / weights.sum() if len(weights) else torch.zeros(())
    with torch.no_grad():
        things = weights == 1
        right = (scores[said:].argmax(-1) == wanted[said:])[things].float().mean()
    return spoken, patch, right


def orthogonal(matrix):
    """The nearest matrix with all singular values about one (Newton-Schulz steps)."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.to(torch.bfloat16)
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for a, b, c in ((4.0848, -6.8946, 2.9270), (3.9505, -6.3029, 2.6377), (3.7418, -5.5913, 2.3037),
                    (2.8769, -3.1427, 1.2046), (2.8366, -3.0525, 1.2012)):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if tall else x).float()


class Mover:
    """Muon for the matrices, AdamW for everything else."""

    def __init__(self, net):
        self.matrices, others = [], []
        for name, p in net.named_parameters():
            if "embed_audio" in name:
                p.requires_grad_(False)
            elif p.ndim == 2 and "embed_tokens" not in name:
                self.matrices.append(p)
            else:
                others.append(p)
        self.drift = [torch.zeros_like(p) for p in self.matrices]
        self.adam = torch.optim.AdamW(others, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0)

    @torch.no_grad()
    def step(self, rate):
        for group in self.adam.param_groups:
            group["lr"] = ADAM_RATE * rate
        self.adam.step()
        self.adam.zero_grad()
        for p, drift in zip(self.matrices, self.drift):
            drift.mul_(0.95).add_(p.grad)
            step = orthogonal(p.grad + 0.95 * drift) * max(1, p.shape[0] / p.shape[1]) ** 0.5
            p.mul_(1 - 0.05 * MUON_RATE * rate).sub_(step, alpha=MUON_RATE * rate)
            p.grad = None

    def state(self):
        return {"drift": self.drift, "adam": self.adam.state_dict()}

    def load(self, state):
        for mine, saved in zip(self.drift, state["drift"]):
            mine.copy_(saved)
        self.adam.load_state_dict(state["adam"])


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--minutes", type=float, required=True)
    args.add_argument("--out", required=True)
    args.add_argument("--threads", type=int, default=1)
    args.add_argument("--seed", type=int, default=0)
    args.add_argument("--steps", type=int, default=0, help="stop after so many steps (for timing)")
    args = args.parse_args()
    os.makedirs(args.out, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    net = DemoModel()
    mover = Mover(net)
    step, spent, seed = 0, 0.0, FIRST_SEED + args.seed * 100_000_000
    saved = os.path.join(args.out, "checkpoint.pt")
    if os.path.exists(saved):
        state = torch.load(saved)
        net.load_state_dict(state["net"])
        mover.load(state["mover"])
        step, spent, seed = state["step"], state["spent"], state["seed"]
    print(sum(p.numel() for p in net.parameters()), "parameters; from step", step, flush=True)
    done = torch.zeros(1).share_memory_()
    loader = iter(torch.utils.data.DataLoader(Stream(seed, done), batch_size=None, num_workers=1,
                                              prefetch_factor=4))
    began = last_saved = time.time()
    recent, log = [], open(os.path.join(args.out, "curve.jsonl"), "a")

    def save():
        state = dict(net=net.state_dict(), mover=mover.state(), step=step, seed=seed,
                     spent=spent + time.time() - began)
        torch.save(state, saved + ".new")
        os.replace(saved + ".new", saved)

    while True:
        share = (spent + time.time() - began) / 60 / args.minutes
        if share >= 1 or (args.steps and step >= args.steps):
            break
        done.fill_(share)
        rate = min(1.0, (step + 1) / WARM_STEPS) * min(1.0, (1 - share) / 0.6)
        batch = next(loader)
        spoken, patch, right = losses(net, batch)
        (spoken + PATCH_WEIGHT * patch).backward()
        mover.step(rate)
        seed, step = batch["seed"], step + 1
        named = len(batch["weights"]) > 0
        recent.append((spoken.item() if batch["said"] else np.nan,
                       patch.item() if named else np.nan, right.item()))
        if step % 25 == 0:
            said, seen, hit = np.nanmean(np.array(recent), 0)
            minutes = (spent + time.time() - began) / 60
            line = dict(step=step, minutes=round(minutes, 2), answer_loss=round(said, 4),
                        patch_loss=round(seen, 4), patches_right=round(hit, 4))
            print(json.dumps(line), flush=True)
            log.write(json.dumps(line) + "\n")
            log.flush()
            recent = []
        if time.time() - last_saved > 240:
            save()
            last_saved = time.time()
    save()
    print("done at step", step, flush=True)


if __name__ == "__main__":
    main()
