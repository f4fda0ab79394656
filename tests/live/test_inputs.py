#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a user names is captioned, an error record or counted: nothing is left out without a word.

    tests/live/test_inputs.py PROGRAM
"""
import os
import shutil
import tempfile

import live
from live import LiveTest, MODEL, PICTURES, records, run

FISH = PICTURES / "01-fish.jpg"


def somebody():
    """Arguments that let a program run without root's rights, for which there are no locked folders."""
    return {"user": 65534, "group": 65534} if os.geteuid() == 0 else {}


class Inputs(LiveTest):
    def put(self, *names):
        for name in names:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(FISH, path)

    def test_a_folder_with_all_kinds_of_names_is_told_whole(self):
        self.put("p/a.jpg", "p/b.gif", "p/c.HEIC", "p/d.heic", "p/.e.jpg", "p/__MACOSX/f.jpg", "p/@eaDir/g.jpg",
                 "p/.thumbnails/h.jpg", "p/sub/i.JPG")
        done = run("caption", self.folder / "p", "-m", MODEL)
        self.assertEqual(done.returncode, 0, done.stderr)
        names = sorted(os.path.relpath(line.split("\t")[0], self.folder) for line in done.stdout.splitlines())
        self.assertEqual(names, ["p/a.jpg", "p/sub/i.JPG"])
        self.assertIn("2 of 2 pictures: 2 captioned, 0 errors; left out: 1 .gif, 2 .heic, 4 hidden; ", done.stderr)
        quiet = run("caption", self.folder / "p", "-m", MODEL, "-q")
        self.assertEqual(quiet.stderr, "")

    def test_nothing_but_other_formats_is_said_so(self):
        self.put("p/b.gif", "p/c.bmp")
        done = run("caption", self.folder / "p", "-m", MODEL)
        self.assertEqual(done.returncode, 2)
        self.assertIn("there is no picture", done.stderr)
        self.assertIn("left out: 1 .gif, 1 .bmp", done.stderr)
        done = run("caption", "-", "-m", MODEL, given="")
        self.assertEqual(done.returncode, 2)
        self.assertIn("the list on standard input", done.stderr)

    def test_a_locked_folder_is_an_error_record_and_the_rest_goes_on(self):
        program = self.folder / "tessera"  # where somebody can reach it
        shutil.copy(live.PROGRAM, program)
        model = self.folder / "model"
        shutil.copytree(MODEL, model)
        self.put("p/a.jpg", "p/locked/b.jpg", "p/listed/sub/c.jpg")
        with tempfile.TemporaryDirectory(prefix="tessera-live-") as output:
            os.chmod(self.folder, 0o755)
            os.chmod(output, 0o777)
            os.chmod(self.folder / "p" / "locked", 0)
            os.chmod(self.folder / "p" / "listed", 0o444)
            before, live.PROGRAM = live.PROGRAM, program
            try:
                done = run("caption", self.folder / "p", "-m", model, "-o", f"{output}/j", **somebody())
                again = run("caption", self.folder / "p", "-m", model, "-o", f"{output}/j", **somebody())
                named = run("caption", self.folder / "p" / "locked", "-m", model, **somebody())
            finally:
                live.PROGRAM = before
                os.chmod(self.folder / "p" / "locked", 0o755)
                os.chmod(self.folder / "p" / "listed", 0o755)
            found = {os.path.basename(record["file"]): record["error"] for record in records(f"{output}/j")}
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("3 of 3 pictures: 1 captioned, 2 errors", done.stderr)
        self.assertEqual(again.returncode, 1)
        self.assertIn("3 of them by an earlier run", again.stderr)
        self.assertEqual(set(found), {"a.jpg", "locked", "listed"})
        for name in ("locked", "listed"):
            self.assertEqual(found[name]["code"], "E_IO")
            self.assertIn("this folder cannot be read: Permission denied", found[name]["text"])
        self.assertEqual(named.returncode, 1)
        self.assertIn("this folder cannot be read", named.stderr)

    def test_deep_folders_are_an_error_and_the_rest_goes_on(self):
        self.put("p/a.jpg")
        deep = self.folder / "p"
        for _ in range(70):
            deep = deep / "d"
        deep.mkdir(parents=True)
        done = run("caption", self.folder / "p", "-m", MODEL)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("2 of 2 pictures: 1 captioned, 1 error;", done.stderr)
        self.assertIn("more than 64 folders deep", done.stderr)

    def test_a_path_that_is_too_long_is_an_error_and_the_rest_goes_on(self):
        self.put("p/a.jpg")
        at = os.open(self.folder / "p", os.O_RDONLY)
        self.addCleanup(shutil.rmtree, self.folder / "p")  # by descriptors, so it can
        for _ in range(25):
            os.mkdir("d" * 200, dir_fd=at)
            below = os.open("d" * 200, os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = below
        os.close(at)
        done = run("caption", self.folder / "p", "-m", MODEL)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("1 captioned, 1 error;", done.stderr)
        self.assertIn("File name too long", done.stderr)

    def test_a_list_with_zero_bytes_names_the_option(self):
        self.put("a.jpg", "b.jpg")
        done = run("caption", "-", "-m", MODEL, given=f"{self.folder}/a.jpg\0{self.folder}/b.jpg\0")
        self.assertEqual(done.returncode, 2)
        self.assertIn("-0", done.stderr)
        self.assertEqual(done.stdout, "")

    def test_names_that_are_not_utf8_are_kept_and_found_again(self):
        names = [b"caf\xe9.jpg", b"caf\xe8.jpg", "café.jpg".encode()]
        folder = os.path.join(os.fsencode(self.folder), b"p")
        os.mkdir(folder)
        for name, picture in zip(names, sorted(PICTURES.glob("[0-9]*"))):
            shutil.copy(picture, os.path.join(folder, name))
        journal = self.folder / "j"
        command = ["caption", self.folder / "p", "-m", MODEL, "-o", journal]
        self.assertEqual(run(*command).returncode, 0)
        captions = {}
        for record in records(journal):
            self.assertEqual("file_hex" in record, "\ufffd" in record["file"])
            path = bytes.fromhex(record["file_hex"]) if "file_hex" in record else record["file"].encode()
            captions[path] = record["caption"]
        self.assertEqual(set(captions), {os.path.join(folder, name) for name in names})
        self.assertEqual(len(set(captions.values())), 3)
        self.assertIn("3 of them by an earlier run", run(*command).stderr)
        self.assertEqual(len(records(journal)), 3)

    def test_two_stars_reach_every_folder(self):
        self.put("in/1.jpg", "in/a/2.jpg", "in/a/b/3.jpg", "in/.h/4.jpg")
        done = run("caption", self.folder / "in/**/*.jpg", "-m", MODEL)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(done.stdout.splitlines()), 3)
        self.assertIn("3 of 3 pictures: 3 captioned, 0 errors; left out: 1 hidden;", done.stderr)


