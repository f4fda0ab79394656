# SPDX-License-Identifier: Apache-2.0
"""Writes a tokenizer.json of the size of Gemma's (262,144 entries, 514,906 merges) for measuring how
long it takes to open. Its pieces are drawn, not learned; nothing else should be measured with it.

    python synthetic.py OUT.json
"""
import json
import random
import sys

from gemma_form import CONTROL, MARK, tokenizer_json

VOCAB, MERGES = 262_144, 514_906


def main():
    rng = random.Random(3)
    vocab = {}
    for piece in CONTROL + [f"<unused{i}>" for i in range(6242)] + [f"<0x{b:02X}>" for b in range(256)]:
        vocab.setdefault(piece, len(vocab))
    letters = [MARK, *map(chr, range(33, 127)), *map(chr, range(0xC0, 0x250)), *map(chr, range(0x391, 0x530)),
               *map(chr, range(0x621, 0x64B)), *map(chr, range(0x905, 0x940)), *map(chr, range(0x4E00, 0x6E00))]
    for letter in letters:
        vocab.setdefault(letter, len(vocab))
    common = letters[:96]
    merges = {}

    def add(piece):
        """The piece and every merge that gives it, as in Gemma's file, where most have several."""
        if piece not in vocab and MARK not in piece[1:]:
            vocab[piece] = len(vocab)
            for cut in range(1, len(piece)):
                if piece[:cut] in vocab and piece[cut:] in vocab:
                    merges[piece[:cut], piece[cut:]] = None

    for left in common:
        for right in common:
            add(left + right)
    while len(vocab) < VOCAB - 40_000:
        add("".join(rng.choices(common, k=3)))
    threes = [p for p in vocab if len(p) == 3 and p[0] in common]
    while len(vocab) < VOCAB:
        add(rng.choice(threes) + rng.choice(common))
    merges = list(merges)[:MERGES]
    print(len(vocab), "entries,", len(merges), "merges")
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(tokenizer_json(vocab, merges), file, ensure_ascii=False, indent=2)


if __name__ == "__main__":
    main()
