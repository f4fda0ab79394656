#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A conversation in the terminal, streamed: chat.py ADDRESS [TOKEN]. An empty line ends it."""
import sys

from tessera_client import Client, Message


def main() -> None:
    with Client(*sys.argv[1:3]) as client:
        messages = []
        while question := input("> "):
            messages.append(Message("user", question))
            with client.stream(messages) as stream:
                for piece in stream:
                    print(piece.text, end="", flush=True)
            print()
            assert stream.answer is not None
            messages.append(Message("assistant", stream.answer.text))


if __name__ == "__main__":
    main()
