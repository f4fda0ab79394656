# SPDX-License-Identifier: Apache-2.0
"""Compares our tokenizer with the `tokenizers` package on the sample texts, token for token.

    python compare.py TOKENIZER.json... [--scale N] [--seed S]

Each tokenizer sees 10,000 x N texts twice: with control tokens parsed, and as plain text. Prints
one line per tokenizer and the first differences; exits 1 when there is one.
"""
import argparse
import sys

import tokenizers

from expected import Expected
from ours import Ours
from sample_texts import sample


def compare(path, seed, scale):
    expected, ours = Expected(path), Ours(path)
    texts = differences = tokens = 0
    for kind, data in sample(seed, expected.specials, expected.pieces, scale):
        texts += 1
        for parse_special in (True, False):
            want = expected.encode(data, parse_special)
            have = ours.encode(data, parse_special).tolist()
            tokens += len(have)
            if want is None:
                differences += not parse_special and bool(expected.control.intersection(have))
            elif want != have:
                differences += 1
                if differences <= 5:
                    name = expected.tokenizer.id_to_token
                    print(f"  {kind} {data!r} special={parse_special}\n   want {[name(i) for i in want]}"
                          f"\n   have {[name(i) for i in have]}")
    print(f"{path}: {texts} texts, {tokens} tokens, {differences} differences")
    return differences


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tokenizer", nargs="+")
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--seed", type=int, default=2)
    arguments = parser.parse_args()
    print("tokenizers", tokenizers.__version__)
    sys.exit(any([compare(path, arguments.seed, arguments.scale) for path in arguments.tokenizer]))


if __name__ == "__main__":
    main()
