#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tessera serve with a picture that never ends decoding: whatever ends its request ends the decoder too.

    tests/live/test_interruption.py PROGRAM      tessera_failing (blocking_decoder.c); needs python3-msgpack
"""
import os
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


def captioned(client):
    """Somebody else's picture goes through the same, only prep thread."""
    done = client.complete(picture(sorted(live.PICTURES.glob("[0-9]*.jpg"))[0]), max_tokens=2)
    return done["samples"][0]["reason"] in ("stop", "length")


class Interruption(LiveTest):
    def serve(self, *arguments):
        server = Server(self.folder, "--prep-threads", "1", *arguments,
                        environment=dict(os.environ, TESSERA_TEST_BLOCK="1"))
        self.addCleanup(server.close, None)
        self.addCleanup(server.process.kill)
        return server

    def stuck(self, server):
        """A client whose request is inside the decoder. Two pictures: the second is not begun."""
        client = server.client()
        self.addCleanup(client.socket.close)
        stream = client.generate(picture(png()) + picture(png()))
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
            done = client.complete(picture(png()) + picture(png()), deadline_ms=deadline_ms)
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


if __name__ == "__main__":
    live.main()
