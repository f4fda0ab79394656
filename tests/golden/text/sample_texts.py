# SPDX-License-Identifier: Apache-2.0
"""Texts for the tokenizer's fixtures: ten thousand short ones from a seed, in more than 20 scripts.

Words come from the Unicode CLDR annotations (Debian package unicode-cldr-core), the rest is drawn
here. sample(seed, specials, pieces) yields (kind, bytes); only the kind "invalid" is not UTF-8.
"""
import pathlib
import random
import re

CLDR = pathlib.Path("/usr/share/unicode/cldr/common/annotations")

SCRIPTS = {
    "latin": (0x41, 0x24F), "greek": (0x370, 0x3FF), "cyrillic": (0x400, 0x4FF), "armenian": (0x531, 0x58F),
    "hebrew": (0x5D0, 0x5EA), "arabic": (0x621, 0x6D3), "syriac": (0x710, 0x74A), "devanagari": (0x904, 0x96F),
    "bengali": (0x985, 0x9EF), "gurmukhi": (0xA05, 0xA6F), "gujarati": (0xA85, 0xAEF), "tamil": (0xB85, 0xBEF),
    "telugu": (0xC05, 0xC6F), "kannada": (0xC85, 0xCEF), "malayalam": (0xD05, 0xD6F), "sinhala": (0xD85, 0xDDF),
    "thai": (0xE01, 0xE5B), "lao": (0xE81, 0xEDF), "tibetan": (0xF40, 0xFBC), "myanmar": (0x1000, 0x109F),
    "georgian": (0x10D0, 0x10FF), "jamo": (0x1100, 0x11FF), "ethiopic": (0x1200, 0x137F),
    "cherokee": (0x13A0, 0x13F4), "khmer": (0x1780, 0x17E9), "mongolian": (0x1820, 0x18AA),
    "kana": (0x3041, 0x30FE), "han": (0x4E00, 0x9FFF), "yi": (0xA000, 0xA48C), "hangul": (0xAC00, 0xD7A3),
    "gothic": (0x10330, 0x1034A), "cuneiform": (0x12000, 0x12399), "math": (0x1D400, 0x1D7FF),
}
LANGUAGES = """af am ar az be bg bn ca cs cy da de el en es et eu fa fi fr gu he hi hr hu hy id is it ja ka kk km
kn ko ky lo lt lv mk ml mn mr ms my ne nl no pa pl pt ro ru si sk sl sq sr sv sw ta te th tr uk ur uz vi yue zh
zu""".split()
CODE = """def|return|if|else:|for i in range(10):|int main(void) {|}|{|(x)|[0]|==|!=|->|=>|::|//|/*|*/|#include|<stdio.h>
|"text"|'c'|0x1F|3.14159|1e-9|self.value|foo_bar|fooBar|FOO|&&|\\|\\||;|,|.|\\n|\\t|%s|${x}|`a`|@decorator|<div class="a">
|</div>|&amp;|SELECT * FROM t|https://example.org/a?b=c&d=%20|--flag=1|C:\\dir|~/.config|2026-11-24T20:15:03Z
|{"a": [1, 2, null]}|\\u00e9|<h1>|</h1>|<table>|lambda x: x|#!/bin/sh|$(ls -l)|...|---|===|***|<!--|-->""".replace("\n", "").split("|")
EMOJI = ["😀", "🦊", "👩‍👩‍👧‍👦", "👨🏽‍🚀", "🏳️‍🌈", "🇳🇱", "🇧", "1️⃣", "❤️", "❤", "🧑‍💻", "👍🏿", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "☺︎", "🫠", "‍", "️", "🏽"]
CONTROLS = [*map(chr, range(32)), *map(chr, range(0x7F, 0xA1)), "\ufeff", "\u200b", "\u200e", "\u202e", "\u2028",
            "\u2029", "\u2060", "\u3000", "\u00ad", "\ue000", "\uf8ff", "\ufffe", "\uffff", "\ufffd", "\U0010ffff",
            "\U000e0041", "\u0301", "\u0345", "\u1680", "\u205f"]
