#!/usr/bin/env python3
"""Fills the hexadecimal lines of rpc/spec.md from the lines above them, with the Python package msgpack.

In a ```wire block a line that begins with > or < is a message; the indented lines after it are its bytes, and
are written anew here. Run by ci/golden; needs msgpack 1.x.
"""
import ast
import pathlib
import re

import msgpack

WIDTH = 38  # bytes a line


def value_of(text):
    words = {"nil": "None", "true": "True", "false": "False"}
    parts = re.split(r'(b?"(?:[^"\\]|\\.)*")', text)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"\b(nil|true|false)\b", lambda m: words[m.group(1)], parts[i])
    return ast.literal_eval("".join(parts))


def hex_lines(data):
    for at in range(0, len(data), WIDTH):
        yield "    " + data[at:at + WIDTH].hex(" ")


def main():
    path = pathlib.Path(__file__).resolve().parents[3] / "rpc" / "spec.md"
    out, inside = [], False
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line.startswith("```"):
            inside = line.startswith("```wire")
        if inside and line.startswith("    "):
            continue
        out.append(line)
        if inside and line[:2] in ("> ", "< "):
            out.extend(hex_lines(msgpack.packb(value_of(line[2:]))))
    path.write_text("\n".join(out), encoding="utf-8")


if __name__ == "__main__":
    main()
