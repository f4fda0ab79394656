#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tessera serve when one allocation fails, whichever: allocation number N of a dialogue, and of a start while clients
connect. What asked for the memory may end with an error. Afterwards a new client is answered as ever, an old one too, and
nobody has seen a message that is not of the protocol.

    tests/live/test_memory.py PROGRAM LIBRARY        failing_malloc; needs python3-msgpack
    TESSERA_TEST_STRIDE=1 tests/live/...             every N (minutes); without it some dozens of them
"""
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import urllib.error
import urllib.request

import live
from live import LIMIT, LiveTest, eventually
from rpc import Client, Refused, Server, picture

NEVER = 2**64 - 1
RUNS = 40  # of a scan, when no stride is given
CLIENTS = 140
FILE = sorted(live.PICTURES.glob("[0-9]*"))[0]
HELLO = {"version", "server", "user", "features", "message_bytes", "in_flight", "credit", "stream_bytes", "idle_ms"}


class Allocations:
    """The file that failing_malloc.c shares with us."""

    def __init__(self, folder):
        self.path = folder / "allocations"
        self.path.write_bytes(bytes(16))
        with open(self.path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 16)

    def environment(self, **more):
        return dict(os.environ, LD_PRELOAD=LIBRARY, TESSERA_TEST_ALLOCATIONS=str(self.path), **more)

    def fail_at(self, number):
        self.map[:] = struct.pack("=QQ", number, 0)

    def stop(self):
        """Nothing fails from here on; how many were counted."""
        count = struct.unpack("=QQ", self.map[:])[1]
        self.map[:8] = bytes(8)
        return count


class Strict(Client):
    """Fails the test at a message that no server may send."""

    def receive(self):
        message = super().receive()
        if message is None:
            return None
        assert isinstance(message, list) and message, message
        if message[0] == 1:
            assert len(message) == 4 and message[1] in range(1, self.next_id), message
            assert (message[2] is None) != (message[3] is None), message
            assert message[2] is None or {"code", "name", "message"} <= set(message[2]), message
        else:
            assert message[0] == 2 and len(message) == 3 and isinstance(message[2], dict), message
            assert message[1] in ("token", "done", "goodbye"), message
        return message


def ask_everything(client):
    """Every kind of call once; one that is refused for want of memory is left out."""
    def asked(method, **params):
        try:
            return client.call(method, **params)
        except Refused as refusal:
            return refusal.args

    def streamed(content, **params):
        accepted = asked("generate", messages=[{"role": "user", "content": content}], max_tokens=3, **params)
        if "stream" in accepted:
            client.done(accepted["stream"])

    asked("api_info")
    asked("models")
    blob = asked("put_blob", data=FILE.read_bytes())
    if "blob" in blob:
        streamed([{"type": "image", "blob": blob["blob"]}, {"type": "text", "text": "Describe."}], n=2, stream=True)
    streamed(picture(FILE), logprobs=2, stop=["zebra"])
    streamed("Weather?", tools=[{"name": "weather", "parameters": '{"type":"object","properties":{}}'}],
             tool_choice="auto")
    asked("tokenize", text="some words")
    asked("stats")
    asked("cancel", id=1)
    asked("no_such_method")


def http(server, page):
    try:
        with urllib.request.urlopen(server.metrics().replace("/metrics", page), timeout=LIMIT) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:  # closed without an answer
        return 0, str(error)


class Memory(LiveTest):
    def setUp(self):
        super().setUp()
        self.allocations = Allocations(self.folder)
        self.users = self.folder / "users.conf"
        self.users.write_text("user local token=none\n", encoding="utf-8")

    def serve(self):
        server = Server(self.folder, "--users", self.users, "--metrics-port", "0", "--listen", "127.0.0.1:0",
                        environment=self.allocations.environment())
        self.addCleanup(server.close, None)
        self.addCleanup(server.process.kill)
        return server

    def numbers(self, count):
        stride = int(os.environ.get("TESSERA_TEST_STRIDE", 0)) or max(count // RUNS, 1)
        return range(1, count + stride, stride)

    def is_well(self, server, number):
        """A new client is served, health says so, nothing is left of what failed."""
        with Strict(server.path) as client:
            self.assertEqual(set(client.hello), HELLO)
            self.assertEqual(client.call("health")["status"], "ok", number)
            done = client.complete(picture(FILE), max_tokens=8)
            self.assertEqual(done["samples"][0]["reason"], self.expected["samples"][0]["reason"], (number, done))
            self.assertEqual(done["samples"][0]["text"], self.expected["samples"][0]["text"], number)

            def idle():
                stats = client.call("stats")["server"]
                return not any(stats[name] for name in ("preparing", "waiting", "running", "queued_tokens"))
            eventually(idle, f"an empty server after allocation {number}")
        with Strict(server.tcp()) as client:
            client.call("health")
        self.assertEqual(http(server, "/health")[0], 200, number)

    def dialogue(self, server):
        try:
            with Strict(server.path) as client:
                ask_everything(client)
        except (Refused, EOFError, ConnectionError):
            pass  # its connection ended, which is an answer too
        http(server, "/metrics")
        http(server, "/health")
        reloads = server.log().count(" users ")
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: server.log().count(" users ") > reloads, "the reload")

    def test_a_dialogue(self):
        server = self.serve()
        with Strict(server.path) as old:
            self.expected = old.complete(picture(FILE), max_tokens=8)
            self.dialogue(server)  # what is allocated once
            self.allocations.fail_at(NEVER)
            self.dialogue(server)
            count = self.allocations.stop()
            self.assertGreater(count, 100)
            for number in self.numbers(count):
                self.allocations.fail_at(number)
                self.dialogue(server)
                self.allocations.stop()
                self.assertIsNone(server.process.poll(), (number, server.log()[-2000:]))
                self.assertEqual(old.call("health")["status"], "ok", number)
                self.is_well(server, number)
        self.assertEqual(server.stop(), 0)

    def start(self, number):
        """A start in which one allocation fails while clients connect; the server if it comes up."""
        self.allocations.fail_at(number)
        server = Server.__new__(Server)
        server.gate = None
        server.path, server.log_path = self.folder / "tessera.sock", self.folder / "server.log"
        server.log_file = open(server.log_path, "w", encoding="utf-8")
        server.process = subprocess.Popen(
            [live.PROGRAM, "serve", "-m", live.MODEL, "--socket", server.path, "--users", self.users, "--metrics-port",
             "0", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=server.log_file, text=True,
            env=self.allocations.environment())
        clients = []
        eventually(lambda: server.path.exists() or server.process.poll() is not None, "a socket or an end")
        for _ in range(CLIENTS):
            try:
                clients.append(socket.socket(socket.AF_UNIX))
                clients[-1].connect(str(server.path))
            except OSError:  # not yet, or no more
                continue
        self.addCleanup(lambda: [client.close() for client in clients])
        self.addCleanup(server.close, None)
        self.addCleanup(server.process.kill)
        server.ready = server.process.stdout.readline().split()
        self.count = self.allocations.stop()
        return server, clients

    def test_a_start_with_clients_connecting(self):
        server, clients = self.start(NEVER)
        with Strict(server.path) as client:
            self.expected = client.complete(picture(FILE), max_tokens=8)
        count = self.count
        for number in [0, *self.numbers(count)]:
            if number > 0:
                server, clients = self.start(number)
            if server.ready:
                self.is_well(server, number)
                self.assertEqual(server.stop(), 0, (number, server.log()))
            else:
                # libuv ends the process itself where its first table of descriptors finds no memory.
                self.assertIn(server.wait(), (2, 3, -signal.SIGABRT), (number, server.log()))
                if server.process.returncode > 0:
                    self.assertIn("tessera serve: ", server.log(), number)
            for client in clients:
                client.close()
            server.close(None)
            self.assertEqual([*self.folder.glob("tessera.sock*")] if server.process.returncode >= 0 else [], [])


if __name__ == "__main__":
    LIBRARY = sys.argv.pop(2)
    live.main()