MARK = "\u2581"


def words_by_language():
    words = {}
    for language in LANGUAGES:
        text = (CLDR / f"{language}.xml").read_text(encoding="utf-8")
        names = re.findall(r">([^<>]+)</annotation>", text)
        found = sorted({w.strip() for name in names for w in name.split("|")})
        if len(found) > 50:
            words[language] = found
    return words


def some(rng, low, high, draw, joins=("",)):
    return "".join(draw() + rng.choice(joins) for _ in range(rng.randint(low, high)))


def code_line(rng):
    indent = rng.choice(["", "", "    ", "        ", "\t", "\t\t", "  "])
    return indent + " ".join(rng.choice(CODE) for _ in range(rng.randint(1, 5))) + rng.choice(["\n", "\n", "\r\n", ""])


def script_text(rng):
    low, high = rng.choice(list(SCRIPTS.values()))
    return some(rng, 1, 16, lambda: chr(rng.randint(low, high)), ("", "", "", "", " "))


def special_text(rng, specials, words):
    def draw():
        which = rng.random()
        special = rng.choice(specials)
        if which < 0.45:
            return special
        if which < 0.60:  # cut short at either end
            return special[rng.randint(0, 2):len(special) - rng.randint(0, 2)]
        if which < 0.7:
            return rng.choice(["<", ">", "|", "<|", "|>", "<<", "\n", " ", "  ", MARK])
        return rng.choice(words)
    return some(rng, 1, 7, draw, ("", "", " "))


def invalid_text(rng, words):
    def draw():
        which = rng.random()
        if which < 0.4:
            return rng.choice(words).encode()
        if which < 0.6:
            return bytes([rng.choice([0x80, 0xBF, 0xC0, 0xC1, 0xE2, 0xED, 0xF0, 0xF5, 0xFE, 0xFF])])
        if which < 0.8:  # a code point cut short
            whole = chr(rng.choice([0xE9, 0x2581, 0x4E2D, 0x1F98A])).encode()
            return whole[:rng.randint(1, len(whole))]
        return rng.choice([b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80",
                           bytes(rng.randrange(256) for _ in range(3)), b" ", b"\n"])
    return b"".join(draw() for _ in range(rng.randint(1, 7)))


def sample(seed, specials, pieces, scale=1):
    rng = random.Random(seed)
    words = words_by_language()
    languages = sorted(words)
    english = [w for w in words["en"] if len(w) < 16]
    pieces = [p for p in pieces if not p.startswith("<0x")]

    def language_text(low=1, high=5):
        own = words[rng.choice(languages)]
        return some(rng, low, high, lambda: rng.choice(own), (" ", " ", " ", ", ", ". ", "", "\n", "-", "  "))

    def run():
        return rng.choice(["\n", " ", "\t", MARK, "\r\n", "a", "=", "-", "\u3000"]) * rng.choice([1, 2, 3, 4, 5, 8, 17, 33, 64])

    kinds = {
        "words": (3500, language_text),
        "scripts": (1500, lambda: script_text(rng)),
        "code": (1200, lambda: some(rng, 1, 3, lambda: code_line(rng))),
        "emoji": (600, lambda: some(rng, 1, 6, lambda: rng.choice(EMOJI), ("", "", " ", "a"))),
        "controls": (500, lambda: some(rng, 1, 8, lambda: rng.choice(CONTROLS), ("", "", "a", " "))),
        "runs": (500, lambda: some(rng, 1, 4, run, ("", "", "x", "the "))),
        "specials": (900, lambda: special_text(rng, specials, english)),
        "pieces": (500, lambda: some(rng, 1, 10, lambda: rng.choice(pieces))),
        "long": (300, lambda: language_text(10, 30)),
        "invalid": (500, lambda: invalid_text(rng, english)),
    }
    for kind, (count, draw) in kinds.items():
        for _ in range(count * scale):
            text = draw()
            yield kind, text if isinstance(text, bytes) else text.encode()
