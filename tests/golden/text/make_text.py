# SPDX-License-Identifier: Apache-2.0
"""Writes the fixtures of tests/unit/text: tokenizers, sample texts, and what the `tokenizers` package
says of them.

    python make_text.py            (tokenizers 0.23.3; Debian packages unicode-cldr-core, python3.11)
    python make_chat.py TEMPLATE   (the chat template's fixtures are made there)

Writes beside itself:
  small.json             a tokenizer of Gemma's form, 2,320 entries
  variant_*.json         small tokenizers that each use one option
  texts.bin              10,000 texts: u32 length, then the bytes
  small.hash, variant_*.hash
                         per text (variants: every tenth) three u32: the ids with control tokens
                         parsed, the ids as plain text, and the decoded text of the former
  decode.bin             random id lists and their decoded texts, with and without control tokens
Hashes are FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/) of 64 bits folded to 32; ids are
hashed as little-endian u32. The hash 0 means that the text is not compared.
"""
import json
import pathlib
import random
import struct

import tokenizers

import gemma_form
from expected import Expected
from sample_texts import sample

HERE = pathlib.Path(__file__).resolve().parent


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return (value ^ value >> 32) & 0xFFFFFFFF or 1


def ids_hash(ids):
    return 0 if ids is None else fnv(struct.pack(f"<{len(ids)}I", *ids))


def write_json(name, root):
    path = HERE / f"{name}.json"
    path.write_text(json.dumps(root, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    return path


def write_hashes(name, texts):
    expected = Expected(HERE / f"{name}.json")
    with open(HERE / f"{name}.hash", "wb") as file:
        for data in texts:
            ids = expected.encode(data, True)
            decoded = 0 if ids is None else fnv(expected.decode(ids, False).encode())
            file.write(struct.pack("<3I", ids_hash(ids), ids_hash(expected.encode(data, False)), decoded))


def write_decodes(name, count=1500):
    """u16 id count, the ids as u16, then twice u16 length and text: all tokens, without control."""
    rng = random.Random(7)
    expected = Expected(HERE / f"{name}.json")
    size = expected.tokenizer.get_vocab_size()
    first = expected.tokenizer.token_to_id("<0x00>")

    def byte_run():
        data = rng.choice(["é", "中文", "🦊", "a", "👩‍👩‍👧"]).encode()
        which = rng.random()
        if which < 0.25:
            data = data[:rng.randint(1, len(data))]
        elif which < 0.4:
            data = data + bytes([rng.randrange(256)])
        elif which < 0.5:
            data = bytes(rng.randrange(256) for _ in range(rng.randint(1, 6)))
        return [first + b for b in data]

    with open(HERE / "decode.bin", "wb") as file:
        for _ in range(count):
            ids = []
            for _ in range(rng.randint(0, 8)):
                ids += byte_run() if rng.random() < 0.5 else [rng.randrange(size + 3)]
            file.write(struct.pack(f"<{len(ids) + 1}H", len(ids), *ids))
            for skip in (False, True):
                text = expected.decode(ids, skip).encode()
                file.write(struct.pack("<H", len(text)) + text)


def main():
    print("tokenizers", tokenizers.__version__)
    small = write_json("small", gemma_form.train(2000, 3_000_000))
    expected = Expected(small)
    texts = [data for _, data in sample(1, expected.specials, expected.pieces)]
    with open(HERE / "texts.bin", "wb") as file:
        for data in texts:
            file.write(struct.pack("<I", len(data)) + data)
    write_hashes("small", texts)
    write_decodes("small")
    for name, root in gemma_form.variants().items():
        write_json(f"variant_{name}", root)
        write_hashes(f"variant_{name}", texts[::10])
    for path in sorted(HERE.glob("*.*")):
        print(f"{path.stat().st_size:9} {path.name}")


if __name__ == "__main__":
    main()
