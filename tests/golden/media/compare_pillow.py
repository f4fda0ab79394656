#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Looks for the next picture that we read otherwise than Pillow.

    cmake --build build/dev --target decode_pictures
    python tests/golden/media/compare_pillow.py build/dev/tests/decode_pictures [ROUNDS [SEED]]

In each round every fixture is broken once: chunks and segments are dropped, doubled, moved, cut, given a wrong sum or
other bytes, the whole is cut or grows a tail. What Pillow and transformers make of it (make_media.decoded) is compared
with what we make of it. Differences that docs/media.md names are counted; any other is written to out/compare and ends
the script with 1: mend it, and put its kind into structures.py.
"""
import io
import pathlib
import random
import struct
import subprocess
import sys
import warnings

import PIL
from PIL import JpegImagePlugin, PngImagePlugin

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import make_media
from structures import PHONE, SIGNATURE, chunk, chunks_of, segments_of

OUT = HERE.parents[2] / "out" / "compare"


class Ours:
    """decode_pictures, asked again and again."""

    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, data):
        self.process.stdin.write(struct.pack("<I", len(data)) + data)
        self.process.stdin.flush()
        return self.process.stdout.readline().decode().rstrip()


def why_unidentified(data):
    reader = PngImagePlugin.PngImageFile if data.startswith(SIGNATURE) else JpegImagePlugin.JpegImageFile
    try:
        reader(io.BytesIO(data))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no reader for it"


def theirs(data):
    try:
        pixels = make_media.decoded(data)
    except PIL.UnidentifiedImageError:
        return "refused: " + why_unidentified(data)
    except Exception as error:  # whatever a broken file makes of the reader
        return f"refused: {type(error).__name__}: {error}"
    return f"OK {pixels.shape[1]} {pixels.shape[0]} {make_media.fingerprint(pixels)}"


def wrong_bytes(rng, data, count=3):
    out = bytearray(data)
    for _ in range(rng.randint(1, count) if out else 0):
        out[rng.randrange(len(out))] = rng.choice((0, 0xFF, rng.randrange(256)))
    return bytes(out)


def shuffle(rng, items, change):
    """One or two of: a part dropped, doubled, moved, changed."""
    items = list(items)
    for _ in range(rng.randint(1, 2)):
        if not items:
            break
        at, kind = rng.randrange(len(items)), rng.randrange(4)
        if kind == 0:
            del items[at]
        elif kind == 1:
            items.insert(rng.randrange(len(items) + 1), items[at])
        elif kind == 2:
            items.insert(rng.randrange(len(items)), items.pop(at))
        else:
            items[at] = change(items[at])
    return items


def break_png(rng, data):
    def change(part):
        name, body = part[:2]
        kind = rng.randrange(5)
        if kind == 0:
            return name, body, True
        if kind == 1:
            return name, body[:rng.randrange(len(body) + 1)]
        if kind == 2:
            return name, body + bytes(rng.randrange(1, 9))
        if kind == 3:
            return rng.choice((b"tRNS", b"PLTE", b"IHDR", b"IDAT", b"IEND", b"tEXt", b"eXIf", b"abCd", b"ABCD", b"a\0bc")), body
        return name, wrong_bytes(rng, body)
    return SIGNATURE + b"".join(chunk(*part) for part in shuffle(rng, chunks_of(data), change))


def break_jpeg(rng, data):
    def change(segment):
        if rng.randrange(3) == 0:
            body = segment[4:4 + rng.randrange(len(segment) - 3)]
            return segment[:2] + struct.pack(">H", len(body) + 2) + body
        return segment[:4] + wrong_bytes(rng, segment[4:])
    head, scan = segments_of(data)
    return b"\xff\xd8" + b"".join(shuffle(rng, head, change)) + scan


def break_webp(rng, data):
    parts, at = [], 12
    while at < len(data):
        length = struct.unpack("<I", data[at + 4:at + 8])[0]
        parts.append(data[at:at + 8 + length + length % 2])
        at += 8 + length + length % 2

    def change(part):
        return part[:8] + wrong_bytes(rng, part[8:])
    body = b"WEBP" + b"".join(shuffle(rng, parts, change))
    return b"RIFF" + struct.pack("<I", len(body)) + body


def break_whole(rng, data):
    kind = rng.randrange(5)
    if kind == 0:
        return data[:rng.randrange(len(data))]
    if kind == 1:
        return data[:-rng.randrange(1, 30)]
    if kind == 2:
        return data + rng.choice((PHONE, bytes(30), rng.randbytes(30)))
    if kind == 3:
        return data[:-rng.randrange(1, 16)] + rng.choice((PHONE, bytes(30), rng.randbytes(30)))
    return wrong_bytes(rng, data)


def broken(rng, name, data):
    try:
        if rng.randrange(2):
            return {"jpg": break_jpeg, "png": break_png, "webp": break_webp}[name.rpartition(".")[2]](rng, data)
    except (IndexError, struct.error):
        pass  # a fixture that is broken already
    return break_whole(rng, data)


def verdict(data, ours, pillow):
    """equal, a difference that docs/media.md names, or None."""
    if ours == pillow or (not ours.startswith("OK") and not pillow.startswith("OK")):
        return "equal"
    if not ours.startswith("OK"):
        if ours.startswith("E_IMAGE_TOO_LARGE"):
            return "refused here: a limit"
        if b"fdAT" in data and "ends before its pixels" in ours:
            return "refused here: an animation without IDAT"
        if "longer than the file" in ours:
            return "refused here: chunks of a WebP that contradict each other"
        # Pillow paints over it.
        if ours in ("E_IMAGE_DAMAGED the JPEG is damaged; save it again or fetch it anew",
                    "E_IMAGE_DAMAGED the PNG is damaged; save it again or fetch it anew"):
            return "refused here: rows are missing or codes broken"
        return None
    if pillow.startswith("refused"):
        metadata = ("checksum", "tEXt", "zTXt", "iTXt", "iCCP", "gAMA", "cHRM", "pHYs", "sRGB", "TIFF", "unpack", "APNG", "Truncated")
        if any(word in pillow for word in metadata):
            return "decoded here: damage of metadata"
        if data.startswith(b"RIFF"):
            return "decoded here: chunks of a WebP that contradict each other"
    return None


def main():
    warnings.simplefilter("ignore")
    ours = Ours(sys.argv[1])
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    rng = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    named = {file.name: file.read_bytes() for file in sorted((HERE / "files").iterdir())}
    counts, found = {}, 0
    for _ in range(rounds):
        for name, data in named.items():
            picture = broken(rng, name, data)
            answers = ours.ask(picture), theirs(picture)
            kind = verdict(picture, *answers)
            counts[kind or "other"] = counts.get(kind or "other", 0) + 1
            if kind is None:
                OUT.mkdir(parents=True, exist_ok=True)
                (OUT / f"{found}_{name}").write_bytes(picture)
                print(f"{found}_{name}\n  here   {answers[0]}\n  Pillow {answers[1]}", flush=True)
                found += 1
    for kind, count in sorted(counts.items()):
        print(f"{count:8} {kind}")
    sys.exit(found > 0)


if __name__ == "__main__":
    main()
