#!/usr/bin/env python3
"""What nvcc made of every kernel, held against what the kernel's head comment promises.

    ci/sass.py OBJECT_FOLDER [--table]

Reads the machine code inside the object files of the cuda preset (uncompressed fat binaries), for every
architecture in them. Needs no GPU and no tool of the CUDA toolkit: a cubin is an ELF file, an instruction
is 16 bytes, and its low 12 bits are the operation (codes: the table below). Of each kernel it
counts registers, shared memory, spills, calls, tensor-core products, asynchronous copies and the width of
loads, lists calls into code that emulates an instruction, and finds the loop with the most products.

A head comment promises in lines of the form
    // promise: spills 0, calls 0, registers <= 128          for every kernel of the file
    // promise NAME: imma >= 64, loop per imma <= 4.5        for kernels whose name contains NAME
with these quantities: spills, calls, registers, shared, imma, hmma, ldsm, ldgsts, ldg128, instructions,
loop imma, loop hmma, loop instructions, loop per imma, loop per hmma. `128-bit loads` says that no global
load of the kernel's widest loop is narrower. A kernel without a promise, and a promise that matches no
kernel, are faults.
"""
import operator
import pathlib
import re
import struct
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
EM_CUDA = 190
CODES = {
    0x237: "imma", 0x23C: "hmma", 0x83B: "ldsm", 0xFAE: "ldgsts", 0x981: "ldg", 0x983: "ldl", 0x387: "stl",
    0x987: "stl", 0x947: "bra", 0x547: "bra", 0x984: "lds", 0x388: "sts",
    0x986: "stg",
}
WIDTHS = {0: 8, 1: 8, 2: 16, 3: 16, 4: 32, 5: 64, 6: 128}
COMPARE = {"": operator.eq, "<=": operator.le, ">=": operator.ge}


class Section:
    def __init__(self, image, offset):
        (self.name_at, self.type, self.flags, self.address, self.offset, self.size, self.link, self.info,
         self.align, self.entry) = struct.unpack_from("<IIQQQQIIQQ", image, offset)
        self.name = ""


def cubins(data):
    """(architecture, image) of every device ELF inside an object file."""
    at = data.find(b"\x7fELF", 4)
    while at >= 0:
        if struct.unpack_from("<H", data, at + 18)[0] == EM_CUDA:
            flags = struct.unpack_from("<I", data, at + 48)[0]
            yield flags >> 8 & 0xFF, data[at:]
        at = data.find(b"\x7fELF", at + 4)


def symbols_of(image, sections):
    """[(name, section index, value, size)] of the cubin's symbol table."""
    table = next(s for s in sections if s.type == 2)
    names = sections[table.link]
    result = []
    for at in range(table.offset, table.offset + table.size, 24):
        name_at, _, _, index, value, size = struct.unpack_from("<IBBHQQ", image, at)
        start = names.offset + name_at
        result.append((image[start:image.index(b"\0", start)].decode(), index, value, size))
    return result


def register_counts(image, sections, symbols):
    """Registers of every kernel: attribute 0x2f of .nv.info, pairs of symbol and count."""
    counts = {}
    for section in sections:
        if section.name != ".nv.info":
            continue
        at = section.offset
        while at < section.offset + section.size:
            form, attribute, size = struct.unpack_from("<BBH", image, at)
            if form == 4 and attribute == 0x2F:
                symbol, registers = struct.unpack_from("<II", image, at + 4)
                counts[symbols[symbol][0]] = registers
            at += 4 + (size if form == 4 else 0)
    return counts


# What a kernel may call: the rare paths of exact division, root and reciprocal, integer division by a
# variable, and the convergence of a warp.
ALLOWED_CALLS = r"\$__cuda_\w*(div|rcp|sqrt|rem)_\w+$|\$__cuda_\w*(warpsync|shflsync|votesync)\w*$"


def strange_calls(symbols, index):
    """Functions inside a kernel's code besides those: instructions the architecture only emulates."""
    return [name for name, section, _, _ in symbols
            if section == index and name.startswith("$") and not re.search(ALLOWED_CALLS, name)]


def kernels(image):
    """(name, registers, shared bytes, strange calls, code) of every kernel of a cubin."""
    table, = struct.unpack_from("<Q", image, 40)
    count, names_index = struct.unpack_from("<HH", image, 60)
    sections = [Section(image, table + 64 * i) for i in range(count)]
    names = sections[names_index]
    for section in sections:
        start = names.offset + section.name_at
        section.name = image[start:image.index(b"\0", start)].decode()
    shared = {s.name[len(".nv.shared."):]: s.size for s in sections if s.name.startswith(".nv.shared.")}
    symbols = symbols_of(image, sections)
    registers = register_counts(image, sections, symbols)
    for index, section in enumerate(sections):
        if section.name.startswith(".text."):
            name = section.name[len(".text."):]
            yield (name, registers[name], shared.get(name, 0), strange_calls(symbols, index),
                   image[section.offset:section.offset + section.size])


def branch_target(pc, low, high, compute):
    value = low >> 34 | (high & 0x3FFFF) << 30
    if value >> 47 & 1:
        value -= 1 << 48
    if compute >= 90:
        return pc + 16 + ((value << 8 | low >> 16 & 0xFF) << 2)
    return pc + 16 + (value << 2)


