# SPDX-License-Identifier: Apache-2.0
"""A small client for the live tests of the server, made from rpc/spec.md and Debian's python3-msgpack:
nothing of our own code is on this side of the socket."""
import pathlib
import signal
import socket
import subprocess

import live
import msgpack
from live import LIMIT, eventually  # noqa: F401  (the tests take `eventually` from here)

GREEDY = {"temperature": 0, "repetition_penalty": 1.0}


class Refused(Exception):
    """An error response. `args` is (name, message); retry_after_ms is 0 when there is none."""

    def __init__(self, error):
        super().__init__(error["name"], error["message"])
        self.name = error["name"]
        self.retry_after_ms = error.get("retry_after_ms", 0)


class Client:
    def __init__(self, address, token=None, hello=True, timeout=LIMIT):
        if isinstance(address, tuple):
            self.socket = socket.create_connection(address)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(str(address))
        self.socket.settimeout(timeout)
        self.unpacker = msgpack.Unpacker(raw=False, strict_map_key=False)
        self.next_id = 1
        self.waiting = []
        if hello:
            params = {"version": 1, "client": "tests/live"}
            if token is not None:
                params["token"] = token
            try:
                self.hello = self.call("hello", **params)
            except (Refused, EOFError, OSError):
                self.socket.close()
                raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *message):
        self.socket.sendall(msgpack.packb(list(message)))

    def receive(self):
        """The next message; None when the server has closed the connection."""
        while True:
            for message in self.unpacker:
                return message
            data = self.socket.recv(1 << 16)
            if not data:
                return None
            self.unpacker.feed(data)

    def ask(self, method, **params):
        """Sends a request and returns its id."""
        call = self.next_id
        self.next_id += 1
        self.send(0, call, method, params)
        return call

    def answer(self, call):
        """The result of a request; events that come before it are kept for `event`."""
        while True:
            message = self.receive()
            if message is None:
                raise EOFError("the server has closed the connection")
            if message[0] == 1 and message[1] == call:
                if message[2] is not None:
                    raise Refused(message[2])
                return message[3]
            self.waiting.append(message)

    def call(self, method, **params):
        return self.answer(self.ask(method, **params))

    def event(self):
        """The next event as (name, params)."""
        message = self.waiting.pop(0) if self.waiting else self.receive()
        if message is None:
            raise EOFError("the server has closed the connection")
        assert message[0] == 2, message
        return message[1], message[2]

    def generate(self, content, **params):
        """Starts a stream and returns its id."""
        params.setdefault("sampling", GREEDY)
        return self.call("generate", messages=[{"role": "user", "content": content}], **params)["stream"]

    def started(self):
        """Waits for an event and leaves it for `done`."""
        name, params = self.event()
        self.waiting.insert(0, [2, name, params])

    def done(self, stream):
        """The done event of a stream, and the text of its token events by sample."""
        texts = {}
        seqs = {}
        kept = []
        while True:
            name, params = self.event()
            if params.get("id") != stream:
                kept.append([2, name, params])
                continue
            if name == "done":
                self.waiting = kept + self.waiting
                return params, texts
            index = params["index"]
            assert params["seq"] == seqs.get(index, 0), params
            seqs[index] = params["seq"] + 1
            texts[index] = texts.get(index, "") + params["text"]

    def complete(self, content, **params):
        """The done event of a request whose text comes in it."""
        return self.done(self.generate(content, **params))[0]


def answers(done):
    """The answers of a done event; what the cache spared them depends on who asked before."""
    return [{key: value for key, value in sample.items() if key != "cached_tokens"} for sample in done["samples"]]


def picture(source, question="Describe this image."):
    data = source if isinstance(source, bytes) else pathlib.Path(source).read_bytes()
    return [{"type": "image", "data": data}, {"type": "text", "text": question}]


class Server:
    """A running `tessera serve`. With `with`, it must end with status 0."""

    def __init__(self, folder, *arguments, environment=None, model=live.MODEL, program=None, gate=None):
        self.path = pathlib.Path(folder) / "tessera.sock"
        self.log_path = pathlib.Path(folder) / "server.log"
        self.log_file = open(self.log_path, "w", encoding="utf-8")
        self.gate = gate
        if gate is not None:
            program, environment = [live.HELD], gate.environment(environment)
        self.process = subprocess.Popen(
            [*(program or [live.PROGRAM]), "serve", "-m", str(model), "--socket", str(self.path), *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=self.log_file, text=True, env=environment)
        if gate is not None:
            gate.process = self.process
        self.ready = self.process.stdout.readline().split()
        if not self.ready:
            self.close(None)
            raise AssertionError("the server does not start: " + self.log())

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        status = self.stop() if self.process.poll() is None else self.process.returncode
        self.close(status)
        if kind is None and status != 0:
            raise AssertionError(f"the server ended with {status}: {self.log()[-2000:]}")

    def wait(self):
        """The status it ends with; what hangs is killed, so that nothing of a test stays behind."""
        try:
            return self.process.wait(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def close(self, _):
        self.wait()
        self.process.stdout.close()
        self.log_file.close()

    def stop(self, number=signal.SIGTERM):
        if self.gate is not None:
            self.gate.release()  # an engine that is held cannot end
        self.process.send_signal(number)
        return self.wait()

    def log(self):
        return self.log_path.read_text(encoding="utf-8")

    def client(self, **more):
        return Client(self.path, **more)

    def tcp(self):
        host, port = next(a[4:] for a in self.ready if a.startswith("tcp:")).rsplit(":", 1)
        return host, int(port)

    def metrics(self):
        return next(a[8:] for a in self.ready if a.startswith("metrics:"))
