# SPDX-License-Identifier: Apache-2.0
"""What the `tokenizers` package says, and our one addition to it.

The package takes text, not bytes. Our rule for bytes that are not UTF-8 is that each becomes its
own byte token; the expectation for such a text is what the package says of the valid stretches,
with those byte tokens between them. Python's surrogateescape decides which bytes are not valid.

One thing we do not copy: with ignore_merges, a plain text that spells a control token exactly is
given that token by the package even when told to encode control tokens as text. encode returns None
for those; the tests then ask only that ours holds no control token. It also returns None for invalid
UTF-8 when merges join byte tokens, where the stretches cannot be taken one by one.
"""
import json
import re

from tokenizers import Tokenizer


class Expected:
    def __init__(self, path):
        self.tokenizer = Tokenizer.from_file(str(path))
        with open(path, encoding="utf-8") as file:
            model = json.load(file)["model"]
        self.ignore_merges, self.byte_fallback = model["ignore_merges"], model["byte_fallback"]
        self.byte_merges = any("<0x" in part for merge in model["merges"] for part in merge)
        if "<0x00>" not in model["vocab"]:
            self.byte_fallback = False
        added = self.tokenizer.get_added_tokens_decoder().values()
        self.specials = sorted(t.content for t in added)
        self.control = {i for i, t in self.tokenizer.get_added_tokens_decoder().items() if t.special}
        self.pieces = sorted(self.tokenizer.get_vocab(with_added_tokens=False))

    def encode(self, data, parse_special):
        self.tokenizer.encode_special_tokens = not parse_special
        text = data.decode(errors="surrogateescape")
        if not self.byte_fallback:  # then such a byte is an unknown character, as U+FFFD is
            text = re.sub("[\udc80-\udcff]", "\ufffd", text)
        elif self.byte_merges and re.search("[\udc80-\udcff]", text):
            return None
        ids = []
        for part in re.split("([\udc80-\udcff])", text):
            if len(part) == 1 and "\udc80" <= part <= "\udcff":
                ids.append(self.tokenizer.token_to_id(f"<0x{ord(part) - 0xdc00:02X}>"))
            elif part:
                ids += self.tokenizer.encode(part, add_special_tokens=False).ids
        if self.ignore_merges and not parse_special and self.control.intersection(ids):
            return None
        return ids

    def decode(self, ids, skip_special):
        return self.tokenizer.decode(ids, skip_special_tokens=skip_special)
