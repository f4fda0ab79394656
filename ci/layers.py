#!/usr/bin/env python3
"""The arrows between rooms and a few habits, checked on the text of the sources.

Rooms may include only what the table below allows (docs/architecture.md). Also: device headers only in
cuda/ and tests/simt, uv.h only in host/, no banned calls, a head comment in every file, no unowned
notes, and files over 800 lines must say why in their head comment ("Long because").
"""
import pathlib
import re
import subprocess
import sys

ALLOWED = {
    "base": set(),
    "weights": {"base"},
    "scheduler": {"base"},
    "model": {"base", "weights", "scheduler/batch.h"},
    "cpu": {"base", "weights", "model/ops.h", "model/ops.def", "scheduler/batch.h"},
    "cuda": {"base", "weights", "model/ops.h", "model/ops.def", "scheduler/batch.h"},
    "rpc": {"base"},
    "rpc/client": {"base", "rpc"},
    "examples": {"base", "rpc", "rpc/client"},  # what the C client installs
    "host/text": {"base"},
    "host/media": {"base"},
    "host/step": {"base", "scheduler", "model/engine.h"},
    "host/request": {"base", "host/text", "host/media", "host/step", "scheduler", "weights/config.h"},
    "host/runtime": {"base", "weights", "host/text", "scheduler", "model/engine.h", "cpu/cpu.h", "cuda/cuda.h",
                     "cuda/gpus.h", "cuda/plan.h"},
    "host/server": {"base", "rpc", "scheduler", "host/step", "host/request", "host/media/media.h"},
    "host/asking": {"base", "rpc", "rpc/client", "host", "host/media", "host/step", "host/request", "host/runtime"},
    "host/jobs": {"base", "host", "host/media", "host/request", "host/asking"},
    "host/cli": {"base", "weights", "scheduler", "rpc", "host", "host/text", "host/media", "host/step", "host/request",
                 "host/runtime", "host/server", "host/asking", "host/jobs"},
    "host": {"base", "host/cli"},  # main.c; interrupt.h is the one header
}
# Files that may do more than their room.
ALSO = {
    "host/server/server.h": {"host/runtime"},
    "host/server/step_thread.h": {"host/runtime"},
}
# The doors through which cuda/ reaches the GPU emulator instead of the GPU and NVIDIA's libraries.
EMULATED = ("cuda/launch.h", "cuda/prim/prim.cuh", "cuda/kernels/linear_library.cu")
FREE = ("tests", "bench", "tools")
BANNED = r"\b(strcpy|strcat|sprintf|vsprintf|gets|alloca|strtok|atoi|atof|rand|srand)\s*\("
CLOCK = r"\b(time|gettimeofday|clock_gettime)\s*\("
# What makes, renames or removes files, and who owns it: base/file_write for all that appears whole, the journal that is only
# appended to, the socket of the server.
FILES = (r"\bO_(CREAT|TMPFILE|TRUNC)\b|\b(creat|mkstemp|mkostemp|rename|renameat|renameat2|unlink|unlinkat|remove|truncate)\s*\("
         r'|\bf(re)?open\s*\(.*,\s*"([^r"]|r[^"]*\+)')
FILE_OWNERS = ("base/file_write.c", "host/jobs/journal.c", "host/server/socket_path.c")
# What people see is made printable in one place (host/cli/say.h); formatting straight to a stream goes round it.
SAYING = r"\b(v?fprintf|v?printf|v?dprintf|puts|fputs|putchar|fputc|putc|perror)\s*\("
SAYERS = ("host/cli/say.c", "host/cli/progress.c", "host/cli/command_top.c")
# Text from outside has a length and may hold zero bytes; who reads it looks for them.
READING = r"\b(fgets|getline|getdelim|f?scanf|fread)\s*\("
READERS = ("host/jobs/inputs.c", "host/cli/command_ask.c")
# Written so that this file does not contain what it looks for.
NOTES = r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b"


def room_of(path):
    parts = path.split("/")
    if len(parts) > 2 and (parts[0] == "host" or parts[:2] == ["rpc", "client"]):
        return "/".join(parts[:2])
    return parts[0]


def check_file(path, text, faults):
    room = room_of(path)
    lines = text.split("\n")
    if not lines[0].startswith("// SPDX-License-Identifier:"):
        faults.append(f"{path}:1: the first line is not the SPDX line")
    if path.endswith(".h") and (len(lines) < 2 or not lines[1].startswith("//")):
        faults.append(f"{path}:2: the head comment is missing")
    if len(lines) > 800 and "Long because" not in text:
        faults.append(f"{path}: {len(lines)} lines; split it or say why it is long in the head comment")
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        include = re.match(r'\s*#\s*include\s+["<]([^">]+)[">]', line)
        if include:
            check_include(room, path, include.group(1), where, faults)
        code = line.split("//")[0]
        if re.search(BANNED, code):
            faults.append(f"{where}: a banned call: {line.strip()}")
        if re.search(CLOCK, code) and not path.startswith(("base/clock", "tests/")):
            faults.append(f"{where}: the time comes from base/clock.h only")
        if re.search(FILES, code) and room not in FREE and path not in FILE_OWNERS:
            faults.append(f"{where}: files are made and removed in {', '.join(FILE_OWNERS)} only: {line.strip()}")
        if len(line) > 100 and not line.startswith("#define"):
            faults.append(f"{where}: longer than 100 columns")
        if room.startswith("host") and path not in SAYERS and re.search(SAYING, code):
            faults.append(f"{where}: words for people go through host/cli/say.h: {line.strip()}")
        if room.startswith("host") and path not in READERS and re.search(READING, code):
            faults.append(f"{where}: text is read with its length (base/file.h), or in {', '.join(READERS)}: {line.strip()}")
        if re.search(NOTES, line):
            faults.append(f"{where}: an unfinished note: {line.strip()}")
        if re.search(r"\basm\b", code) and room == "cuda" and "cuda/prim/" not in path:
            faults.append(f"{where}: asm outside cuda/prim")
        if "<<<" in code:
            faults.append(f"{where}: a launch outside the LAUNCH macro")


def check_include(room, path, name, where, faults):
    if name.startswith("cuda_runtime") and room != "cuda" and not path.startswith("tests/simt"):
        faults.append(f"{where}: cuda_runtime.h outside cuda/ and tests/simt")
    if name == "uv.h" and not path.startswith(("host/", "tests/")):
        faults.append(f"{where}: uv.h outside host/")
    if room == "rpc" and name in ("sys/socket.h", "netdb.h", "poll.h"):
        faults.append(f"{where}: {name} outside rpc/client")
    if "/" not in name or room in FREE:
        return
    target = room_of(name)
    if target not in ALLOWED and target not in FREE:
        return  # a system header with a folder
    if path in EMULATED and name.startswith("tests/simt/"):
        return
    allowed = ALLOWED.get(room, set()) | ALSO.get(path, set()) | ALSO.get(re.sub(r"\.c$", ".h", path), set())
    if target == room or target in allowed or name in allowed:
        return
    faults.append(f"{where}: {room} may not include {name}")


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    names = subprocess.run(["git", "ls-files", "*.c", "*.h", "*.cu", "*.cuh"], cwd=root, check=True,
                           capture_output=True, text=True).stdout.split()
    faults = []
    for name in names:
        check_file(name, (root / name).read_text(encoding="utf-8"), faults)
    for fault in faults:
        print(fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
