#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests wait for events, never for time: no sleep, no short limit, no measured duration in a test.

    ci/tests_wait.py            looks at every test in git

What to do instead: `eventually` and `Gate` of tests/live/live.py, `Peer.wait_for` of the Python client's tests, and in C
whatever says that it has happened (a pipe, a join, an atomic counter, /proc). A limit is LIMIT of live.py, in CMake
${only_a_hang_s}.
"""
import ast
import pathlib
import re
import subprocess
import sys

WHERE = ("tests/", "clients/python/tests/", "ci/test")
# What may, and why.
ALLOWED = {
    "tests/live/live.py": "the helper that polls, and the limit",
    "clients/python/tests/peer.py": "the limit of what is installed without tests/live",
    "tests/live/blocking_decoder.c": "a decoder that asks again and again whether it is still wanted",
    "tests/simt/runtime.cpp": "the emulator's clock",
}
CLOCKS = {"time", "monotonic", "perf_counter", "process_time", "monotonic_ns", "perf_counter_ns", "time_ns"}
WAITS = {"wait", "wait_for", "join", "communicate", "settimeout", "result", "get", "select", "poll"}
LIMIT_NAME = re.compile(r"(LIMIT|TIMEOUT|PATIENCE)(_S|_MS|_SECONDS)?$", re.I)
IN_C = [
    (r"\b(sleep|usleep|nanosleep|clock_nanosleep|uv_sleep|thrd_sleep|sleep_for|sleep_until|alarm|ualarm|setitimer)\s*\(",
     "sleeps"),
    (r"\bSO_(RCV|SND)TIMEO\b", "has a limit of its own"),
    (r"\bpoll\s*\([^()]*,\s*[1-9]\w*\s*\)", "has a limit of its own"),
    (r"\.timeout\s*=", "has a limit of its own; ctest has one"),
    (r"\bcr_(assert|expect)_(lt|leq)\s*\(.*\bclock_ns\b|\b(elapsed|waited|took)\w*\s*<", "must be fast"),
]


def faults_of_python(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            yield from faults_of_call(node)
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield node.lineno, "takes a clock or a sleep"
        elif isinstance(node, ast.Assign) and is_number(node.value):
            for target in node.targets:
                if isinstance(target, ast.Name) and LIMIT_NAME.search(target.id):
                    yield node.lineno, f"{target.id} is a limit of its own"


def is_number(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool)


def faults_of_call(call):
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = call.func.value.id if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name) else ""
    if name == "sleep":
        yield call.lineno, "sleeps"
    if owner == "time" and name in CLOCKS:
        yield call.lineno, "measures time"
    if name in WAITS and any(is_number(argument) and argument.value > 0 for argument in call.args[-1:]):
        yield call.lineno, f"{name} has a limit of its own"
    if any(keyword.arg in ("timeout", "seconds") and is_number(keyword.value) for keyword in call.keywords):
        yield call.lineno, "has a limit of its own"


def faults_of_c(text):
    text = re.sub(r"/\*.*?\*/|//[^\n]*", lambda found: "\n" * found[0].count("\n"), text, flags=re.S)
    for number, line in enumerate(text.split("\n"), 1):
        for pattern, what in IN_C:
            if re.search(pattern, line):
                yield number, what


def faults_of_cmake(text):
    for number, line in enumerate(text.split("\n"), 1):
        if re.search(r"\bTIMEOUT\s+\d", line):
            yield number, "has a limit of its own"


def faults_of_shell(text):
    for number, line in enumerate(text.split("\n"), 1):
        if re.search(r"(^|[\s;&|(])(sleep|timeout)\s+[\d.$]", line.split("#")[0]):
            yield number, "sleeps or has a limit of its own"


def faults_of(path, text):
    """[(line, what)] of one file of the tests."""
    if path in ALLOWED:
        return []
    looks = {".py": faults_of_python, ".c": faults_of_c, ".h": faults_of_c, ".cpp": faults_of_c, ".cu": faults_of_c,
             ".txt": faults_of_cmake, "": faults_of_shell}
    look = looks.get(pathlib.PurePath(path).suffix)
    return sorted(set(look(text))) if look else []


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    names = subprocess.run(["git", "ls-files", *WHERE], cwd=root, check=True, capture_output=True, text=True).stdout.split()
    faults = [f"{name}:{line}: {what}; a test waits for an event (ci/tests_wait.py)"
              for name in names if "/golden/" not in name and "/corpus/" not in name
              for line, what in faults_of(name, (root / name).read_text(encoding="utf-8"))]
    print("\n".join(faults), end="\n" if faults else "")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
