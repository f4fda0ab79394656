#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Pictures per second of the peers of `tessera-bench media`, one thread each.

    python bench/media_peers.py FOLDER [--budget 280] [--seconds 5] [--each]

Peers, each from a file's bytes on disk to what the model is fed:
  transformers_path    Gemma4UnifiedImageProcessor given the path: it decodes with torchvision
  transformers_pillow  load_image (Pillow) and then the same processor
  pillow_numpy         Pillow decode and bicubic resize, numpy patches of bytes: the least work that
                       Python can do for the same result

Prints one JSON object per peer and folder, and with --each one per picture. Needs torch,
torchvision, transformers (5.24 was used), Pillow and numpy. Only the one process runs, with
torch.set_num_threads(1).
"""

import argparse
import json
import pathlib
import time

import numpy
import PIL
import torch
import torchvision
import transformers
from PIL import Image, ImageOps
from transformers.image_utils import load_image
from transformers.models.gemma4_unified.image_processing_gemma4_unified import (
    Gemma4UnifiedImageProcessor,
    get_aspect_ratio_preserving_size,
)

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def transformers_path(processor, path, budget):
    return processor(images=[str(path)], max_soft_tokens=budget, return_tensors="pt")


def transformers_pillow(processor, path, budget):
    image = load_image(str(path))
    return processor(images=[image], max_soft_tokens=budget, return_tensors="pt")


def pillow_numpy(_processor, path, budget):
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    height, width = get_aspect_ratio_preserving_size(image.height, image.width, 16, budget * 9, 3)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    grid = numpy.asarray(image).reshape(height // 48, 48, width // 48, 48, 3)
    return numpy.ascontiguousarray(grid.transpose(0, 2, 1, 3, 4)).reshape(-1, 6912)


def rate(peer, processor, paths, budget, seconds):
    """Whole rounds over the paths until the time is up; the first round is not counted."""
    for path in paths:
        peer(processor, path, budget)
    rounds, begin, cpu_begin = 0, time.perf_counter(), time.process_time()
    while rounds == 0 or time.perf_counter() - begin < seconds:
        for path in paths:
            peer(processor, path, budget)
        rounds += 1
    loads = rounds * len(paths)
    return loads / (time.perf_counter() - begin), loads / (time.process_time() - cpu_begin)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--budget", type=int, default=280)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--each", action="store_true", help="also one row per picture")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    paths = sorted(p for p in arguments.folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not paths:
        parser.error(f"{arguments.folder} holds no pictures")
    processor = Gemma4UnifiedImageProcessor()
    versions = {m.__name__: m.__version__ for m in (torch, torchvision, transformers, PIL, numpy)}
    groups = [(str(arguments.folder), paths)]
    if arguments.each:
        groups += [(path.name, [path]) for path in paths]
    for name, group in groups:
        for peer in (transformers_path, transformers_pillow, pillow_numpy):
            per_s, per_cpu_s = rate(peer, processor, group, arguments.budget, arguments.seconds)
            row = {
                "bench": "media",
                "peer": peer.__name__,
                "what": name,
                "budget": arguments.budget,
                "threads": 1,
                "pictures_per_s": round(per_s, 2),
                "pictures_per_cpu_s": round(per_cpu_s, 2),
                "versions": versions,
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
