#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The arrows between rooms and a few habits, checked on the text of the sources.

    ci/layers.py            looks at every source in git

Rooms (docs/architecture.md): a file includes only what ALLOWED says of its room; what it reaches through other files
must not hold what SEALED says; no two rooms reach each other, and no two files of a room. A function that is not static is used outside the tests, or
its header says "for tests". An error text speaks with one voice: lower case, no full stop. Habits: device headers only in cuda/ and tests/simt, uv.h only in host/, no banned calls, a head
comment in every file, no unowned notes, functions of at most 60 lines and 6 parameters, and files over 800 lines must say why in
their head comment ("Long because").
ci/layers_test.py plants one violation of each kind.
"""
import collections
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
    "host/decoder": {"base"},
    "host/media": {"base", "host/decoder/call.h"},
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
# What a file of these rooms reaches must not begin with one of these: the waists hold also through other files.
SEALED = {
    ("host/server/", "host/request/", "host/step/"):
        ("model/ops.h", "cpu/", "cuda/", "host/cli/", "rpc/client/"),
    ("scheduler/", "model/engine.h"): ("model/ops.h", "cpu/", "cuda/", "host/"),
    ("host/asking/", "host/jobs/", "host/runtime/"): ("host/cli/", "host/server/"),
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
READERS = ("host/jobs/inputs_operand.c", "host/cli/command_ask.c")
# Written so that this file does not contain what it looks for.
NOTES = r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b"
# Functions that are given an error text, ours and those of single files.
ERRORS = re.compile(r"\b(?:error_set|error_prefix|\w*(?:fault|fail|failed|refuse|refused|damaged|_cut|_die))\(")
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"')
BETWEEN = re.compile(r'"[\s\\]*(?:PRI\w+[\s\\]*)?"')
INCLUDE = re.compile(r'\s*#\s*include\s+["<]([^">]+)[">]')
DEFINED = re.compile(r"^(?!static|typedef|extern|return|else)[A-Za-z_][\w ]*[ *](\w+)\([^;]*$")
DECLARED = re.compile(r"^[A-Za-z_][^\n;{(]*?\b(\w+)\(", re.M)
LINES_MAX, PARAMETERS_MAX = 60, 6
# Functions (FILE:NAME), or all of a folder, that may be longer or take more; a line that is not needed is a fault.
INLINED = "an inlined kernel: it takes what the loops around it hold, one by one"
EXCEPTED = {
    "cpu/attention_lanes.h:score_tile": INLINED,
    "cpu/attention_lanes.h:blend_tile": INLINED,
    "cpu/kv_page.h:kv_load": INLINED,
    "cpu/kv_page.h:kv_store": INLINED,
    "cpu/norm_lanes.h:norm_into": INLINED,
    "bench/gpu/": "a measurement takes what it measures and where it tells it; changed only beside a GPU, where figures can be compared",
}
# Functions whose names are pasted together by a macro: variants of an op, kernels, a table's rows.
PASTED = re.compile(r"_(ref|scalar|avx2|avx512)$|^launch_|^sample_|^main$|^LLVM")


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
        check_line(room, path, line, f"{path}:{number}", faults)


def check_line(room, path, line, where, faults):
    include = INCLUDE.match(line)
    code = line.split("//")[0]
    if include:
        check_include(room, path, include.group(1), where, faults)
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
    if "/" not in name or room in FREE or (path in EMULATED and name.startswith("tests/simt/")):
        return
    target = room_of(name)
    if target not in ALLOWED and target not in FREE:
        return  # a system header with a folder
    allowed = ALLOWED.get(room, set()) | ALSO.get(path, set()) | ALSO.get(re.sub(r"\.c$", ".h", path), set())
    if target != room and target not in allowed and name not in allowed:
        faults.append(f"{where}: {room} may not include {name}")


def includes_of(sources):
    """{path: the sources it includes}; a .def counts."""
    return {path: [name for line in text.split("\n") if (found := INCLUDE.match(line)) and (name := found.group(1)) in sources]
            for path, text in sources.items()}


def reached(path, includes):
    """{every source that `path` reaches: the one that includes it}"""
    seen, left = {}, [path]
    while left:
        here = left.pop()
        for name in includes.get(here, []):
            if name not in seen:
                seen[name] = here
                left.append(name)
    return seen


def check_closure(sources, faults):
    includes = includes_of(sources)
    for path in sources:
        for rooms, sealed in SEALED.items():
            if not path.startswith(rooms):
                continue
            for name, by in sorted(reached(path, includes).items()):
                if name.startswith(sealed):
                    faults.append(f"{path}: reaches {name}, through {by}")


def check_circles(sources, faults):
    arrows = {}
    for path, names in includes_of(sources).items():
        room = room_of(path)
        if room not in FREE and path != "host/main.c":
            arrows.setdefault(room, set()).update(room_of(name) for name in names if room_of(name) != room)
    for room in sorted(arrows):
        seen = reached(room, arrows)
        if room in seen:
            faults.append(f"{room}: a circle of rooms, closed by {seen[room]}")


def check_file_circles(sources, faults):
    """A file reaches what it includes and what it calls. A header reaches only what it includes: one may declare the functions
    of several files."""
    arrows = {path: set(names) for path, names in includes_of(sources).items() if room_of(path) not in FREE}
    homes = {(room_of(path), name): path for path, text in sources.items() for _, name in defined_in(path, text)}
    for path in arrows:
        if path.endswith(".c"):
            called = {homes.get((room_of(path), word)) for word in words_of(sources[path])}
            arrows[path] |= called - {path, None}
        arrows[path] = {name for name in arrows[path] if room_of(name) == room_of(path)}
    for path in sorted(arrows):
        seen = reached(path, arrows)
        if path in seen:
            faults.append(f"{path}: a circle of files, closed by {seen[path]}")


def words_of(text):
    return re.findall(r"\w+", re.sub(r"(?<!:)//[^\n]*|^\s*#\s*include[^\n]*", "", text, flags=re.M))


def defined_in(path, text):
    """(line, name) of the functions of a .c file that are not static."""
    if path.endswith(".c"):
        for number, line in enumerate(text.split("\n"), 1):
            if found := DEFINED.match(line):
                yield number, found.group(1)


def check_unused(sources, faults):
    """Functions that nothing but tests uses: the header must say so, else they go."""
    words = collections.Counter()
    for path, text in sources.items():
        if room_of(path) not in FREE or path.startswith("bench/"):
            words.update(words_of(text))
    headers = [text for path, text in sources.items() if path.endswith(".h")]
    declared = collections.Counter(name for text in headers for name in DECLARED.findall(text))
    said = {name for text in headers for name in said_for_tests(text)}
    for path, text in sources.items():
        if room_of(path) in FREE:
            continue
        for number, name in defined_in(path, text):
            if not PASTED.search(name) and name not in said and words[name] <= 1 + declared[name]:
                faults.append(f"{path}:{number}: nothing but tests uses {name}; delete it, or say so in its header: for tests")


def said_for_tests(header):
    """Names declared under a comment that says "for tests"."""
    for paragraph in header.split("\n\n"):
        tests = False
        for line in paragraph.split("\n"):
            if line.startswith("//"):
                tests = tests or "for tests" in line.lower()
            elif found := DECLARED.match(line):
                if tests:
                    yield found.group(1)
                tests = False


def call_at(text, start):
    """What stands between the parentheses of the call that opens at `start`."""
    depth = 0
    for found in re.compile(r'"(?:[^"\\]|\\.)*"|[()]').finditer(text, start):
        depth += {"(": 1, ")": -1}.get(found.group(), 0)
        if depth == 0:
            return text[start:found.end()]
    return ""


def check_voice(path, text, faults):
    """An error text is often put behind a name: lower case, clauses joined by semicolons, no full stop."""
    for found in ERRORS.finditer(text):
        for said in LITERAL.findall(BETWEEN.sub("", call_at(text, found.end() - 1))):
            where = f"{path}:{text.count(chr(10), 0, found.start()) + 1}"
            if " " in said and re.match(r"[A-Z][a-z]|A ", said):
                faults.append(f"{where}: an error text begins with a capital: {said}")
            if " " in said and (re.search(r"[^.]\.$", said) or re.search(r"\w[.!] [A-Z]", said)):
                faults.append(f"{where}: an error text has a full stop: {said}")


def functions_in(lines):
    """(line, head up to its brace, number of lines) of the functions, which begin and end in the first column."""
    head, begin = "", None
    for number, line in enumerate(lines, 1):
        if head:
            if line.startswith("}"):
                yield begin, head, number - begin + 1
                head, begin = "", None
            continue
        if re.match("[A-Za-z_]", line):
            begin = number
        code = line.split("//")[0].rstrip()
        if begin and code.endswith(") {"):
            head = " ".join(part.split("//")[0].strip() for part in lines[begin - 1:number])
        elif code.endswith((";", "{", "}")):
            begin = None


def named_and_counted(head):
    """The name of a function and the number of its parameters: before and in the last parentheses of its head."""
    depth, commas, at = 1, 0, head.rindex(")")
    while depth:
        at -= 1
        depth += (head[at] in ")]>") - (head[at] in "([<")
        commas += head[at] == "," and depth == 1
    return re.search(r"\w*$", head[:at]).group(), commas + 1


def check_sizes(sources, faults):
    needed = set()
    for path, text in sources.items():
        for number, head, count in functions_in(text.split("\n")) if not path.endswith((".def", ".cpp")) else ():
            name, parameters = named_and_counted(head)
            if count <= LINES_MAX and parameters <= PARAMETERS_MAX:
                continue
            places = {place for place in EXCEPTED if f"{path}:{name}".startswith(place)}
            needed |= places
            if not places:
                faults.append(f"{path}:{number}: {name} has {count} lines and {parameters} parameters; "
                              f"at most {LINES_MAX} and {PARAMETERS_MAX}")
    for place in EXCEPTED:
        if place not in needed and any(path.startswith(place.split(":")[0]) for path in sources):
            faults.append(f"{place}: is excepted from LINES_MAX and PARAMETERS_MAX and need not be")


def faults_of(sources):
    """`sources`: {path: text} of everything in git that is C, C++, CUDA or a table."""
    faults = []
    for path, text in sources.items():
        if not path.endswith((".def", ".cpp")):
            check_file(path, text, faults)
            if room_of(path) not in FREE or path.startswith("bench/"):
                check_voice(path, text, faults)
    check_closure(sources, faults)
    check_circles(sources, faults)
    check_file_circles(sources, faults)
    check_unused(sources, faults)
    check_sizes(sources, faults)
    return faults


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    names = subprocess.run(["git", "ls-files", "*.c", "*.h", "*.cu", "*.cuh", "*.def", "*.cpp"], cwd=root, check=True,
                           capture_output=True, text=True).stdout.split()
    faults = faults_of({name: (root / name).read_text(encoding="utf-8") for name in names})
    print("\n".join(faults), end="\n" if faults else "")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
