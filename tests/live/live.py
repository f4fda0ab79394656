# SPDX-License-Identifier: Apache-2.0
"""Shared by the live tests: the program, scratch folders, runs of the program. Standard library only."""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PICTURES = ROOT / "examples" / "pictures"
MODEL = ROOT / "examples" / "demo-model"
PROGRAM = None


def run(*arguments, given=None, **more):
    """Runs the program to its end and returns the finished process, outputs as text."""
    return subprocess.run([PROGRAM, *map(str, arguments)], input=given, capture_output=True, text=True,
                          timeout=300, check=False, **more)


def start(*arguments):
    return subprocess.Popen([PROGRAM, *map(str, arguments)], stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True)


def records(path):
    """The records of a journal; fails when any line is not whole."""
    text = pathlib.Path(path).read_text(encoding="utf-8")
    if text and not text.endswith("\n"):
        raise AssertionError(f"{path} ends in the middle of a line")
    return [json.loads(line) for line in text.splitlines()]


class LiveTest(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="tessera-live-")
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)

    def pictures(self, count):
        """A folder with the first pictures of the examples."""
        folder = self.folder / "pictures"
        folder.mkdir()
        for source in sorted(PICTURES.glob("[0-9]*"))[:count]:
            shutil.copy(source, folder / source.name)
        return folder


def main():
    global PROGRAM
    PROGRAM = sys.argv.pop(1)
    unittest.main(verbosity=2)