class Summaries(LiveTest):
    """The last line of standard error says what was done, left out and failed, in one form."""
    FORM = (r"^(\d+) of (\d+) (\w+): (\d+) (\w+), (\d+) errors?(, \d+ cut at --max-tokens)?(, \d+ of them by an earlier run)?"
            r"(; left out: [^;]+)?; \d+\.\d\d s(, .+)?$")

    def expect(self, code, said, *command):
        done = run(*command)
        self.assertEqual(done.returncode, code, done.stderr)
        line = done.stderr.splitlines()[-1]
        self.assertRegex(line, self.FORM)
        self.assertIn(said, line)
        quiet = run(*command, "-q")
        self.assertEqual(quiet.returncode, code)
        self.assertNotRegex(quiet.stderr, r"(?m)" + self.FORM)

    def test_every_command_ends_with_one(self):
        picture, packed = self.folder / "a.jpg", self.folder / "m.tessera"
        shutil.copy(FISH, picture)
        self.expect(0, "1 of 1 pictures: 1 captioned, 0 errors; ", "caption", picture, "-m", MODEL)
        self.expect(0, "1 captioned, 0 errors, 1 cut at --max-tokens; ", "caption", picture, "-m", MODEL, "-n", 2)
        self.expect(1, "1 of 1 pictures: 0 captioned, 1 error; ", "caption", self.folder / "none.jpg", "-m", MODEL)
        self.expect(0, "1 of 1 files: 1 written, 0 errors; ", "quantize", MODEL, "-o", packed)
        self.expect(3, "1 of 1 files: 0 written, 1 error; ", "quantize", self.folder, "-o", self.folder / "x")
        self.expect(0, "1 of 1 files: 1 verified, 0 errors; ", "info", packed, "--verify")
        damaged = bytearray(packed.read_bytes())
        damaged[-100] ^= 1
        (self.folder / "d.tessera").write_bytes(damaged)
        self.expect(1, "1 of 1 files: 0 verified, 1 error; ", "info", self.folder / "d.tessera", "--verify")
        self.expect(0, "2 positions", "logits", "-m", MODEL, "--text", "hi", "-o", self.folder / "l.npy")
        self.expect(1, "0 written, 1 error; ", "logits", "-m", MODEL, "--text", "<|image|>", "-i", self.folder / "none",
                    "-o", self.folder / "l.npy")

    def test_a_cut_answer_is_said_to_be_cut(self):
        done = run("ask", "hi", "-m", MODEL, "-n", 2)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, "tessera ask: the answer is cut at --max-tokens 2\n")
        self.assertEqual(run("ask", "hi", "-m", MODEL).stderr, "")


if __name__ == "__main__":
    live.main()
