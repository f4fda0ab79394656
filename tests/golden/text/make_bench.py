# SPDX-License-Identifier: Apache-2.0
"""Writes what `tessera-bench text` and bench/text_peers.py measure: a tokenizer of Gemma's form with
about 48,000 entries, and four texts found on this machine.

    python make_bench.py FOLDER

english.txt: Perl's manual. code.txt: Python's library. scripts.txt: words in 22 languages (CLDR).
mixed.txt: pieces of 20,000 characters of the three in turn. Training takes about a minute.
"""
import json
import pathlib
import random
import sys

import gemma_form
from sample_texts import words_by_language

LANGUAGES = "en de fr ru zh ja ko hi ar th el he ta tr vi uk ka am bn es pl fa".split()


def joined(root, pattern, first, last):
    data = b"".join(p.read_bytes() for p in sorted(pathlib.Path(root).rglob(pattern)))[first:last]
    return data.decode(errors="ignore").replace(gemma_form.MARK, "")


def scripts(rng, bytes_max):
    words, lines, size = words_by_language(), [], 0
    while size < bytes_max:
        language = rng.choice(LANGUAGES)
        space = "" if language in ("zh", "ja", "th") else " "
        line = space.join(rng.choice(words[language]) for _ in range(rng.randint(5, 40)))
        lines.append(line + rng.choice([".\n", "\n\n", " 🦊\n", ", "]))
        size += len(lines[-1].encode())
    return "".join(lines)


def main():
    folder, rng = pathlib.Path(sys.argv[1]), random.Random(5)
    texts = {"english": joined("/usr/share/perl", "*.pod", 0, 3_000_000),
             "code": joined("/usr/lib/python3.11", "*.py", -4_000_000, None),
             "scripts": scripts(rng, 3_000_000)}
    pieces = [t[i:i + 20_000] for t in texts.values() for i in range(0, min(len(t), 1_500_000), 20_000)]
    rng.shuffle(pieces)
    texts["mixed"] = "".join(pieces)
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    root = gemma_form.train(48_000, 40_000_000, crossing=False)
    (folder / "tokenizer.json").write_text(json.dumps(root, ensure_ascii=False), encoding="utf-8")
    print(len(root["model"]["vocab"]), "entries,", len(root["model"]["merges"]), "merges")


if __name__ == "__main__":
    main()
