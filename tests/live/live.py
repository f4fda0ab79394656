# SPDX-License-Identifier: Apache-2.0
"""Shared by the live tests: the program, scratch folders, runs of the program, waiting. Standard library only.

A test waits for an event (a log line, a counter, a file, a message) with `eventually`, never for time, and takes
nothing for granted about how long work lasts. Where work must last, `Gate` holds it:

    gate = Gate(self.folder)                        # of steps; Gate(folder, "prep") or "open": see failing_engine.c
    with Server(self.folder, gate=gate) as server:  # or run(..., gate=gate), start(..., gate=gate)
        gate.hold()                                 # from here on each step waits for a permission
        stream = client.generate(...)               # accepted; as long as the gate is held it does not end
        gate.let(3)                                 # three steps
        gate.reached(4)                             # waits until the fourth has come to the gate and stands there
        gate.release()                              # from here on steps are free again, and so they are at the test's end

ci/tests_wait.py refuses sleeps and short limits everywhere else.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PICTURES = ROOT / "examples" / "pictures"
MODEL = ROOT / "examples" / "demo-model"
PROGRAM = None  # tessera
HELD = None     # tessera_failing of the same build: tessera with gates (failing_engine.c)
LIMIT = 900     # seconds; the one limit of everything that is waited for: only what hangs reaches it


def eventually(condition, what="what the test waits for", of=None):
    """Waits until a condition of another process or thread holds, and returns its value. of: the process that is to bring
    it about; when it ends before, there is nothing to wait for."""
    end = time.monotonic() + LIMIT
    while True:
        gone = of is not None and of.poll() is not None
        if value := condition():
            return value
        if gone:
            raise AssertionError(f"{what} has not come, and the process has ended with {of.returncode}")
        if time.monotonic() > end:
            raise AssertionError(f"{what} has not come in {LIMIT} s")
        time.sleep(0.005)


class Gate:
    """A gate of gate.h, the test's side."""

    def __init__(self, folder, name="step"):
        self.path = pathlib.Path(folder) / "gates" / name
        self.path.parent.mkdir(exist_ok=True)
        self.counter = self.path.with_suffix(".came")
        self.counter.touch()
        os.mkfifo(self.path)
        self.held = self.before = self.process = None

    def environment(self, environment=None):
        return dict(os.environ if environment is None else environment, TESSERA_TEST_GATES=str(self.path.parent))

    def came(self):
        """How many have come to the gate, held or not."""
        return self.counter.stat().st_size

    def hold(self):
        # Both ends, since the other side opens it anew for each one that comes; permissions left over stay in it.
        self.before, self.held = self.came(), os.open(self.path, os.O_RDWR)

    def let(self, count=1):
        os.write(self.held, bytes(count))

    def since(self):
        """How many have come since it is held."""
        return self.came() - self.before

    def reached(self, count):
        """Waits until `count` have come since it is held."""
        eventually(lambda: self.since() >= count, f"number {count} at the gate", of=self.process)

    def let_until(self, condition):
        """Lets one after the other pass until a condition holds that what passes brings about by itself, in its own
        thread; the next one stands at the gate then."""
        self.reached(1)
        while not condition():
            before = self.since()
            self.let()
            self.reached(before + 1)

    def release(self):
        if self.held is not None:
            os.close(self.held)
            self.held = None


def command(arguments, gate, more):
    """The command line of the program, or of the one with gates, and the options of its process."""
    if gate is not None:
        more["env"] = gate.environment(more.get("env"))
    return [PROGRAM if gate is None else HELD, *map(str, arguments)]


def run(*arguments, given=None, gate=None, **more):
    """Runs the program to its end and returns the finished process, outputs as text."""
    return subprocess.run(command(arguments, gate, more), input=given, capture_output=True, text=True,
                          timeout=LIMIT, check=False, **more)


def start(*arguments, gate=None, **more):
    process = subprocess.Popen(command(arguments, gate, more), stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True, **more)
    if gate is not None:
        gate.process = process
    return process


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
    global PROGRAM, HELD
    PROGRAM = sys.argv.pop(1)
    HELD = next((str(path) for path in (pathlib.Path(PROGRAM).parent / "tests" / "tessera_failing",
                                        pathlib.Path(PROGRAM).with_name("tessera_failing")) if path.exists()), None)
    unittest.main(verbosity=2)
