"""Builds the demo model's tokenizer.json: byte-fallback BPE of Gemma's form with a small vocabulary.

Owns: the order of the vocabulary and the merges. Promises: the same file on every run; every word
of the caption grammar is one piece; any text at all encodes and decodes back to itself.

How the merges work: a word such as "_fox" is reached through its prefixes ("_f", "_fo", "_fox").
All merges that grow a prefix starting with the space mark come first, so at any place in a text
they walk that word list letter by letter and nothing else can take a letter away from them. The
merges for words without a space before them follow, in an order found by trial in which no word
loses a letter to another's merges.
"""
import sys

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

import scenes
import wording

MARK = "\u2581"
SIZE = 1536
SPECIAL_FRONT = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|tool>", "<tool|>", "<|tool_call>",
                 "<tool_call|>", "<|tool_response>", "<tool_response|>", '<|"|>', "<|think|>",
                 "<|channel>", "<channel|>", "<|turn>", "<turn|>"]
SPECIAL_BACK = ["<|image>", "<|audio>", "<|image|>", "<|audio|>", "<image|>", "<audio|>", "<|video|>"]


def texts():
    """One specimen of everything the model is trained to read or say."""
    found = wording.CAPTION + wording.COUNT + wording.COLOUR + wording.WRITE + wording.SYSTEM
    found += [c for c in scenes.COLOUR_NAMES] + ["1", "2", "3"]
    for name in scenes.NAME_OF:
        found.append(wording.WRITE_ABOUT.format(scenes.with_article(name)))
        found.append(f"a {name} above an {name} to the left of a {name}, a {name} and a {name}")
    for colour in scenes.COLOUR_NAMES:
        found.append(f"a fox on a {colour} background.")
        found.append(f"an ice cream on an {colour} background.")
        for count in wording.NUMBERS.values():
            found.append(wording.THOUGHT.format(count, colour))
    return found + ["system", "user", "model", "thought"]


def words_of(text):
    """The pieces a text should come out as: words with their space, marks and digits alone."""
    pieces, word = [], ""
    for ch in text.replace(" ", MARK):
        if ch == MARK or ch in ".,?":
            pieces.append(word)
            word = ""
        word += ch
        if ch in ".,?":
            pieces.append(word)
            word = ""
    return [p for p in pieces + [word] if p]


def build():
    """Try orders of the bare words until every specimen text encodes word by word."""
    first = []
    for _ in range(100):
        tokenizer, fill = assemble(first)
        bad = next((t for t in texts() if tokenizer.encode(t).tokens != words_of(t)), None)
        if bad is None:
            break
        first.insert(0, words_of(bad)[0])
    assert bad is None, bad
    for text in ["caf\u00e9 \U0001f600 x  y\n\n\nz\t~", "The quick brown fox: {\"a\": [1, 2]}"]:
        assert tokenizer.decode(tokenizer.encode(text).ids) == text, text
    return tokenizer, fill


def assemble(first):
    """One tokenizer; the bare words named in `first` get their merges before the other bare ones."""
    pieces = []
    for text in texts():
        pieces += words_of(text)
    wanted = list(dict.fromkeys(p for p in pieces if len(p) > 1))
    marked = [p for p in wanted if p[0] == MARK]
    bare = [p for p in wanted if p[0] != MARK]
    bare = list(dict.fromkeys(first + bare))

    vocabulary = SPECIAL_FRONT + ["\n", "\n\n"] + [f"<0x{b:02X}>" for b in range(256)]
    vocabulary += [chr(c) for c in range(33, 127)] + [MARK]
    known, merges = set(vocabulary), [("\n", "\n")]

    def reach(word):
        for end in range(2, len(word) + 1):
            if word[:end] not in known:
                known.add(word[:end])
                vocabulary.append(word[:end])
                merges.append((word[:end - 1], word[end - 1]))

    room = SIZE - len(SPECIAL_BACK) - sum(len(w) - 1 for w in bare)
    for word in marked:
        reach(word)
    for word in wording.MORE_WORDS:
        if len(vocabulary) + len(word) > room:
            break
        reach(MARK + word)
    for word in bare:
        reach(word)
    assert len(vocabulary) + len(SPECIAL_BACK) <= SIZE, len(vocabulary)
    fill = SIZE - len(vocabulary) - len(SPECIAL_BACK)
    vocabulary += [f"<unused{i}>" for i in range(fill)] + SPECIAL_BACK

    tokenizer = Tokenizer(models.BPE(vocab={p: i for i, p in enumerate(vocabulary)}, merges=merges,
                                     unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", MARK)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True)
                                  for t in SPECIAL_FRONT + SPECIAL_BACK])
    return tokenizer, fill


if __name__ == "__main__":  # python tokenizer.py tokenizer.json
    made, unused = build()
    made.save(sys.argv[1])
    print(made.get_vocab_size(), "entries,", unused, "unused")
