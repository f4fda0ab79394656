# SPDX-License-Identifier: Apache-2.0
"""Trains tokenizers of Gemma's form with the `tokenizers` package, from texts found on a machine.

Gemma's own tokenizer.json cannot be downloaded without an account, so these stand in for it: BPE
with byte fallback, a Replace normalizer, no prefix space, the control tokens by Gemma's names,
newline runs and space runs as pieces, and, on purpose, pieces with a space mark in the middle.
"""
import json
import pathlib

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

MARK = "\u2581"
CONTROL = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>",
           "<|tool_response>", "<tool_response|>", '<|"|>', "<|think|>", "<|channel>", "<channel|>", "<|turn>",
           "<turn|>", "<|image>", "<|audio>", "<|image|>", "<|audio|>", "<image|>", "<audio|>", "<|video|>"]
TAGS = ["<table>", "</table>", "<h1>", "</h1>", "<b>", "</b>"]


def corpus(bytes_max):
    """Texts of this machine: CLDR annotations, Python sources, copyright files and READMEs."""
    paths = []
    for root, pattern in (("/usr/share/unicode/cldr/common/annotations", "*.xml"), ("/usr/lib/python3.11", "*.py"),
                          ("/usr/share/doc", "copyright"), ("/usr/share/perl", "*.pod")):
        paths += sorted(pathlib.Path(root).rglob(pattern))
    left = bytes_max
    stride = max(1, len(paths) // 4000)
    for path in paths[::stride]:
        text = path.read_bytes()[:60000].decode(errors="ignore")
        left -= len(text.encode())
        if left < 0:
            return
        yield text


def train(size, bytes_max, crossing=True):
    """tokenizer.json as a dict, about `size` entries."""
    trained = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    trained.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"\n+"), "isolated"),
        pre_tokenizers.Split(Regex(f"{MARK}+[^{MARK}\n]*"), "isolated")])
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, max_token_length=24,
                                  limit_alphabet=size // 3)
    trained.train_from_iterator((t.replace(" ", MARK) for t in corpus(bytes_max)), trainer)
    model = json.loads(trained.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].get)
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]

    # Runs first: as in Gemma they are listed before the bytes.
    runs, run_merges = [], []
    for mark, longest in (("\n", 8), (MARK, 12), ("\t", 4)):
        for length in range(2, longest + 1):
            runs.append(mark * length)
            run_merges.append((mark * (length - 1), mark) if length % 2 else (mark * (length // 2),) * 2)
    front = CONTROL + [f"<unused{i}>" for i in range(8)] + TAGS + runs + [f"<0x{b:02X}>" for b in range(256)]
    vocab = {}
    for piece in front + pieces + ["\n", "\t", MARK]:
        vocab.setdefault(piece, len(vocab))
    merges = list(dict.fromkeys([*run_merges, *merges]))
    if crossing:  # pieces that reach over a space, which no tokenizer of Gemma's form is known to have
        for left, right in ((f"{MARK}of", f"{MARK}the"), ("e", MARK), (f"{MARK}in", f"{MARK}a"), ("s", f"{MARK}a"),
                            (".", f"{MARK}"), (f"{MARK}a", f"{MARK}b")):
            if left in vocab and right in vocab:
                vocab.setdefault(left + right, len(vocab))
                merges.append((left, right))
    return tokenizer_json(vocab, merges)


def tokenizer_json(vocab, merges, **changes):
    def added(content, special):
        return {"id": vocab[content], "content": content, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": special}
    tokens = [added(c, True) for c in CONTROL if c in vocab] + [added(t, False) for t in TAGS if t in vocab]
    root = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": sorted(tokens, key=lambda t: t["id"]),
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": MARK},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False},
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": MARK}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": vocab, "merges": [list(m) for m in merges]},
    }
    root.update(changes)
    return root


def variants():
    """Small tokenizers that use each option once: name -> tokenizer.json as a dict."""
    base = train(420, 400_000)
    vocab, merges = base["model"]["vocab"], [tuple(m) for m in base["model"]["merges"]]

    def variant(model=None, **changes):
        root = tokenizer_json(vocab, merges, **changes)
        root["model"].update(model or {})
        return root

    no_bytes = {p: i for i, p in enumerate(p for p in vocab if not p.startswith("<0x"))}
    spaced = {p.replace(MARK, " "): i for i, p in enumerate(vocab)}
    strip = variant()
    for token in strip["added_tokens"]:
        token["lstrip"] = token["content"] in ("<mask>", "<b>")
        token["rstrip"] = token["content"] in ("<mask>", "</b>")
    strip["added_tokens"].append({"id": len(vocab), "content": "of the", "single_word": False, "lstrip": False,
                                  "rstrip": False, "normalized": True, "special": False})
    strip["added_tokens"].append({"id": vocab["in"], "content": "in", "single_word": False, "lstrip": False,
                                  "rstrip": True, "normalized": True, "special": False})
    results = {
        # Merges of bytes, one of them from the end of one character to the next (joiner and emoji):
        # no place is safe to cut.
        "whole": variant({"merges": [*map(list, merges), ["<0xF0>", "<0x9F>"], ["<0x8D>", "<0xF0><0x9F>"]],
                          "vocab": {**vocab, "<0xF0><0x9F>": len(vocab), "<0x8D><0xF0><0x9F>": len(vocab) + 1}}),
        "unknown_fused": variant({"byte_fallback": False}),
        "unknown_single": tokenizer_json(no_bytes, [m for m in merges if "".join(m) in no_bytes]),
        "unknown_dropped": variant({"byte_fallback": False, "unk_token": None}),
        "ignore_merges": variant({"ignore_merges": True, "merges": [f"{a} {b}" for a, b in merges[:60]]}),
        "spaces": tokenizer_json(spaced, [(a.replace(MARK, " "), b.replace(MARK, " ")) for a, b in merges],
                                 normalizer=None),
        "strip": strip,
        "two_steps": variant(normalizer={"type": "Sequence", "normalizers": [
            {"type": "Replace", "pattern": {"String": "``"}, "content": "\""},
            {"type": "Replace", "pattern": {"String": " "}, "content": MARK}]}, pre_tokenizer=None),
    }
    results["unknown_single"]["model"].update(fuse_unk=False)
    return results
