"""Writes the pictures the repository ships: demo pictures to look at and test scenes to score.

Owns: which held-out seeds become which file. Promises: the same files on every run (with the same
font and Pillow), each with a line in truth.jsonl: file, caption, count, colour.

    python pictures.py ../../examples

pictures/ holds 24 files of mixed formats and sizes, as a user's own folder would; scenes/ holds
200 scenes of the loose rule at the size the model sees.
"""
import json
import os
import sys

from PIL import Image

import scenes

PICTURES, SCENES = 500_000, 10_000  # first seeds
# file ending, factor on the drawn size; None: 1200 pixels on the longer side
FORMS = [(".jpg", None), (".png", 1.0), (".webp", 1.5), (".jpg", 1.0), (".png", 0.75), (".webp", None),
         (".jpg", 2.0), (".webp", 1.0)]


def save(picture, path):
    options = {".jpg": dict(quality=92), ".webp": dict(quality=90), ".png": dict(optimize=True)}
    picture.save(path, **options[os.path.splitext(path)[1]])


def truth(plan, file):
    return json.dumps(dict(file=file, caption=plan.caption(), count=plan.count, colour=plan.colour))


def main(folder):
    os.makedirs(f"{folder}/pictures", exist_ok=True)
    os.makedirs(f"{folder}/scenes", exist_ok=True)
    lines = []
    for index in range(24):
        picture, plan = scenes.scene(PICTURES + index, count=1 + index % 3)
        ending, factor = FORMS[index % len(FORMS)]
        factor = factor or 1200 / max(picture.size)
        if factor != 1:
            size = (round(picture.width * factor), round(picture.height * factor))
            picture = picture.resize(size, Image.LANCZOS)
        things = "-".join(scenes.NAME_OF[t.kind].replace(" ", "-") for t in plan.things)
        file = f"{index + 1:02d}-{things}{ending}"
        save(picture, f"{folder}/pictures/{file}")
        lines.append(truth(plan, file))
    with open(f"{folder}/pictures/truth.jsonl", "w") as out:
        out.write("\n".join(lines) + "\n")
    lines = []
    for index in range(200):
        picture, plan = scenes.scene(SCENES + index, loose=True)
        file = f"{index:03d}.webp"
        picture.save(f"{folder}/scenes/{file}", quality=92, method=6)
        lines.append(truth(plan, file))
    with open(f"{folder}/scenes/truth.jsonl", "w") as out:
        out.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
