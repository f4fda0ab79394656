#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Captions per second of transformers on the CPU, the peer of `tessera caption`.

    python bench/caption_peers.py MODEL FOLDER [--most 200] [--batches 1,16] [--dtypes bfloat16,float32]

From paths to texts, as a user would write it: the processor (torchvision decodes), greedy generate() with a
cache and left padding, torch on every processor of the machine. The first batch is not counted. Prints one
JSON object per setting. transformers 5.24 was used.
"""
import argparse
import json
import os
import pathlib
import time

import torch
import transformers
from transformers import AutoProcessor, Gemma4UnifiedForConditionalGeneration

QUESTION = "Describe this image."  # the default of tessera caption


def caption(model, processor, paths):
    conversations = [[{"role": "user", "content": [{"type": "image", "path": str(path)},
                                                   {"type": "text", "text": QUESTION}]}] for path in paths]
    inputs = processor.apply_chat_template(conversations, add_generation_prompt=True, tokenize=True,
                                           return_dict=True, return_tensors="pt",
                                           processor_kwargs={"padding": True})
    with torch.inference_mode():
        out = model.generate(**inputs, do_sample=False, max_new_tokens=80)
    return processor.batch_decode(out[:, inputs["input_ids"].shape[1]:], skip_special_tokens=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--most", type=int, default=200)
    parser.add_argument("--batches", default="1,16")
    parser.add_argument("--dtypes", default="bfloat16,float32")
    arguments = parser.parse_args()
    pictures = sorted(p for p in arguments.folder.iterdir() if p.suffix in (".webp", ".png", ".jpg"))
    pictures = pictures[:arguments.most]
    processors = len(os.sched_getaffinity(0))
    torch.set_num_threads(processors)
    processor = AutoProcessor.from_pretrained(arguments.model, padding_side="left")
    for dtype in arguments.dtypes.split(","):
        model = Gemma4UnifiedForConditionalGeneration.from_pretrained(
            arguments.model, dtype=getattr(torch, dtype)).eval()
        for batch in map(int, arguments.batches.split(",")):
            caption(model, processor, pictures[:batch])
            begin, captions = time.perf_counter(), []
            for first in range(0, len(pictures), batch):
                captions += caption(model, processor, pictures[first:first + batch])
            seconds = time.perf_counter() - begin
            print(json.dumps({"bench": "caption", "peer": "transformers", "dtype": dtype, "batch": batch,
                              "processors": processors, "pictures": len(pictures),
                              "seconds": round(seconds, 2),
                              "captions_per_s": round(len(pictures) / seconds, 2),
                              "different_captions": len(set(captions)), "first": captions[0],
                              "versions": {"torch": torch.__version__,
                                           "transformers": transformers.__version__}}), flush=True)


if __name__ == "__main__":
    main()
