# SPDX-License-Identifier: Apache-2.0
"""A server that is none of ours: it speaks the protocol (rpc/spec.md) and says whatever a test lets it say."""
import pathlib
import socket
import tempfile
import threading

import msgpack


class Impostor:
    """`text` stands wherever a server has words of its own. `refuse`: generate gets an error instead of an answer."""

    def __init__(self, text, refuse=False, vision=True, goodbye=False):
        self.text = text
        self.refuse, self.vision, self.goodbye = refuse, vision, goodbye
        self.folder = tempfile.TemporaryDirectory(prefix="tessera-live-")
        self.path = pathlib.Path(self.folder.name) / "s"
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(self.path))
        self.socket.listen(8)
        self.streams = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.folder.cleanup()

    @property
    def address(self):
        return f"unix:{self.path}"

    def accept(self):
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer):
        unpacker = msgpack.Unpacker(raw=False, strict_map_key=False)
        with peer:
            while data := peer.recv(1 << 16):
                unpacker.feed(data)
                for message in unpacker:
                    if message[0] == 0:
                        for answer in self.answers(message[1], message[2], message[3]):
                            peer.sendall(msgpack.packb(answer))

    def fault(self):
        return {"code": -1201, "name": "E_IMAGE_FORMAT", "message": self.text}

    def answers(self, call, method, params):
        if method == "hello":
            return [[1, call, None, {"version": 1, "server": self.text[:200], "user": self.text[:200], "features": [],
                                     "message_bytes": 1 << 25, "in_flight": 8, "credit": 64,
                                     "stream_bytes": 1 << 19, "idle_ms": 3600000}]]
        if method == "models":
            model = {"name": self.text, "identity": self.text[:200], "weights": self.text[:30], "activations": "f32",
                     "kv": "f32", "context": 4096, "images": 16, "budget": 280, "vision": self.vision,
                     "sampling": {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0,
                                  "repetition_penalty": 1.0}}
            return [[1, call, None, {"models": [model]}]]
        if method == "stats":
            return [[1, call, None, {"server": {}, "users": [{"name": self.text[:200]}]}]]
        if method != "generate":
            return [[1, call, None, {}]]
        if self.goodbye:
            return [[2, "goodbye", {"code": -1410, "name": "E_DRAIN", "message": self.text}]]
        if self.refuse:
            return [[1, call, self.fault(), None]]
        return self.answer(call, params)

    def answer(self, call, params):
        self.streams += 1
        piece = {"text": self.text, "thoughts": self.text, "ids": [1]}
        sample = {"reason": "stop", "tokens": 1, "cached_tokens": 0}
        done = {"id": self.streams, "samples": [sample],
                "usage": {"prompt_tokens": 1, "image_tokens": 0, "cached_tokens": 0, "output_tokens": 1},
                "timings": {"prepare_ms": 0.0, "queue_ms": 0.0, "first_token_ms": 0.0, "total_ms": 0.0}}
        token = {"id": self.streams, "index": 0, "seq": 0, **piece}
        if not params.get("stream"):
            sample.update(piece)
        return [[1, call, None, {"stream": self.streams}], *([[2, "token", token]] if params.get("stream") else []),
                [2, "done", done]]
