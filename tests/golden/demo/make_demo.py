#!/usr/bin/env python3
"""Token ids of captioning requests to the demo model, with the true caption after each.

    python tests/golden/demo/make_demo.py       (ci/golden runs it in a pinned environment)

Made with transformers 5.24.0, pillow 13.0.0. Writes tokens.npy, int32 [scenes][longest], padded with -1: the prompt of
the chat template for one picture of examples/scenes, expanded by the processor, then the caption of truth.jsonl.
Only the tokenizer of examples/demo-model matters, not its weights.
"""
import json
import pathlib

import numpy as np
from PIL import Image
from transformers import AutoProcessor

HERE = pathlib.Path(__file__).resolve().parent
EXAMPLES = HERE.parent.parent.parent / "examples"
SCENES = 8


def main():
    processor = AutoProcessor.from_pretrained(EXAMPLES / "demo-model")
    rows = []
    lines = (EXAMPLES / "scenes" / "truth.jsonl").read_text().splitlines()
    for line in lines[:SCENES]:
        truth = json.loads(line)
        picture = Image.open(EXAMPLES / "scenes" / truth["file"]).convert("RGB")
        messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Describe the picture."}]}]
        text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        inputs = processor(text=[text + truth["caption"]], images=[picture])
        rows.append(list(np.asarray(inputs["input_ids"][0])))
    longest = max(map(len, rows))
    np.save(HERE / "tokens.npy", np.array([row + [-1] * (longest - len(row)) for row in rows], np.int32))
    print(len(rows), "requests of up to", longest, "tokens")


if __name__ == "__main__":
    main()
