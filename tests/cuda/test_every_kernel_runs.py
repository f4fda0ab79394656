#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every kernel of cuda/kernels, and every instance of a template, ran on the emulator.

    test_every_kernel_runs.py TEST_CUDA LAUNCHES

TEST_CUDA is the test program: its symbol table says which kernels there are. LAUNCHES is what it left: the place
of each kernel that was launched, in bytes from simt_launch.
"""
import pathlib
import re
import subprocess
import sys

KERNELS = pathlib.Path(__file__).resolve().parents[2] / "cuda" / "kernels"
DEFINITION = re.compile(r"\bKERNEL(?:_TEMPLATE)? void (?:KERNEL_BOUNDS\([^)]*\)\s+)?(\w+)\(")
VARIANT = re.compile(r"^(?:TILE|SPLIT)_\w+\((\w+),", re.MULTILINE)


def names_in_sources():
    names = set()
    for path in sorted(KERNELS.glob("*.cu*")):
        names |= set(DEFINITION.findall(path.read_text()))
    names |= set(VARIANT.findall((KERNELS / "linear_variants.def").read_text()))
    return names - {"name"}  # the parameter of the macros that make the variants


def symbols_of(program):
    """{demangled name: address} of the program's functions."""
    symbols = {}
    for line in subprocess.run(["nm", "-C", program], capture_output=True, text=True, check=True).stdout.splitlines():
        address, _, rest = line.partition(" ")
        if address and rest[:2] in ("T ", "t ", "W "):
            symbols[rest[2:]] = int(address, 16)
    return symbols


def main(program, launches):
    names = names_in_sources()
    symbols = symbols_of(program)
    zero = next(address for name, address in symbols.items() if name.startswith("simt_launch("))
    ran = {zero + int(line) for line in pathlib.Path(launches).read_text().split()}
    kernels, faults = {}, []
    for name, address in symbols.items():
        base = re.match(r"(?:void )?(\w+)(?:<.*>)?(?:\(.*\))?$", name)
        if base and base[1] in names:
            kernels[name] = address
    missing = names - {re.match(r"(?:void )?(\w+)", name)[1] for name in kernels}
    faults += [f"{name}: defined in cuda/kernels, but not in {program}" for name in sorted(missing)]
    faults += [f"{name}: no test launches it" for name, address in sorted(kernels.items()) if address not in ran]
    print("\n".join(faults))
    print(f"{len(kernels)} kernels, {len(kernels) - len(faults)} ran")
    return 1 if faults or len(kernels) < 30 else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
