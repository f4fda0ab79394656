#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same input has the same answer, the same error and the same exit status with and without --server.

    tests/live/test_same.py PROGRAM        needs python3-msgpack
"""
import json
import os
import re
import shutil
import struct
import subprocess
import zlib

import live
from live import LiveTest, MODEL, PICTURES
from rpc import Server

FISH = (PICTURES / "01-fish.jpg").read_bytes()
PNG = (PICTURES / "10-monkey.png").read_bytes()


def png(width, height):
    """A PNG that says so of its size and ends there."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


# Files by name, in the folder where the commands run.
FILES = {
    "a.jpg": FISH,
    "b.png": PNG,
    "empty.jpg": b"",
    "text.jpg": b"this is no picture",
    "cut.jpg": FISH[:len(FISH) // 2],
    "cut.png": PNG[:len(PNG) // 2],
    "head.jpg": FISH[:4],
    "gif.jpg": b"GIF89a\x01\x00\x01\x00\x00\x00\x00;",
    "webp.webp": b"RIFF\x1a\x00\x00\x00WEBPVP8 damaged!!",
    "zero.png": png(0, 10),
    "wide.png": png(60000, 2),
    "huge.png": png(20000, 20000),
    "side.png": png(70000, 1),
    "name with space.jpg": FISH,
    os.fsdecode(b"caf\xe9.jpg"): FISH,
}

# One row: arguments, and bytes for standard input where they are read.
ASK = [
    (["Hello"],),
    (["What is it?", "-i", "a.jpg"],),
    (["What is it?", "-i", "a.jpg", "-i", "b.png"],),
    (["-", "-i", "a.jpg"], b"What is it?\n"),
    (["-"], b"What is in\0 the picture?"),
    (["-"], b"\0"),
    (["-"], b""),
    (["-"], b" \n\t"),
    (["-"], "What is it?".encode("utf-16")),
    (["-"], "What is it?".encode("utf-16-le")),
    (["-"], b"\xef\xbb\xbfWhat is it?"),
    (["-"], b"caf\xe9"),
    (["-"], b"x" * ((4 << 20) + 1)),
    ([b"caf\xe9"],),
    ([b"\xed\xa0\x80"],),
    ([""],),
    (["  "],),
    ([],),
    (["one", "two"],),
    (["<|image|> <bos> <end_of_turn> <|turn>"],),
    (["hi", "--system", "Be brief."],),
    (["hi", "--system", ""],),
    (["hi", "--system", b"\xff"],),
    (["hi", "--stop", "a"],),
    (["hi", "--stop", "no such text", "--stop", "on"],),
    (["hi", "--stop", ""],),
    (["hi", "--stop", b"\xff"],),
    (["hi", "--stop", "x" * 1024],),
    (["hi", "--stop", "x" * 1025],),
    (["hi", *(["--stop", "zz"] * 64)],),
    (["hi", *(["--stop", "zz"] * 65)],),
    (["hi", "-n", "1"],),
    (["hi", "-n", "0"],),
    (["hi", "-n", "1048577"],),
    (["hi", "-t", "0.7", "--seed", "3"],),
    (["hi", "-t", "100", "--seed", "9223372036854775807", "-n", "20"],),
    (["hi", "-t", "1", "--top-k", "1"],),
    (["hi", "-t", "1", "--top-k", "1048576", "--seed", "5"],),
    (["hi", "-t", "1", "--top-p", "0"],),
    (["hi", "-t", "1.3", "--top-p", "0.3", "--min-p", "0.01", "--seed", "6"],),
    (["hi", "-t", "1", "--min-p", "1"],),
    (["hi", "--repetition-penalty", "0.01", "-n", "8"],),
    (["hi", "--repetition-penalty", "100"],),
    (["hi", "-t", "-1"],),
    (["hi", "-t", "nan"],),
    (["hi", "--min-p", "2"],),
    (["hi", "--seed", "9223372036854775808"],),
    (["hi", "--logprobs", "21"],),
    (["hi", "--json"],),
    (["hi", "--json", "--logprobs", "20", "-t", "0.5", "--seed", "1"],),
    (["hi", "--json", "--thinking"],),
    (["hi", "--thinking"],),
    (["hi", "--budget", "100", "-i", "a.jpg"],),
    (["hi", "--budget", "70", "-i", "a.jpg", "--json"],),
    (["hi", "--budget", "1120", "-i", "a.jpg", "--json"],),
    (["hi", "--no-such"],),
    (["hi", "-i", ""],),
    (["hi", "-i", "."],),
    (["hi", "-i", "/dev/null"],),
    (["hi", "-i", "a.jpg/x"],),
    (["hi", "-i", "none.jpg"],),
    (["hi", "-i", "none\x1b[2J.jpg"],),
    (["hi", "-i", "n" * 300],),
    (["hi", "-i", "d/" * 2100],),
    *((["hi", "-i", name],) for name in FILES),
    *((["hi", "-i", "a.jpg", "-i", name],) for name in ("none.jpg", "empty.jpg", "cut.jpg", "wide.png", "text.jpg")),
]

CAPTION = [
    (["."],),
    ([".", "-o", "-"],),
    ([".", "-o", "-", "--logprobs", "3"],),
    ([".", "-p", ""],),
    ([".", "-p", b"\xff"],),
    ([".", "--system", "Be brief.", "-p", "What?"],),
    ([".", "-q"],),
    ([".", "-n", "2"],),
    ([".", "--stop", " on "],),
    ([".", "-t", "2", "--seed", "4", "-n", "9"],),
    ([".", "--budget", "70"],),
    ([".", "--budget", "1120"],),
    (["none"],),
    (["none*"],),
    (["*.jpg"],),
    (["**/*.png"],),
    ([],),
    ([""],),
    (["-"], b"a.jpg\nnone.jpg\n\nb.png\n"),
    (["-"], b"a.jpg\0b.png\0"),
    (["-0", "-"], b"a.jpg\0b.png"),
    (["-"], b""),
    (["a.jpg", "a.jpg", "./a.jpg"],),
    (["a.jpg", "--batch", "0"],),
    (["a.jpg", "--html", "/nonexistent/x.html"],),
    (["a.jpg", "-o", "/nonexistent/j"],),
    (["a.jpg", "-o", "a.jpg"],),
    (["a.jpg", "--existing", "skip"],),
    (["a.jpg", "b.png", "--sidecar", "--existing", "overwrite"],),
]


class Same(LiveTest):
    def setUp(self):
        super().setUp()
        self.work = self.folder / "work"
        self.work.mkdir()
        for name, content in FILES.items():
            (self.work / name).write_bytes(content)
        (self.work / "sub" / ".hidden").mkdir(parents=True)
        shutil.copy(self.work / "b.png", self.work / "sub" / "c.png")
        (self.work / "sub" / "d.gif").write_bytes(b"")
        # What the server's own settings refuse is not the same; here a step has room for the largest budget.
        self.server = Server(self.folder, "--step-tokens", 2048)
        self.addCleanup(self.server.__exit__, None, None, None)

    def run_one(self, command, arguments, given, where):
        line = [os.path.abspath(live.PROGRAM), command, *arguments, *where]
        return subprocess.run(list(map(os.fsencode, line)), input=given, capture_output=True, timeout=live.LIMIT,
                              check=False, cwd=self.work)

    def normal(self, done):
        """What is compared: status, standard output and standard error without the server's address, without times
        and rates, and in the order of names, for pictures are finished in any order."""
        out, err = done.stdout, done.stderr
        err = err.replace(f"unix:{self.server.path}: ".encode(), b"")
        err = re.sub(rb"; \d+\.\d\d s(, \d.* tokens/s out)?$", b"; TIME", err, flags=re.M)
        err = re.sub(rb"^\d+/\d+  .* left.*\n", b"", err, flags=re.M)  # how far it has come, every ten seconds
        if out.startswith(b"{"):
            out = b"".join(sorted(json.dumps({**json.loads(line), "ms": 0}, sort_keys=True).encode() + b"\n"
                                  for line in out.splitlines()))
        return done.returncode, sorted(out.splitlines()), sorted(err.splitlines())

    def compare(self, command, rows):
        for arguments, *given in rows:
            with self.subTest(ascii([argument[:60] for argument in arguments])):
                here, there = (self.normal(self.run_one(command, arguments, given[0] if given else b"", where))
                               for where in (["-m", MODEL], ["--server", f"unix:{self.server.path}"]))
                self.assertEqual(here, there)

    def test_ask(self):
        self.compare("ask", ASK)

    def test_caption(self):
        self.compare("caption", CAPTION)


if __name__ == "__main__":
    live.main()
