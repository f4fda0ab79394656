# SPDX-License-Identifier: Apache-2.0
"""Pictures that are put together otherwise than an encoder does: ends that are missing or followed by something, chunks
and segments cut, doubled, misplaced or with wrong sums. For make_media.py and compare_pillow.py."""
import struct
import zlib

import numpy

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TURN = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
LATE = b"VP8X\x0a\0\0\0\x08\0\0\0\x3c\0\0\x2e\0\0"  # with the flag of EXIF, 61 x 47
PHONE = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(range(32, 96)) + b"SEFH\x6b\0\0\0SEFT"


def chunk(name, data, wrong_sum=False):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data) ^ wrong_sum)


def chunks_of(data):
    """[(name, data)] of a PNG."""
    at, out = len(SIGNATURE), []
    while at < len(data):
        length = struct.unpack(">I", data[at:at + 4])[0]
        out.append((data[at + 4:at + 8], data[at + 8:at + 8 + length]))
        at += length + 12
    return out


def png_of(chunks):
    return SIGNATURE + b"".join(chunk(*c) for c in chunks)


def segments_of(data):
    """(segments before the scan with their markers, the scan to the end)."""
    at, out = 2, []
    while data[at + 1] != 0xDA:
        length = 2 + struct.unpack(">H", data[at + 2:at + 4])[0]
        out.append(data[at:at + length])
        at += length
    return out, data[at:]


def jpegs(named):
    out = {}
    for kind in ("420", "progressive", "gray", "restarts"):
        data = named[f"jpeg_{kind}.jpg"]
        bare = data[:-2]
        assert data.endswith(b"\xff\xd9")
        out[f"end_{kind}_none.jpg"] = bare
        out[f"end_{kind}_half.jpg"] = data[:-1]
        out[f"end_{kind}_zeros.jpg"] = bare + bytes(40)
        out[f"end_{kind}_phone.jpg"] = bare + PHONE
        out[f"end_{kind}_then_phone.jpg"] = data + PHONE
        out[f"end_{kind}_segment.jpg"] = bare + b"\xff\xe1\0\x08abcdef"
        out[f"end_{kind}_cut_segment.jpg"] = bare + b"\xff\xe1\0\x40abcdef"
        out[f"end_{kind}_unknown.jpg"] = bare + b"\xff\x02\0\x08abcdef"
        out[f"end_{kind}_cut.jpg"] = data[:-20]
        for seed in range(3):
            noise = numpy.random.default_rng(seed).integers(0, 256, 300).astype(numpy.uint8).tobytes()
            out[f"end_{kind}_noise_{seed}.jpg"] = bare + noise
    head, scan = segments_of(named["jpeg_420.jpg"])
    frame = next(s for s in head if s[1] == 0xC0)
    out["segment_junk_between.jpg"] = b"\xff\xd8" + head[0] + b"\0\1\2" + b"".join(head[1:]) + scan
    out["segment_two_frames.jpg"] = b"\xff\xd8" + b"".join(head) + frame + scan
    out["segment_filled.jpg"] = b"\xff\xd8" + b"".join(b"\xff\xff" + s for s in head) + scan
    return out


