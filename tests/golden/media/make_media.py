#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the fixtures of tests/unit/media beside itself.

    python tests/golden/media/make_media.py

Made with Pillow 13.0.0, torch 2.15.0, torchvision 0.29.2, transformers 5.24.0, numpy 2.4 on x86-64.
Other versions may change the bytes of the picture files (encoders), never the meaning.

  files/*            small pictures, one per form of the three formats
  expected.json      decode:  size, orientation and fingerprint of each file as transformers'
                              load_image gives it (Pillow, exif_transpose, convert("RGB")) and its
                              processor converts it (one transparent colour on white), and what they make
                              of the file when it is cut; or that it is refused
                     load:    patches of some files as Gemma4UnifiedImageProcessor gives them
                     exif:    blocks of EXIF and the orientation that Pillow reads in them
                     resize:  patches of drawn pictures (draw() here, and again in C) as torchvision
                              resizes them, and how many bytes of Pillow's resize differ
                     versions
  geometry.bin       uint16 little-endian rows of 12: width, height, then target width and height
                     for the budgets 70, 140, 280, 560, 1120, as the processor computes them
  resize_pillow.bin  per resize case 1024 bytes sampled from Pillow's result, in patch order

A fingerprint is the polynomial hash over bytes b: h = h * PRIME + b + 1 mod 2^64, from h = 0.
"""

import io
import json
import pathlib
import struct
import sys
import warnings
import zlib

import numpy
import PIL
import torch
import torchvision
import transformers
from PIL import Image, PngImagePlugin
from torchvision.transforms.v2 import functional as vision
from transformers.image_transforms import convert_to_rgb
from transformers.image_utils import load_image
from transformers.models.gemma4_unified.image_processing_gemma4_unified import (
    Gemma4UnifiedImageProcessor,
    get_aspect_ratio_preserving_size,
)

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))
from structures import one_colour, structures

BUDGETS = (70, 140, 280, 560, 1120)
PRIME = 1099511628211
SAMPLES, SAMPLE_STEP = 1024, 7919


def fingerprint(array):
    data = numpy.ascontiguousarray(array, dtype=numpy.uint8).reshape(-1).astype(numpy.uint64)
    powers = numpy.full(data.size, PRIME, dtype=numpy.uint64)
    powers[0] = 1
    powers = numpy.multiply.accumulate(powers)[::-1]
    with numpy.errstate(over="ignore"):
        return f"{int(((data + 1) * powers).sum(dtype=numpy.uint64)):016x}"


def draw(width, height):
    """Noise and hard edges in 16-pixel squares: what a resize finds hardest. The same in C."""
    y, x, c = numpy.meshgrid(
        numpy.arange(height, dtype=numpy.uint32),
        numpy.arange(width, dtype=numpy.uint32),
        numpy.arange(3, dtype=numpy.uint32),
        indexing="ij",
    )
    mixed = (x * 73856093) ^ (y * 19349663) ^ (c * 83492791)
    noise = (mixed * numpy.uint32(2654435761)) >> 24
    edges = ((x + 2 * y + c) >> 2 & 1) * 255
    return numpy.where((x >> 4) + (y >> 4) & 1, noise, edges).astype(numpy.uint8)


def picture(width, height, mode="RGB"):
    image = Image.fromarray(draw(width, height))
    if mode in ("RGBA", "LA"):
        alpha = Image.fromarray(draw(width, height)[:, :, 1].copy())
        return Image.merge(mode, (*image.convert(mode[:-1]).split(), alpha))
    return image.convert(mode)


def soft(width, height, mode="RGB"):
    """Smooth, as a photograph is: encodes small."""
    y, x = numpy.mgrid[0:height, 0:width]
    planes = [127 + 120 * numpy.sin(x / (7 + i) + i) * numpy.cos(y / (9 - i)) for i in range(3)]
    return Image.fromarray(numpy.stack(planes, -1).astype(numpy.uint8)).convert(mode)


def encode(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def exif(orientation, big_endian=False):
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags.endian = ">" if big_endian else "<"
    return tags.tobytes()


def png_chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_row(values, depth):
    """Packs the samples of one row, most significant bits first."""
    if depth == 16:
        return values.astype(">u2").tobytes()
    bits = (values.reshape(-1, 1) >> numpy.arange(depth - 1, -1, -1)) & 1
    return numpy.packbits(bits.astype(numpy.uint8).reshape(-1)).tobytes()


def png(kind, depth, interlaced=False, transparency=None, palette_entries=None, size=(37, 29)):
    """Every colour type and depth, which Pillow does not write."""
    width, height = size
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    entries = palette_entries or (1 << depth if depth < 16 else 0)
    generator = numpy.random.default_rng(kind * 100 + depth)
    high = entries if kind == 3 else 1 << depth
    values = generator.integers(0, high, (height, width, channels))
    adam7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = b""
    for x0, y0, dx, dy in adam7 if interlaced else ((0, 0, 1, 1),):
        for y in range(y0, height, dy):
            samples = values[y, x0::dx].reshape(-1)
            rows += b"\0" + png_row(samples, depth) if samples.size else b""
    out = b"\x89PNG\r\n\x1a\n"
    out += png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced))
    if kind == 3:
        out += png_chunk(b"PLTE", generator.integers(0, 256, 3 * entries).astype(numpy.uint8).tobytes())
    if transparency is not None:
        out += png_chunk(b"tRNS", transparency)
    return out + png_chunk(b"IDAT", zlib.compress(rows, 9)) + png_chunk(b"IEND", b"")


def files():
    """name -> bytes of every fixture picture."""
    size = (61, 47)
    out = {}
    for chroma, name in ((0, "444"), (1, "422"), (2, "420")):
        out[f"jpeg_{name}.jpg"] = encode(soft(*size), "JPEG", quality=88, subsampling=chroma)
    out["jpeg_progressive.jpg"] = encode(soft(*size), "JPEG", quality=88, progressive=True)
    out["jpeg_restarts.jpg"] = encode(soft(*size), "JPEG", quality=88, restart_marker_rows=1)
    out["jpeg_gray.jpg"] = encode(soft(*size, "L"), "JPEG", quality=88)
    out["jpeg_gray_progressive.jpg"] = encode(soft(*size, "L"), "JPEG", quality=88, progressive=True)
    out["jpeg_rgb.jpg"] = encode(soft(*size), "JPEG", quality=88, keep_rgb=True)
    cmyk = Image.fromarray(numpy.concatenate([numpy.asarray(soft(*size)), numpy.asarray(soft(*size, "L"))[..., None]], -1), "CMYK")
    out["jpeg_cmyk.jpg"] = encode(cmyk, "JPEG", quality=88)
    # The Adobe marker's last byte says how the four channels were mixed: 2 is YCCK.
    adobe = out["jpeg_cmyk.jpg"].index(b"Adobe") + 11
    assert out["jpeg_cmyk.jpg"][adobe] == 0
    out["jpeg_ycck.jpg"] = out["jpeg_cmyk.jpg"][:adobe] + b"\x02" + out["jpeg_cmyk.jpg"][adobe + 1 :]
    for side in ((1, 1), (1, 40), (40, 1)):
        name = f"{side[0]}x{side[1]}"
        out[f"jpeg_{name}.jpg"] = encode(soft(*side), "JPEG", quality=88)
        out[f"png_{name}.png"] = encode(soft(*side), "PNG")
        out[f"webp_{name}.webp"] = encode(soft(*side), "WEBP", lossless=True)
    for kind, depths in ((0, (1, 2, 4, 8, 16)), (2, (8, 16)), (3, (1, 2, 4, 8)), (4, (8, 16)), (6, (8, 16))):
        for depth in depths:
            name = {0: "gray", 2: "rgb", 3: "palette", 4: "gray_alpha", 6: "rgba"}[kind]
            out[f"png_{name}_{depth}.png"] = png(kind, depth)
            out[f"png_{name}_{depth}_interlaced.png"] = png(kind, depth, interlaced=True)
    out["png_gray_8_trns.png"] = png(0, 8, transparency=b"\0\7")
    out["png_gray_16_trns.png"] = png(0, 16, transparency=b"\0\7")
    out["png_rgb_8_trns.png"] = png(2, 8, transparency=b"\0\1\0\2\0\3")
    out["png_palette_8_trns.png"] = png(3, 8, transparency=bytes(range(256)))
    out["png_palette_4_trns_short.png"] = png(3, 4, transparency=b"\x80\0")
    out["png_palette_8_short.png"] = png(3, 8, palette_entries=10)
    out["png_animated.png"] = encode(soft(20, 20), "PNG", save_all=True, append_images=[picture(20, 20)])
    for name, mode in (("rgb", "RGB"), ("rgba", "RGBA")):
        out[f"webp_lossy_{name}.webp"] = encode(picture(*size, mode), "WEBP", quality=60)
        out[f"webp_lossless_{name}.webp"] = encode(picture(*size, mode), "WEBP", lossless=True)
    frames = [picture(*size, "RGBA"), soft(*size)]
    out["webp_animated_lossless.webp"] = encode(frames[0], "WEBP", save_all=True, append_images=frames, lossless=True)
    out["webp_animated_lossy.webp"] = encode(frames[1], "WEBP", save_all=True, append_images=frames, quality=60)
    island = Image.new("RGBA", (64, 48), (0, 0, 0, 0))
    island.paste(soft(20, 16), (10, 12))
    out["webp_animated_island.webp"] = encode(island, "WEBP", save_all=True, append_images=[picture(64, 48, "RGBA")], lossless=True)
    for orientation in range(10):
        tag = exif(orientation, big_endian=orientation % 2 == 1)
        out[f"exif_{orientation}.jpg"] = encode(soft(31, 17), "JPEG", quality=80, exif=tag)
        if orientation in (3, 6):
            out[f"exif_{orientation}.png"] = encode(soft(31, 17), "PNG", exif=tag)
            out[f"exif_{orientation}.webp"] = encode(soft(31, 17), "WEBP", quality=80, exif=tag)
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    out["xmp_6.jpg"] = encode(soft(31, 17), "JPEG", quality=80, xmp=xmp)
    out["xmp_6.webp"] = encode(soft(31, 17), "WEBP", quality=80, xmp=xmp)
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", "<tiff:Orientation>8</tiff:Orientation>")
    out["xmp_8.png"] = encode(soft(31, 17), "PNG", pnginfo=info)
    out["exif_before_xmp.jpg"] = encode(soft(31, 17), "JPEG", quality=80, xmp=xmp, exif=exif(3))
    out["photo_420.jpg"] = encode(soft(400, 300), "JPEG", quality=75)
    out["photo_turned.jpg"] = encode(soft(400, 300), "JPEG", quality=75, exif=exif(6), progressive=True)
    return {**out, **structures(out), **one_colour(png)}


def stored_orientation(data):
    value = Image.open(io.BytesIO(data)).getexif().get(0x0112, 1)
    return value if 1 <= value <= 8 else 1


def decoded(data):
    """What the processor resizes: transparency that load_image leaves beside the pixels is put on white."""
    return convert_to_rgb(load_image(Image.open(io.BytesIO(data))), return_numpy=True)


def refused(data):
    try:
        decoded(data)
    except Exception:  # whatever a broken file makes of the reader
        return True
    return False


def cut_lengths(length):
    """32 places and the last bytes; the same in C."""
    return [length * part // 32 for part in range(32)] + [length - missing for missing in range(1, min(length, 40))]


def cuts(data, pixels):
    """What becomes of the file when it is cut there: r is refused, w is whole, o has other pixels."""
    out = ""
    for length in cut_lengths(len(data)):
        cut = data[:length]
        out += "r" if refused(cut) else "w" if numpy.array_equal(decoded(cut), pixels) else "o"
    return out


def decode_rows(named):
    rows = []
    for name, data in named.items():
        if refused(data):
            rows.append({"file": name, "refused": True})
            continue
        pixels = decoded(data)
        rows.append(
            {
                "file": name,
                "width": pixels.shape[1],
                "height": pixels.shape[0],
                "orientation": stored_orientation(data),
                "fingerprint": fingerprint(pixels),
                "cuts": cuts(data, pixels),
            }
        )
    return rows


def exif_blocks():
    """The orientation in every type and count, with numbers before it that lie elsewhere or nowhere."""
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 14: 4, 16: 8, 0: 4, 200: 4}
    forms = {3: "H", 4: "L", 5: "LL", 6: "b", 8: "h", 9: "l", 10: "ll", 11: "f", 12: "d", 13: "L", 16: "Q"}
    for order in "<>":
        head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "L", 8)
        for kind in sizes:
            for count in (0, 1, 2, 3):
                for value in ((6, 0, 9) if count == 1 else (6,)):
                    form = forms.get(kind, "B")
                    one = struct.pack(order + form, value, *[1] * (len(form) - 1))
                    data = one * count if count else one
                    inline = len(data) <= 4
                    field = data.ljust(4, b"\0")[:4] if inline else struct.pack(order + "L", 26)
                    entry = struct.pack(order + "HHL", 0x0112, kind, count) + field
                    yield head + struct.pack(order + "H", 1) + entry + bytes(4) + (b"" if inline else data)
        turn = struct.pack(order + "HHLHH", 0x0112, 3, 1, 6, 0)
        for length, offset in ((10, 38), (10, 1000), (100, 38), (3, 0)):
            make = struct.pack(order + "HHLL", 0x010F, 2, length, offset)
            yield head + struct.pack(order + "H", 2) + make + turn + bytes(4) + b"camera 123"
        other = struct.pack(order + "HHLHH", 0x0112, 3, 1, 3, 0)
        broken = struct.pack(order + "HHLHH", 0x0112, 14, 1, 3, 0)
        for entries in ((turn, other), (broken, turn), (turn[:9],), (other, turn[:5])):
            yield head + struct.pack(order + "H", len(entries)) + b"".join(entries)
        yield b"Exif\0\0Exif\0\0" + head + struct.pack(order + "H", 1) + turn + bytes(4)
    yield b"MM*\0\0\0\0\x08" + struct.pack(">HHHLHH", 1, 0x0112, 3, 1, 6, 0) + bytes(4)
    yield b"II\0*\x08\0\0\0" + struct.pack("<HHHLHH", 1, 0x0112, 3, 1, 6, 0) + bytes(4)


def exif_rows():
    """What is read as the orientation: 0 is none, 9 one that turns nothing (and hides XMP)."""
    rows = []
    for data in exif_blocks():
        tags = Image.Exif()
        tags.load(data)
        value = tags.get(0x0112, 0)
        turns = next((turn for turn in range(1, 9) if turn == value), 9)
        rows.append({"exif": data.hex(), "orientation": turns if 0x0112 in tags else 0})
    return rows


def load_rows(named):
    """The processor's floats are the bytes times 1/255 and come back by rounding."""
    processor = Gemma4UnifiedImageProcessor()
    rows = []
    names = ("photo_420.jpg", "photo_turned.jpg", "png_1x40.png", "jpeg_40x1.jpg", "webp_lossy_rgba.webp", "png_palette_8_trns.png", "trns_rgb_8_bytes.png")
    for name in names:
        image = load_image(Image.open(io.BytesIO(named[name])))
        for budget in BUDGETS if name == "photo_420.jpg" else (70, 280):
            out = processor(images=[image], max_soft_tokens=budget, return_tensors="pt")
            count = int(out["num_soft_tokens_per_image"][0])
            patches = torch.round(out["pixel_values"][0, :count] * 255).to(torch.uint8).numpy()
            positions = out["image_position_ids"][0, :count].numpy()
            columns, lines = (int(v) + 1 for v in positions.max(0))
            # Row by row, so that the C test can check positions by counting.
            assert (positions == [[i % columns, i // columns] for i in range(count)]).all()
            rows.append({"file": name, "budget": budget, "columns": columns, "rows": lines, "fingerprint": fingerprint(patches)})
    return rows


def patch_order(image):
    height, width, _ = image.shape
    return numpy.ascontiguousarray(image.reshape(height // 48, 48, width // 48, 48, 3).transpose(0, 2, 1, 3, 4)).reshape(-1)


def resize_rows():
    sizes = [(1, 1), (2, 3), (47, 48), (48, 48), (49, 97), (100, 75), (336, 432), (640, 480), (333, 777)]
    sizes += [(912, 672), (913, 673), (1000, 20), (7, 900), (1, 3000), (3000, 1), (1600, 1200), (2111, 1003), (3000, 2000)]
    rows, samples = [], b""
    for i, (width, height) in enumerate(sizes):
        for budget in BUDGETS if i % 3 == 0 else (70, 280):
            target_height, target_width = get_aspect_ratio_preserving_size(height, width, 16, budget * 9, 3)
            source = draw(width, height)
            tensor = torch.from_numpy(source).permute(2, 0, 1).contiguous()
            if (target_height, target_width) != (height, width):
                tensor = vision.resize(tensor, [target_height, target_width], interpolation=vision.InterpolationMode.BICUBIC, antialias=True)
            result = patch_order(tensor.permute(1, 2, 0).numpy())
            # Horizontal pass first, as torch does: Pillow 13 turns the order round for some tall
            # pictures, and rounding between the passes then gives another result.
            pillow = Image.fromarray(source).resize((target_width, height), Image.Resampling.BICUBIC)
            pillow = pillow.resize((target_width, target_height), Image.Resampling.BICUBIC)
            pillow = patch_order(numpy.asarray(pillow))
            apart = numpy.abs(result.astype(int) - pillow)
            # The two references themselves differ by 2 in a few bytes of such pictures.
            assert apart.max() <= 2 and (apart == 2).mean() < 2e-5, (width, height, budget)
            rows.append(
                {
                    "width": width,
                    "height": height,
                    "budget": budget,
                    "pillow_bytes_1_apart": int((apart == 1).sum()),
                    "pillow_bytes_2_apart": int((apart == 2).sum()),
                    "fingerprint": fingerprint(result),
                }
            )
            samples += pillow[numpy.arange(SAMPLES) * SAMPLE_STEP % pillow.size].tobytes()
    return rows, samples


def geometry():
    generator = numpy.random.default_rng(5)
    sizes = numpy.exp(generator.uniform(0, numpy.log(65535), (3000, 2))).astype(int)
    common = [(512, 512), (1920, 1080), (640, 480), (4000, 3000), (1, 1), (65535, 65535), (1, 65535), (65535, 1), (48, 48), (912, 672)]
    rows = []
    for width, height in [*common, *sizes.tolist()]:
        row = [width, height]
        for budget in BUDGETS:
            target_height, target_width = get_aspect_ratio_preserving_size(height, width, 16, budget * 9, 3)
            row += [target_width, target_height]
        rows.append(row)
    return numpy.array(rows, dtype="<u2").tobytes()


def main():
    warnings.simplefilter("ignore")  # of broken EXIF
    (HERE / "files").mkdir(exist_ok=True)
    named = files()
    for old in (HERE / "files").iterdir():
        if old.name not in named:
            old.unlink()
    for name, data in named.items():
        (HERE / "files" / name).write_bytes(data)
    resize, samples = resize_rows()
    (HERE / "resize_pillow.bin").write_bytes(samples)
    (HERE / "geometry.bin").write_bytes(geometry())
    expected = {
        "versions": {m.__name__: m.__version__ for m in (PIL, torch, torchvision, transformers, numpy)},
        "decode": decode_rows(named),
        "load": load_rows(named),
        "exif": exif_rows(),
        "resize": resize,
    }
    lines = [f' "versions": {json.dumps(expected["versions"])}']
    for key in ("decode", "load", "exif", "resize"):
        lines.append(f' "{key}": [\n  ' + ",\n  ".join(json.dumps(row) for row in expected[key]) + "\n ]")
    (HERE / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
