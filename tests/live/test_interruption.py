#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tessera serve with a picture that never ends decoding: whatever ends its request ends the decoder too. PNG is decoded
on a thread, which is told; WebP in a process, which is killed.

    tests/live/test_interruption.py PROGRAM      tessera_failing (blocking_decoder.c); needs python3-msgpack
"""
import os
import pathlib
import signal
import struct
import zlib

import live
from live import LiveTest, eventually
from rpc import Server, picture


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png():
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9 * 8)))
            + chunk(b"IEND", b""))


def webp(width, height):
    """A picture of one colour, lossless: 28 bytes at any size."""
    # Sizes, no transparency, version 0, no transform, no cache, one group of five codes with the one symbol 0 each.
    bits = width - 1 | height - 1 << 14 | sum(1 << 35 + 4 * code for code in range(5))
    data = b"\x2f" + bits.to_bytes(7, "little")
    return b"RIFF" + struct.pack("<I", 12 + len(data)) + b"WEBPVP8L" + struct.pack("<I", len(data)) + data


def parent(process):
    """Who started a process; None when it has ended."""
    try:
        state, number = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return int(number) if state != "Z" else None


def decoders(server):
    """The processes that a server has started."""
    return [int(path.name) for path in pathlib.Path("/proc").glob("[0-9]*") if parent(path.name) == server.process.pid]


def shared_bytes(server):
    """The memory that a server shares with its decoders."""
    size = 0
    for path in pathlib.Path(f"/proc/{server.process.pid}/fd").iterdir():
        try:
            size += path.stat().st_size if "memfd:tessera-picture" in os.readlink(path) else 0
        except OSError:
            continue
    return size


def captioned(client):
    """Somebody else's picture goes through the same, only prep thread."""
    done = client.complete(picture(sorted(live.PICTURES.glob("[0-9]*.jpg"))[0]), max_tokens=2)
    return done["samples"][0]["reason"] in ("stop", "length")


class Interruption(LiveTest):
    file = png()
    environment = {"TESSERA_TEST_BLOCK": "1"}

    def serve(self, *arguments, prep_threads="1"):
        server = Server(self.folder, "--prep-threads", prep_threads, *arguments,
                        environment=dict(os.environ, **self.environment))
        self.addCleanup(server.close, None)
        self.addCleanup(server.process.kill)
        return server

    def stuck(self, server):
        """A client whose request is inside the decoder. Two pictures: the second is not begun."""
        client = server.client()
        self.addCleanup(client.socket.close)
        stream = client.generate(picture(self.file) + picture(self.file))
        eventually(lambda: "test_decoding" in server.log(), "the decoder")
        return client, stream

    def ended(self, server):
        """The decoder was told, once: it had one picture of the two."""
        eventually(lambda: "test_told" in server.log(), "the end of the decoder")
        self.assertEqual(server.log().count("test_decoding"), 1)

    def test_cancel(self):
        server = self.serve()
        client, stream = self.stuck(server)
        client.send(2, "cancel", {"id": stream})
        self.assertEqual(client.done(stream)[0]["samples"][0]["reason"], "cancel")
        self.ended(server)
        self.assertTrue(captioned(client))
        self.assertEqual(server.stop(), 0)

    def test_a_deadline(self):
        server = self.serve()
        client = server.client()
        self.addCleanup(client.socket.close)
        deadline_ms = 200
        while "test_decoding" not in server.log():  # on a loaded machine it may pass before a thread has the picture
            deadline_ms *= 2
            done = client.complete(picture(self.file) + picture(self.file), deadline_ms=deadline_ms)
            self.assertEqual(done["samples"][0]["reason"], "deadline")
        self.ended(server)
        self.assertTrue(captioned(client))
        self.assertEqual(server.stop(), 0)

    def test_a_disconnect(self):
        server = self.serve()
        client, _ = self.stuck(server)
        client.socket.close()
        with server.client() as other:
            self.assertTrue(captioned(other))
        self.ended(server)
        self.assertEqual(server.stop(), 0)

    def test_the_end_of_a_drain(self):
        server = self.serve("--drain", "1")
        client, stream = self.stuck(server)
        self.assertEqual(server.stop(), 0)
        self.ended(server)
        self.assertEqual(client.done(stream)[0]["error"]["name"], "E_DRAIN")

    def test_a_second_signal(self):
        server = self.serve("--drain", "3600")
        client, stream = self.stuck(server)
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: "stop_listening" in server.log(), "the first signal")
        self.assertEqual(server.stop(), 0)
        self.ended(server)
        self.assertEqual(client.done(stream)[0]["error"]["name"], "E_DRAIN")


class WebpInterruption(Interruption):
    """Every test above with the decoder of fake_decoder.c, which never looks at anything."""
    file = webp(10000, 10000)

    def ended(self, server):
        eventually(lambda: not decoders(server), "the end of the decoder")
        self.assertEqual(server.log().count("test_decoding"), 1)

    def test_neighbours_are_answered_meanwhile(self):
        server = self.serve(prep_threads="2")
        neighbour = picture(sorted(live.PICTURES.glob("[0-9]*.jpg"))[0])
        with server.client() as other:
            alone = other.complete(neighbour, max_tokens=8)["samples"]
            client, stream = self.stuck(server)
            self.assertEqual(other.complete(neighbour, max_tokens=8)["samples"][0]["text"], alone[0]["text"])
            client.send(2, "cancel", {"id": stream})
            self.assertEqual(client.done(stream)[0]["samples"][0]["reason"], "cancel")
            self.ended(server)
        self.assertEqual(server.stop(), 0)


class Decoder(Interruption):
    """The real decoder, and a hundred megapixels in 28 bytes. It is stopped while it waits for them, so they never end."""
    environment = {}

    def stuck(self, server):
        client = server.client()
        self.addCleanup(client.socket.close)
        first = client.complete(picture(webp(9000, 10000)), max_tokens=2)
        self.assertIn(first["samples"][0]["reason"], ("stop", "length"))
        self.stopped, = decoders(server)
        os.kill(self.stopped, signal.SIGSTOP)
        before = shared_bytes(server)
        stream = client.generate(picture(webp(10000, 10000)))
        eventually(lambda: shared_bytes(server) > before, "the memory of the second picture")
        return client, stream

    def ended(self, server):
        eventually(lambda: parent(self.stopped) is None, "the end of the decoder")

    test_a_deadline = None  # needs a picture that begins in time

    def test_a_killed_server(self):
        server = self.serve()
        self.stuck(server)
        server.process.kill()
        self.ended(server)

    def test_a_killed_decoder(self):
        server = self.serve()
        client, stream = self.stuck(server)
        os.kill(self.stopped, signal.SIGKILL)
        done = client.done(stream)[0]
        # Killed before it had the picture it was replaced, and nobody knows.
        self.assertIn(done.get("error", {}).get("name"), (None, "E_MEMORY"))
        self.assertTrue(captioned(client))
        self.ended(server)
        self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    live.main()
