#!/usr/bin/env python3
"""Writes the seeds of fuzz_session, fuzz_client and fuzz_generate from the dialogues of rpc/spec.md.

Of fuzz_session a seed is the client's messages with things the service does between them, of fuzz_client what
the server says, of fuzz_generate one call of generate. Run by ci/golden after make_spec.py could have changed the page.
"""
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[3]
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
# fuzz_session.c: accept, more tokens than there is credit, all written; and at the end done.
SERVICE = bytes([0x82, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xf0])
DONE = bytes([0xd8, 0xf0])


def dialogues():
    """Per block of the page: its head and its messages as (mark, bytes)."""
    found, inside = [], False
    for line in (ROOT / "rpc" / "spec.md").read_text(encoding="utf-8").split("\n"):
        if line.startswith("```"):
            inside = line.startswith("```wire")
            if inside:
                found.append((line, []))
        elif inside and line.startswith("    "):
            if found[-1][1]:
                mark, data = found[-1][1][-1]
                found[-1][1][-1] = (mark, data + bytes.fromhex(line) if mark in "<>" else data)
        elif inside:
            found[-1][1].append((line[0], b""))
    return found


def received(data):
    """Ops of fuzz_session that receive the bytes."""
    return b"".join(bytes([len(data[at:at + 128]) - 1]) + data[at:at + 128] for at in range(0, len(data), 128))


def main():
    for name in ("session", "client", "generate"):
        (CORPUS / name).mkdir(exist_ok=True)
    for number, (head, messages) in enumerate(dialogues(), 1):
        flag = b"\x01" if "hello" in head else b"\x00"
        asked = b"".join(received(data) + SERVICE for mark, data in messages if mark == ">")
        said = b"".join(data for mark, data in messages if mark == "<")
        (CORPUS / "session" / f"dialogue_{number:02}").write_bytes(flag + asked + DONE)
        (CORPUS / "client" / f"dialogue_{number:02}").write_bytes(said)
        calls = [data for mark, data in messages if mark == ">" and b"generate" in data]
        for call, data in enumerate(calls, 1):
            (CORPUS / "generate" / f"dialogue_{number:02}_{call}").write_bytes(data)


if __name__ == "__main__":
    main()