def pngs(named):
    out = {}
    rgb = named["png_rgb_8.png"]
    (_, header), (_, pixels), _ = chunks_of(rgb)
    head, body, end = (b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")
    text = (b"tEXt", b"Comment\0hello")
    rows = zlib.decompress(pixels)
    row = len(rows) // 29
    other = struct.pack(">II", 30, 20) + header[8:]

    def put(name, *chunks):
        out[f"chunks_{name}.png"] = png_of(chunks)

    put("no_end", head, body)
    out["chunks_cut_sum.png"] = png_of((head, body))[:-2]
    out["chunks_no_sum.png"] = png_of((head, body))[:-4]
    out["chunks_cut_adler.png"] = png_of((head, body))[:-6]
    out["chunks_no_adler.png"] = png_of((head, body))[:-8]
    out["chunks_cut_pixels.png"] = png_of((head, body))[:-40]
    out["chunks_junk_for_end.png"] = png_of((head, body)) + b"\0\1\2\3junk"
    out["chunks_behind_end.png"] = rgb + PHONE
    out["chunks_cut_text_behind.png"] = png_of((head, body, text))[:-8]
    out["chunks_cut_end.png"] = rgb[:-7]
    put("wrong_sum_pixels", head, (*body, True), end)
    put("wrong_sum_header", (*head, True), body, end)
    put("wrong_sum_text", head, (*text, True), body, end)
    put("wrong_sum_text_behind", head, body, (*text, True), end)
    put("wrong_sum_end", head, body, (*end, True))
    put("unknown_critical", head, (b"ABCD", b"what"), body, end)
    put("unknown_critical_behind", head, body, (b"ABCD", b"what"), end)
    put("name_with_digits", head, (b"a1_Z", b"what"), body, end)
    put("name_invalid", head, (b"a-BC", b"what"), body, end)
    put("two_headers", head, head, body, end)
    put("two_headers_other_first", (b"IHDR", other), head, body, end)
    put("two_headers_other_last", head, (b"IHDR", other), body, end)
    put("header_behind", head, body, (b"IHDR", other), end)
    put("header_long", (b"IHDR", header + b"\0"), body, end)
    put("header_short", (b"IHDR", header[:12]), body, end)
    put("text_first", text, head, body, end)
    put("no_header", body, end)
    put("no_pixels", head, end)
    put("empty_pixels", head, (b"IDAT", b""), end)
    put("pixels_in_pieces", head, *((b"IDAT", pixels[i:i + 100]) for i in range(0, len(pixels), 100)), end)
    put("empty_pieces", head, (b"IDAT", b""), body, (b"IDAT", b""), end)
    put("text_between", head, (b"IDAT", pixels[:200]), text, (b"IDAT", pixels[200:]), end)
    put("wrong_adler", head, (b"IDAT", pixels[:-1] + bytes([pixels[-1] ^ 1])), end)
    put("more_behind_stream", head, (b"IDAT", pixels + b"more"), end)
    put("too_few_rows", head, (b"IDAT", zlib.compress(rows[:-row])), end)
    put("too_many_rows", head, (b"IDAT", zlib.compress(rows + rows)), end)
    put("half_a_row_more", head, (b"IDAT", zlib.compress(rows + rows[:9])), end)
    put("filter_unknown", head, (b"IDAT", zlib.compress(b"\x07" + rows[1:])), end)
    put("method_of_compression", (b"IHDR", header[:10] + b"\1" + header[11:]), body, end)
    put("method_of_filters", (b"IHDR", header[:11] + b"\1" + header[12:]), body, end)
    put("depth_unknown", (b"IHDR", header[:8] + b"\3" + header[9:]), body, end)
    (_, header), (_, pixels), _ = chunks_of(named["png_rgb_8_interlaced.png"])
    put("interlace_2", (b"IHDR", header[:12] + b"\2"), (b"IDAT", pixels), end)
    out["chunks_interlaced_no_end.png"] = png_of(((b"IHDR", header), (b"IDAT", pixels)))[:-9]
    (_, header), (_, palette), (_, pixels), _ = chunks_of(named["png_palette_8.png"])
    head, colours, body = (b"IHDR", header), (b"PLTE", palette), (b"IDAT", pixels)
    put("no_palette", head, body, end)
    put("no_palette_key", head, (b"tRNS", b"\0"), body, end)
    put("two_palettes", head, (b"PLTE", palette[::-1]), colours, body, end)
    put("palette_behind", head, colours, body, (b"PLTE", palette[::-1]), end)
    put("palette_long", head, (b"PLTE", palette + b"abc"), body, end)
    put("palette_byte_more", head, (b"PLTE", palette + b"a"), body, end)
    put("palette_first", colours, head, body, end)
    put("pixels_first", body, head, colours, body, end)
    put("key_first", (b"tRNS", b"\xff\0"), head, colours, body, end)
    put("palette_cut", head, (b"PLTE", palette[:100]), body, end)
    put("palette_wrong_sum", head, (*colours, True), body, end)
    put("key_wrong_sum", head, colours, (b"tRNS", b"\xff\0", True), body, end)
    put("key_before_palette", head, (b"tRNS", b"\xff\0"), colours, body, end)
    put("key_behind", head, colours, body, (b"tRNS", b"\xff\0"), end)
    put("two_keys", head, colours, (b"tRNS", b"\xff\0"), (b"tRNS", b"\0"), body, end)
    return out


def webps(named):
    out = {}
    for kind in ("lossy_rgb", "lossless_rgba", "animated_lossy"):
        data = named[f"webp_{kind}.webp"]
        size = struct.unpack("<I", data[4:8])[0]
        grown = data[:4] + struct.pack("<I", size + 10) + data[8:]
        out[f"riff_{kind}_behind.webp"] = data + PHONE
        out[f"riff_{kind}_cut.webp"] = data[:-1]
        out[f"riff_{kind}_size_long.webp"] = data[:4] + struct.pack("<I", size + 2) + data[8:]
        out[f"riff_{kind}_size_short.webp"] = data[:4] + struct.pack("<I", size - 2) + data[8:]
        out[f"riff_{kind}_unknown.webp"] = grown + b"ABCD\2\0\0\0ab"
        out[f"riff_{kind}_cut_unknown.webp"] = grown + b"ABCD\x09\0\0\0ab"
        if not data[12:].startswith(b"VP8X"):
            out[f"riff_{kind}_late_vp8x.webp"] = (grown[:4] + struct.pack("<I", size + 52) + data[8:] + LATE +
                                                     b"EXIF\x1a\0\0\0" + TURN)
        out[f"riff_{kind}_exif.webp"] = grown[:4] + struct.pack("<I", size + 34) + data[8:] + b"EXIF\x1a\0\0\0" + TURN
    return out


def structures(named):
    return {**jpegs(named), **pngs(named), **webps(named)}


def one_colour(png):
    """Every colour type and depth with every form of tRNS. `png` is make_media.png."""
    out = {}
    for depth in (1, 2, 4, 8, 16):
        most = (1 << depth) - 1
        for key in sorted({0, 1, 2, most, most // 3, 85, 255, 256, 300, 512, 65535}):
            out[f"trns_gray_{depth}_{key}.png"] = png(0, depth, transparency=struct.pack(">H", key), size=(16, 9))
    for depth in (8, 16):
        plain = png(2, depth, size=(16, 9))
        rows = zlib.decompress(chunks_of(plain)[1][1])
        first = rows[1:1 + 3 * depth // 8]
        high = first[::depth // 8]
        keys = {"bytes": (0, high[0], 0, high[1], 0, high[2]), "high": (7, high[0], 1, high[1], 255, high[2]),
                "words": first if depth == 16 else first * 2, "absent": (0, 1, 0, 2, 0, 3)}
        for name, key in keys.items():
            out[f"trns_rgb_{depth}_{name}.png"] = png(2, depth, transparency=bytes(key), size=(16, 9))
        out[f"trns_rgb_{depth}_cut.png"] = png(2, depth, transparency=b"\0\1\0\2\0", size=(16, 9))
    out["trns_gray_8_cut.png"] = png(0, 8, transparency=b"\7", size=(16, 9))
    forms = {"first": b"\0", "second": b"\xff\0\xff", "all": b"\xff\xff", "two": b"\0\0", "soft": b"\xff\0\xfe",
             "newline": b"\xff\0\n", "behind": b"\xff" * 18 + b"\0", "none": b""}
    for depth in (1, 2, 4, 8):
        for name, form in forms.items():
            out[f"trns_palette_{depth}_{name}.png"] = png(3, depth, transparency=form, size=(16, 9),
                                                          palette_entries=min(1 << depth, 17))
    for kind, name, form in ((4, "gray_alpha", b"\0\7"), (6, "rgba", b"\0\1\0\2\0\3")):
        for depth in (8, 16):
            out[f"trns_{name}_{depth}.png"] = png(kind, depth, transparency=form, size=(16, 9))
    return out
