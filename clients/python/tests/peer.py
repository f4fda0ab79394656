# SPDX-License-Identifier: Apache-2.0
"""A server made of a thread, for the tests: it echoes. The text of the last message says what it does:

    "busy TEXT"     refused once with 20 ms, then echoed
    "fail"          accepted, then done with E_DEVICE
    "hang"          accepted, then nothing until it is cancelled
    "drop"          the connection is closed
    "nonsense"      bytes of another protocol
    anything else   the text comes back word by word, each word with a space, as credit allows
"""
import collections
import os
import socket
import tempfile
import threading

import msgpack

CREDIT = 4
LIMIT = 600  # seconds; only what hangs reaches it


class Peer:
    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="tessera-peer-")
        self.address = "unix:" + os.path.join(self._folder.name, "s")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.address[5:])
        self._listener.listen(8)
        self.seen = []       # params of generate
        self.cancelled = []  # ids of streams
        self.credited = 0
        self.changed = threading.Condition()
        threading.Thread(target=self._accept, daemon=True).start()

    def note(self, kept, item):
        with self.changed:
            kept.append(item)
            self.changed.notify_all()

    def wait_for(self, condition):
        """Waits until a condition of what it has seen or cancelled holds."""
        with self.changed:
            assert self.changed.wait_for(condition, LIMIT), "what the test waits for has not come"

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._folder.cleanup()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=Session(self, connection).run, daemon=True).start()


class Session:
    def __init__(self, peer, connection):
        self.peer = peer
        self.connection = connection
        self.next_stream = 100
        self.refused = set()
        self.waiting = {}  # stream -> words not sent
        self.credit = collections.Counter()
        self.sent = collections.Counter()

    def run(self):
        unpacker = msgpack.Unpacker(raw=False, max_buffer_size=1 << 26)
        with self.connection:
            while data := self.connection.recv(65536):
                unpacker.feed(data)
                for message in unpacker:
                    if message[0] == 0:
                        self.request(*message[1:])
                    else:
                        self.notification(*message[1:])

    def send(self, message):
        self.connection.sendall(msgpack.packb(message))

    def request(self, call, method, params):
        if method == "hello":
            if params.get("token") == "wrong":
                error = {"code": -1405, "name": "E_AUTH", "message": "the token is not known here"}
                self.send([1, call, error, None])
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send([1, call, None, {"version": 1, "server": "peer", "user": "alice", "features": ["images"],
                                       "credit": CREDIT, "a_later_field": 1}])
        elif method == "generate":
            self.generate(call, params)
        elif method == "put_blob":
            self.send([1, call, None, {"blob": "%032x" % len(params["data"])}])
        elif method == "tokenize":
            self.send([1, call, None, {"ids": [ord(c) for c in params["text"]]}])
        elif method == "models":
            self.send([1, call, None, {"models": [{"name": "echo", "vision": True, "budget": 280,
                                                   "sampling": {"temperature": 1.0, "top_k": 64}}]}])
        elif method == "stats":
            self.send([1, call, None, {"server": {"running": 1}, "users": []}])
        elif method == "health":
            self.send([1, call, None, {"status": "ok"}])
        else:
            self.notification(method, params)
            self.send([1, call, None, {}])

    def generate(self, call, params):
        self.peer.note(self.peer.seen, params)
        content = params["messages"][-1]["content"]
        text = content if isinstance(content, str) else content[-1]["text"]
        word, _, rest = text.partition(" ")
        if word == "drop":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if word == "nonsense":
            self.connection.sendall(b"HTTP/1.1 400 Bad Request\r\n")
            return
        if word == "busy" and text not in self.refused:
            self.refused.add(text)
            self.send([1, call, {"code": -1009, "name": "E_BUSY", "message": "busy", "retry_after_ms": 20}, None])
            return
        stream = self.next_stream
        self.next_stream += 1
        self.send([1, call, None, {"stream": stream}])
        if word == "fail":
            self.done(stream, "error", text="", error={"code": -1501, "name": "E_DEVICE",
                                                       "message": "the accelerator failed"})
        elif word != "hang":
            words = [piece + " " for piece in (rest if word == "busy" else text).split()]
            if params["stream"]:
                self.waiting[stream] = words
                self.credit[stream] = CREDIT
                self.flow(stream)
            else:
                self.done(stream, "stop", text="".join(words), ids=list(range(len(words))))

    def flow(self, stream):
        words = self.waiting[stream]
        while words and self.credit[stream] > 0:
            self.send([2, "token", {"id": stream, "index": 0, "seq": self.sent[stream], "text": words.pop(0),
                                    "ids": [self.sent[stream]]}])
            self.sent[stream] += 1
            self.credit[stream] -= 1
        if not words:
            del self.waiting[stream]
            self.done(stream, "stop")

    def done(self, stream, reason, error=None, **sample):
        if "text" in sample:
            sample.setdefault("ids", [])
        body = {"id": stream, "samples": [{"reason": reason, "tokens": len(sample.get("ids", ())), **sample}],
                "usage": {"prompt_tokens": 7, "output_tokens": 3}, "timings": {"total_ms": 1.5}}
        if error is not None:
            body["error"] = error
        self.send([2, "done", body])

    def notification(self, method, params):
        stream = params["id"]
        if method == "cancel":
            self.peer.note(self.peer.cancelled, stream)
            self.waiting.pop(stream, None)
            self.done(stream, "cancel")
        elif method == "credit":
            self.peer.credited += params["n"]
            self.credit[stream] += params["n"]
            if stream in self.waiting:
                self.flow(stream)
