#!/usr/bin/env python3
"""Writes random blocks of GGUF's types that are codes with a scale, and what the gguf package decodes them to.

Run:  python make_codes.py     (gguf 0.19, numpy; a second)

codes.json: per type the rows and columns, the blocks as they lie in a file and the values as f32, both in hexadecimal.
"""
import json
import pathlib

import gguf
import numpy as np

HERE = pathlib.Path(__file__).parent
ROWS, COLUMNS = 3, 128


def random_blocks(rng, kind):
    per, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (ROWS, COLUMNS // per, size), dtype=np.uint8)
    if kind == gguf.GGMLQuantizationType.Q8_0:
        blocks[blocks == 0x80] = 0x81  # quantizers end at -127
    halves = 2 if kind == gguf.GGMLQuantizationType.Q4_1 else 1  # scale, and the least value
    scales = rng.uniform(-2, 2, (ROWS, COLUMNS // per, halves)).astype(np.float16)
    blocks[:, :, :2 * halves] = scales.view(np.uint8)
    return blocks.reshape(ROWS, -1)


def main():
    rng = np.random.default_rng(11)
    out = {}
    for name in ("Q4_0", "Q4_1", "Q8_0"):
        kind = gguf.GGMLQuantizationType[name]
        blocks = random_blocks(rng, kind)
        values = gguf.quants.dequantize(blocks, kind).astype("<f4")
        assert values.shape == (ROWS, COLUMNS)
        out[name] = {"rows": ROWS, "columns": COLUMNS, "blocks": blocks.tobytes().hex(), "values": values.tobytes().hex()}
    (HERE / "codes.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