def measure(code, compute):
    ops, loops = [], []
    for pc in range(0, len(code), 16):
        low, high = struct.unpack_from("<QQ", code, pc)
        op = CODES.get(low & 0xFFF, "")
        width = WIDTHS.get(high >> 9 & 7, 0) if op in ("ldg", "lds") else 0
        ops.append((op, width))
        if op == "bra":
            target = branch_target(pc, low, high, compute)
            if 0 <= target < pc:
                loops.append((target // 16, pc // 16 + 1))

    def tally(part):
        count = {name: 0 for name in ("imma", "hmma", "ldsm", "ldgsts", "ldl", "stl", "lds", "sts")}
        for op, width in part:
            if op in count:
                count[op] += 1
        count["ldg128"] = sum(op == "ldg" and width == 128 for op, width in part)
        count["narrow"] = sum(op == "ldg" and width < 128 for op, width in part)
        return count

    total = tally(ops)
    figures = {
        "spills": total["ldl"] + total["stl"], "imma": total["imma"],
        "hmma": total["hmma"], "ldsm": total["ldsm"], "ldgsts": total["ldgsts"], "ldg128": total["ldg128"],
        "instructions": len(ops), "loop imma": 0, "loop hmma": 0, "loop instructions": 0, "narrow": 0,
    }
    best = None
    for first, last in loops:
        part = tally(ops[first:last])
        weight = part["imma"] + part["hmma"]
        key = (weight, -(last - first)) if weight else (0, part["ldg128"], last - first)
        if best is None or key > best[0]:
            best = (key, part, last - first)
    if best is not None:
        _, part, length = best
        figures.update({"loop imma": part["imma"], "loop hmma": part["hmma"], "loop instructions": length,
                        "narrow": part["narrow"]})
        for name in ("imma", "hmma"):
            if part[name]:
                figures[f"loop per {name}"] = length / part[name]
    return figures


def promises(source):
    """[(name part, [(quantity, comparison, value)])] of a file."""
    result = []
    for match in re.finditer(r"promise(?: (\w+))?: ([^\n]+)", source):
        items = []
        for item in match.group(2).rstrip(". ").split(","):
            item = item.strip()
            if item == "128-bit loads":
                items.append(("narrow", "", 0.0))
                continue
            parts = re.fullmatch(r"([a-z0-9 ]+?) ?(<=|>=)? ?([0-9.]+)", item)
            if parts is None:
                raise SystemExit(f"a promise that is not understood: '{item}'")
            items.append((parts.group(1), parts.group(2) or "", float(parts.group(3))))
        result.append((match.group(1) or "", items))
    return result


def check(where, name, compute, figures, kept):
    faults = []
    for quantity, comparison, wanted in kept:
        if quantity not in figures:
            faults.append(f"{where}: {name} sm_{compute}: nothing to count for '{quantity}'")
        elif not COMPARE[comparison](figures[quantity], wanted):
            faults.append(f"{where}: {name} sm_{compute}: {quantity} is {figures[quantity]:g}, promised "
                          f"{comparison or '='} {wanted:g}")
    return faults


def main():
    folder = pathlib.Path(sys.argv[1])
    show = "--table" in sys.argv[2:]
    faults, count, computes = [], 0, set()
    if show:
        print(f"{'kernel':46} {'sm':>4} {'reg':>4} {'instr':>6} {'imma':>5} {'hmma':>5} {'ldsm':>5} {'ldgsts':>6} "
              f"{'ldg128':>6} {'loop':>5} {'per mma':>7}")
    for source in sorted((ROOT / "cuda").rglob("*.cu")):
        found = sorted(folder.rglob(f"{source.name}.o"))
        if not found:
            faults.append(f"{source.relative_to(ROOT)}: no object file below {folder}")
            continue
        kept = promises(source.read_text(encoding="utf-8"))
        used = set()
        for compute, image in cubins(found[0].read_bytes()):
            computes.add(compute)
            for name, registers, shared, calls, code in kernels(image):
                count += 1
                figures = measure(code, compute)
                figures.update({"registers": registers, "shared": shared, "calls": len(calls)})
                where = source.relative_to(ROOT)
                mine = [(part, items) for part, items in kept if part in name]
                if not mine:
                    faults.append(f"{where}: {name} promises nothing")
                for part, items in mine:
                    used.add(part)
                    faults += check(where, name, compute, figures, items)
                if show:
                    per = figures.get("loop per imma", figures.get("loop per hmma", 0))
                    print(f"{name[:46]:46} {compute:>4} {registers:>4} {figures['instructions']:>6} {figures['imma']:>5} "
                          f"{figures['hmma']:>5} {figures['ldsm']:>5} {figures['ldgsts']:>6} {figures['ldg128']:>6} "
                          f"{figures['loop instructions']:>5} {per:>7.2f}")
        for part, _ in kept:
            if part not in used:
                faults.append(f"{source.relative_to(ROOT)}: 'promise {part}' matches no kernel")
    for fault in faults:
        print(fault)
    print(f"{count} kernels of {', '.join(f'sm_{c}' for c in sorted(computes))}: "
          f"{'every promise is kept' if not faults else str(len(faults)) + ' faults'}")
    sys.exit(1 if faults or count == 0 else 0)


if __name__ == "__main__":
    main()
