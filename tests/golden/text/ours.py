# SPDX-License-Identifier: Apache-2.0
"""Our tokenizer from Python, for comparisons: compiles host/text and base into a shared library in
a temporary folder and calls the public functions by ctypes.

    from ours import Ours
    ours = Ours("tokenizer.json")
    ours.encode(b"text", parse_special=False)  # numpy array of ids
"""
import atexit
import ctypes
import pathlib
import shutil
import subprocess
import tempfile

import numpy

ROOT = pathlib.Path(__file__).resolve().parents[3]
_library = None


class TokenList(ctypes.Structure):
    _fields_ = [("ids", ctypes.POINTER(ctypes.c_int32)), ("count", ctypes.c_size_t),
                ("capacity", ctypes.c_size_t), ("failed", ctypes.c_bool)]


class Bytes(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("length", ctypes.c_size_t)]


class Error(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int32), ("text", ctypes.c_char * 1024)]


def library():
    global _library
    if _library is None:
        folder = tempfile.mkdtemp(prefix="tessera-text-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        target = pathlib.Path(folder) / "libtext.so"
        base = ["arena", "bytes", "check", "file", "hash", "json", "status", "utf8"]
        sources = [*sorted((ROOT / "host/text").glob("*.c")), *(ROOT / f"base/{name}.c" for name in base)]
        subprocess.run(["cc", "-std=c17", "-O2", "-DNDEBUG", "-D_GNU_SOURCE", "-shared", "-fPIC",
                        f"-I{ROOT}", "-o", target, *sources, "-ljansson", "-lxxhash", "-lpthread", "-lm"],
                       check=True)
        _library = ctypes.CDLL(str(target))
        _library.tokenizer_encode.argtypes = [ctypes.c_void_p, Bytes, ctypes.c_uint, ctypes.c_void_p,
                                              ctypes.POINTER(TokenList), ctypes.POINTER(Error)]
        _library.tokenizer_close.argtypes = [ctypes.c_void_p]
    return _library


class Ours:
    def __init__(self, path):
        self.handle, error = ctypes.c_void_p(), Error()
        if library().tokenizer_open_json(str(path).encode(), ctypes.byref(self.handle), ctypes.byref(error)):
            raise ValueError(error.text.decode(errors="replace"))
        self.scratch = ctypes.create_string_buffer(4096)  # a zero TokenizerScratch, with room to spare
        self.tokens = TokenList()

    def encode(self, data, parse_special=True):
        self.tokens.count = 0
        error = Error()
        if library().tokenizer_encode(self.handle, Bytes(data, len(data)), int(parse_special), self.scratch,
                                      ctypes.byref(self.tokens), ctypes.byref(error)):
            raise ValueError(error.text.decode(errors="replace"))
        return numpy.ctypeslib.as_array(self.tokens.ids, (self.tokens.count,)).copy() if self.tokens.count \
            else numpy.zeros(0, numpy.int32)
