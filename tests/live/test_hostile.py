#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whatever a name, a file or a server says, a terminal gets text and no commands, and a table keeps its lines.

    tests/live/test_hostile.py PROGRAM        needs python3-msgpack
"""
import html.parser
import json
import os
import pty
import shutil
import struct
import subprocess
import termios

import live
from impostor import Impostor
from live import LiveTest, MODEL, PICTURES, run

FISH = PICTURES / "01-fish.jpg"

# Bytes, for some are not UTF-8. No "/" and no zero byte, so that each is also the name of a file.
HOSTILE = [
    b"\x1b]52;c;aGFja2Vk\x07",                # the clipboard
    b"\x1b[2J\x1b[1;1Hgone",                  # clears the screen
    b"one\ntwo",                              # a second line
    b"a\tb",                                  # a second field
    b"back\r\x08\x08over",                    # writes over
    b"bell\x07 del\x7f form\x0c tab\x0b",
    b"\xc2\x9b31m and \xc2\x85 next",         # C1 as UTF-8
    b"\x9b31m raw c1",                        # C1 as a byte
    b"caf\xe9 \xff\xfe \xed\xa0\x80 \xc0\xaf",  # no UTF-8
    b"cut \xe2\x80",
    "\u202egpj.exe\u2066 \u202a \u2069".encode(),  # another direction
    "line\u2028par\u2029".encode(),
    b"\"quoted\" 'and' <script>alert(1)<img src=x onerror=y> &amp; &#x1b;",
    b"back\\slash \\x1b %s %n $(id) `id`",
]
TEXTS = [text.decode("utf-8") for text in HOSTILE if text.isascii() or text.decode("utf-8", "ignore").encode() == text]

# The same in fewer and longer texts, where it does not matter which of them does harm.
MIXED = [b" ".join(HOSTILE[i::3]) for i in range(3)]


def is_control(character, kept):
    code = ord(character)
    return character not in kept and (code < 0x20 or 0x7F <= code < 0xA0 or code in (0x2028, 0x2029) or
                                      0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069)


class Terminal:
    """A pseudo terminal that passes every byte on as it was written."""

    def __init__(self):
        self.ours, self.theirs = pty.openpty()
        modes = termios.tcgetattr(self.theirs)
        modes[1] &= ~termios.OPOST
        termios.tcsetattr(self.theirs, termios.TCSANOW, modes)

    def read(self):
        """All that was written, once everybody but us has closed it."""
        os.close(self.theirs)
        text = b""
        try:
            while part := os.read(self.ours, 1 << 16):
                text += part
        except OSError:  # how Linux says that the other side is closed
            pass
        os.close(self.ours)
        return text


def run_on_terminal(*arguments, **more):
    """The program with standard output and standard error on a terminal each. Both are read at the end: what is
    said here fits a terminal's buffer."""
    out, err = Terminal(), Terminal()
    done = subprocess.run([os.fsencode(live.PROGRAM), *map(os.fsencode, map(raw, arguments))], stdin=subprocess.DEVNULL,
                          stdout=out.theirs, stderr=err.theirs, timeout=live.LIMIT, check=False, **more)
    return done.returncode, out.read(), err.read()


def raw(argument):
    return argument if isinstance(argument, bytes) else str(argument)


