#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws 16 photo-like JPEGs for the media bench: python bench/draw_pictures.py FOLDER

Soft gradients, shapes with hard edges and sensor-like noise, so that their bytes per pixel are those of
camera pictures; sizes from 640 x 480 to 4000 x 3000, quality 90, one progressive. Same bytes on every run with
the same Pillow.
"""
import pathlib
import sys

import numpy
from PIL import Image, ImageDraw, ImageFilter

SIZES = [(640, 480), (480, 640), (800, 600), (1024, 768), (1200, 900), (1280, 720), (900, 1600), (1600, 1200),
         (1920, 1080), (1080, 1920), (2048, 1536), (2560, 1440), (3000, 2000), (3264, 2448), (4000, 3000),
         (3000, 4000)]


def draw(width, height, seed):
    rng = numpy.random.default_rng(seed)
    coarse = rng.integers(0, 256, (8, 8, 3), dtype=numpy.uint8)
    picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    for _ in range(40):
        x, y = rng.integers(0, width), rng.integers(0, height)
        w, h = rng.integers(width // 40, width // 5), rng.integers(height // 40, height // 5)
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        (pen.ellipse if rng.integers(2) else pen.rectangle)((x, y, x + w, y + h), fill=colour)
    picture = picture.filter(ImageFilter.GaussianBlur(width / 2000))
    noise = rng.normal(0, 4, (height, width, 1))
    return Image.fromarray(numpy.clip(numpy.asarray(picture) + noise, 0, 255).astype(numpy.uint8))


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (width, height) in enumerate(SIZES):
        path = folder / f"{seed:02d}-{width}x{height}.jpg"
        if not path.exists():
            draw(width, height, seed).save(path, quality=90, progressive=seed == 5)


if __name__ == "__main__":
    main()
