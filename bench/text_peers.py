#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Megabytes per second of the `tokenizers` package, the peer of `tessera-bench text`, one thread.

    python bench/text_peers.py TOKENIZER.json FILE... [--piece 4096] [--seconds 5]

Cuts the files into the same pieces as bench_text.c and encodes them without special tokens, with
encode_batch_fast (no offsets; its quickest way) and with encode. Prints one JSON object per peer and
file. tokenizers 0.23.3 was used.
"""
import argparse
import json
import os
import pathlib
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import tokenizers  # noqa: E402  (reads the variable)


def pieces_of(data, size):
    pieces, begin = [], 0
    while begin < len(data):
        end = min(begin + size, len(data))
        if end < len(data):
            newline = data.rfind(b"\n", begin, end)
            if newline >= 0:
                end = newline + 1
            else:
                while end > begin + 1 and data[end] & 0xC0 == 0x80:
                    end -= 1
        pieces.append(data[begin:end].decode())
        begin = end
    return pieces


def rate(work, megabytes, seconds):
    tokens = work()  # the first round fills caches and is not counted
    rounds, begin, cpu_begin = 0, time.perf_counter(), time.process_time()
    while rounds == 0 or time.perf_counter() - begin < seconds:
        work()
        rounds += 1
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu_begin
    return {"tokens": tokens, "mb_per_s": round(megabytes * rounds / wall, 3),
            "mb_per_cpu_s": round(megabytes * rounds / cpu, 3)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tokenizer")
    parser.add_argument("file", nargs="+", type=pathlib.Path)
    parser.add_argument("--piece", type=int, default=4096)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    begin = time.perf_counter()
    tokenizer = tokenizers.Tokenizer.from_file(arguments.tokenizer)
    print(json.dumps({"bench": "text", "what": "open", "peer": "tokenizers",
                      "json_ms": round((time.perf_counter() - begin) * 1000, 1)}), flush=True)
    tokenizer.encode_special_tokens = True

    def batch():
        return sum(len(e) for e in tokenizer.encode_batch_fast(pieces, add_special_tokens=False))

    def single():
        return sum(len(tokenizer.encode(p, add_special_tokens=False)) for p in pieces)

    for path in arguments.file:
        data = path.read_bytes()
        pieces = pieces_of(data, arguments.piece)
        for name, work in (("tokenizers encode_batch_fast", batch), ("tokenizers encode", single)):
            print(json.dumps({"bench": "text", "what": str(path), "peer": name, "threads": 1,
                              "tokenizer": arguments.tokenizer, "piece_bytes": arguments.piece, "bytes": len(data),
                              **rate(work, len(data) * 1e-6, arguments.seconds),
                              "version": tokenizers.__version__}), flush=True)


if __name__ == "__main__":
    main()