class Hostile(LiveTest):
    def expect_text(self, shown, kept="\n\t", what=""):
        """What the program draws on a terminal itself is its progress bar, which is taken away again."""
        text = shown.replace(b"\r\x1b[K", b"").decode("utf-8")  # strictly
        bad = [f"U+{ord(character):04X}" for character in text if is_control(character, kept)]
        self.assertEqual(bad, [], (what, shown))
        return text

    def expect_all(self, outputs, what):
        self.assertNotEqual(b"".join(outputs), b"", what)
        for shown in outputs:
            self.expect_text(shown, what=what)

    def named(self, text, ending=b".jpg"):
        folder = os.path.join(os.fsencode(self.folder), b"names")
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder)
        shutil.copy(FISH, os.path.join(folder, text + ending))
        return folder

    def test_names_of_pictures(self):
        for text in HOSTILE:
            with self.subTest(ascii(text)):
                folder = self.named(text)
                with open(os.path.join(folder, text + b" broken.jpg"), "wb") as broken:
                    broken.write(b"no picture")
                code, out, err = run_on_terminal("caption", folder, "-m", MODEL)
                self.assertEqual(code, 1)
                lines = self.expect_text(out).splitlines()
                self.assertEqual([line.count("\t") for line in lines], [1], lines)
                self.assertEqual(self.expect_text(err, "\n").count("\n"), 2, err)
                piped = subprocess.run([live.PROGRAM, "caption", folder, "-m", MODEL], capture_output=True, check=False)
                self.assertEqual(piped.stdout, out)
                self.assertEqual(self.undone(lines[0].split("\t")[0]), os.path.join(folder, text + b".jpg"))

    @staticmethod
    def undone(field):
        """The bytes that a field of the table stands for."""
        out, at = b"", 0
        while at < len(field):
            if field[at] != "\\":
                out += field[at].encode()
                at += 1
            elif field[at + 1] in "ntr\\":
                out += {"n": b"\n", "t": b"\t", "r": b"\r", "\\": b"\\"}[field[at + 1]]
                at += 2
            elif field[at + 1] == "x":
                out += bytes([int(field[at + 2:at + 4], 16)])
                at += 4
            else:
                out += chr(int(field[at + 2:at + 6], 16)).encode()
                at += 6
        return out

    def test_records_on_a_terminal(self):
        for text in HOSTILE:
            with self.subTest(ascii(text)):
                _, out, err = run_on_terminal("caption", self.named(text), "-m", MODEL, "-o", "-")
                self.expect_text(out, "\n")
                self.expect_text(err, "\n")
                self.assertEqual(len(out.splitlines()), 1)
                json.loads(out)

    def test_words_of_a_server(self):
        for text in TEXTS:
            with self.subTest(ascii(text)):
                picture = self.named(b"a")
                with Impostor(text) as server:
                    caption = run_on_terminal("caption", picture, "--server", server.address)
                    self.assertEqual(caption[0], 0, caption)
                    lines = self.expect_text(caption[1]).splitlines()
                    self.assertEqual([line.count("\t") for line in lines], [1])
                    self.expect_text(caption[2], "\n")
                    ask = run_on_terminal("ask", "hi", "--thinking", "--server", server.address)
                    self.assertEqual(ask[0], 0, ask)
                    self.expect_all(ask[1:], "ask")
                    whole = run_on_terminal("ask", "hi", "--json", "--server", server.address)
                    self.expect_text(whole[1], "\n")
                    self.assertEqual(json.loads(whole[1])["answer"], text.strip(" \t\n\r\v\f"))
                    piped = subprocess.run([live.PROGRAM, "ask", "hi", "--server", server.address], check=False,
                                           capture_output=True)
                    self.assertEqual(piped.stdout.rstrip(b"\n"), text.encode().rstrip(b"\n"), "to a pipe the very bytes")
                    self.expect_all(run_on_terminal("top", "--once", "--server", server.address)[1:], "top")
                for kind in ({"refuse": True}, {"goodbye": True}, {"vision": False}):
                    with Impostor(text, **kind) as server:
                        for command in (("caption", picture), ("ask", "hi", "-i", FISH)):
                            code, out, err = run_on_terminal(*command, "--server", server.address, "--reconnect", 1)
                            self.assertNotEqual(code, 0)
                            self.expect_text(out)
                            self.assertNotEqual(self.expect_text(err, "\n"), "")

    def test_the_contact_sheet(self):
        class Tags(html.parser.HTMLParser):
            def __init__(self):
                super().__init__()
                self.tags = []

            def handle_starttag(self, tag, attrs):
                self.tags.append(tag)

        for text in TEXTS:
            with self.subTest(ascii(text)):
                sheet = self.folder / "sheet.html"
                with Impostor(text) as server:
                    done = run("caption", os.fsdecode(self.named(text.encode())), "--server", server.address, "--html", sheet,
                               "-p", "<script>alert(2)</script>")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.expect_text(sheet.read_bytes())
                tags = Tags()
                tags.feed(sheet.read_text(encoding="utf-8"))
                self.assertNotIn("script", tags.tags)
                self.assertEqual(tags.tags.count("li"), 1)

    def test_words_of_a_model(self):
        for text in MIXED:
            with self.subTest(ascii(text)):
                model = os.path.join(os.fsencode(self.folder), b"model " + text)
                shutil.copytree(MODEL, os.fsdecode(model))
                self.expect_all(run_on_terminal("info", model)[1:], "info")
                self.expect_all(run_on_terminal("info", "--json", model)[1:], "info --json")
                config = os.path.join(model, b"config.json")
                with open(config, "rb") as file:
                    good = file.read()
                with open(config, "wb") as file:
                    file.write(b'{"model_type": ' + text)
                self.expect_all(run_on_terminal("info", model)[1:], "config.json")
                with open(config, "wb") as file:
                    file.write(good.replace(b'"gemma4_unified"', json.dumps(text.decode("utf-8", "replace")).encode()))
                self.expect_all(run_on_terminal("info", model)[1:], "model_type")
                with open(config, "wb") as file:
                    file.write(good)
                weights = os.path.join(model, b"model.safetensors")
                header = json.dumps({text.decode("utf-8", "replace"): {
                    "dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
                with open(weights, "wb") as file:
                    file.write(struct.pack("<Q", len(header)) + header + bytes(4))
                self.expect_all(run_on_terminal("info", model)[1:], "tensor names")

    def test_words_of_the_command_line(self):
        for text in MIXED:
            with self.subTest(ascii(text)):
                missing = os.path.join(os.fsencode(self.folder), text)
                for command in ((text,), ("help", text), ("caption", b"--" + text), ("caption", "x", b"--batch=" + text),
                                ("info", missing), ("ask", "hi", "-m", missing), ("caption", missing, "-m", missing),
                                ("ask", "hi", "-m", MODEL, "-i", missing), ("caption", missing + b"*", "-m", MODEL),
                                ("quantize", MODEL, "-o", missing + b"/x"), ("quantize", missing, "-o", missing),
                                ("logits", "-m", MODEL, "--tokens", b"1," + text, "-o", missing),
                                ("ask", "hi", "--server", text), ("top", "--server", b"unix:" + missing),
                                ("serve", "--config", missing), ("serve", text), ("token", text),
                                ("serve", "-m", MODEL, "--users", missing, "--socket", missing + b"/s")):
                    code, out, err = run_on_terminal(*command)
                    self.assertNotEqual(code, 0, command)
                    self.expect_text(out, what=command)
                    self.assertNotEqual(self.expect_text(err, "\n", what=command), "", command)

    def test_a_file_that_was_written(self):
        for text in MIXED:
            with self.subTest(ascii(text)):
                path = os.path.join(os.fsencode(self.folder), text)
                code, _, err = run_on_terminal("quantize", MODEL, "-o", path, "-w", "int4")
                self.assertEqual(code, 0, err)
                self.expect_text(err, "\n")
                os.remove(path)


if __name__ == "__main__":
    live.main()
