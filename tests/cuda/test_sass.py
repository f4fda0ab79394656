#!/usr/bin/env python3
"""ci/sass.py sees what it is there to see: kernels with planted faults, compiled by nvcc, must be named.

    tests/cuda/test_sass.py        (needs nvcc)
"""
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "ci"))
import sass  # noqa: E402

SOURCE = r"""
#include <stdint.h>
extern "C" __global__ void spills(int *p, int n) {
    int a[64];
    for (int i = 0; i < 64; i++) a[i] = p[i];
    for (int i = 0; i < n; i++) a[p[i] & 63] += a[p[i] >> 8 & 63];
    for (int i = 0; i < 64; i++) p[i] = a[i];
}
extern "C" __global__ void products(int *o, const uint4 *a, const uint2 *b, int n) {
    int d[4] = {0, 0, 0, 0};
#pragma unroll 1
    for (int i = 0; i < n; i++) {
        uint4 x = a[i];
        uint2 y = b[i];
        asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                     : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                     : "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w), "r"(y.x), "r"(y.y));
    }
    for (int i = 0; i < 4; i++) o[i] = d[i];
}
extern "C" __global__ void divides(float *p) { p[0] = p[1] / p[2]; }
extern "C" __global__ void emulated(int *o, const uint32_t *a, const uint32_t *b) {
    int d[4] = {0, 0, 0, 0};
    asm volatile("mma.sync.aligned.m16n8k64.row.col.s32.s4.s4.s32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    for (int i = 0; i < 4; i++) o[i] = d[i];
}
"""


def figures_of(compute, folder):
    source, result = folder / "planted.cu", folder / f"planted{compute}.o"
    source.write_text(SOURCE)
    subprocess.run(["nvcc", "-c", "-no-compress", "-std=c++17", f"-gencode=arch=compute_{compute},code=sm_{compute}",
                    str(source), "-o", str(result)], check=True)
    found = {}
    for built_for, image in sass.cubins(result.read_bytes()):
        assert built_for == compute, f"architecture {built_for} instead of {compute}"
        for name, registers, shared, calls, code in sass.kernels(image):
            found[name] = sass.measure(code, compute) | {"registers": registers, "shared": shared, "calls": len(calls)}
    return found


def main():
    with tempfile.TemporaryDirectory() as name:
        for compute in (86, 120):
            k = figures_of(compute, pathlib.Path(name))
            assert set(k) == {"spills", "products", "divides", "emulated"}, k.keys()
            assert k["spills"]["spills"] > 0 and k["products"]["spills"] == 0
            assert k["products"]["imma"] == 1 and k["products"]["loop imma"] == 1
            assert k["products"]["narrow"] == 1 and k["products"]["ldg128"] == 1, "a 64-bit load beside a 128-bit one"
            assert 2 <= k["products"]["loop instructions"] < 40, k["products"]
            assert k["divides"]["calls"] == 0, "the slow path of a division is no emulated instruction"
            assert k["emulated"]["calls"] == (1 if compute == 120 else 0), k["emulated"]
            assert all(0 < f["registers"] <= 255 for f in k.values())
            faults = sass.check("planted.cu", "spills", compute, k["spills"], [("spills", "", 0.0)])
            assert len(faults) == 1 and "spills is" in faults[0], faults
            faults = sass.check("planted.cu", "products", compute, k["products"], [("loop per imma", "<=", 1.0)])
            assert len(faults) == 1 and "promised <= 1" in faults[0], faults
    text = "// promise: spills 0, calls 0, 128-bit loads\n// promise w4a8: loop per imma <= 3.5, imma >= 64.\n"
    assert sass.promises(text) == [
        ("", [("spills", "", 0.0), ("calls", "", 0.0), ("narrow", "", 0.0)]),
        ("w4a8", [("loop per imma", "<=", 3.5), ("imma", ">=", 64.0)])]
    print("planted faults are seen")


if __name__ == "__main__":
    main()
