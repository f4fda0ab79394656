# SPDX-License-Identifier: Apache-2.0
"""The blocking client. One connection, one reading thread; any number of threads may call at once."""
from __future__ import annotations

import queue
import socket
import threading
import time
from typing import Any, Iterable, Iterator, Mapping, Optional, Sequence, Union

from .errors import ConnectionLost, ServerError, TesseraError
from .types import (Answer, Blob, Hello, ImageLike, JsonLike, Message, Model, Piece, Sampling, Tool,
                    answer_from_wire, generate_params, hello_from_wire, model_from_wire, question)
from .wire import Credit, Done, Goodbye, Response, Token, Wire, hello_params, parse_address

_READ_BYTES = 1 << 18


class _Slot:
    """Where the reading thread leaves the answer of a call, and then the events of its stream."""

    def __init__(self) -> None:
        self.items: "queue.SimpleQueue[Any]" = queue.SimpleQueue()

    def take(self, timeout: Optional[float]) -> Any:
        try:
            item = self.items.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError("the server did not answer in time") from None
        if isinstance(item, TesseraError):
            raise item
        return item


class Stream:
    """An answer as it is made: iterate over its pieces, then look at `answer`.

        with client.stream("Tell me.", images=["a.jpg"]) as stream:
            for piece in stream:
                print(piece.text, end="", flush=True)
        print(stream.answer.usage)

    Leaving the `with` block early cancels it on the server.
    """

    def __init__(self, client: "Client", slot: _Slot, stream: int, timeout: Optional[float]) -> None:
        self.id = stream
        self.answer: Optional[Answer] = None
        self._client = client
        self._slot = slot
        self._timeout = timeout
        self._credit = Credit(stream, client.hello.credit)
        self._pieces: list[Piece] = []
        self._ended = False

    def __iter__(self) -> Iterator[Piece]:
        while not self._ended:
            event = self._slot.take(self._timeout)
            if isinstance(event, Token):
                self._pieces.append(event.piece)
                more = self._credit.took_one()
                if more is not None:
                    self._client._send(more)
                yield event.piece
            else:
                self._finish(event)

    def _finish(self, done: Done) -> None:
        self._ended = True
        self._client._forget(self.id)
        self.answer = answer_from_wire(done.body, self._pieces)
        if done.error is not None:
            raise done.error

    def result(self) -> Answer:
        """Reads to the end and returns the whole answer."""
        for _ in self:
            pass
        assert self.answer is not None
        return self.answer

    def cancel(self) -> None:
        """Ends it on the server; the pieces on their way and then reason "cancel" still come."""
        if not self._ended:
            self._client._send(Wire.notification("cancel", {"id": self.id}))

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        if not self._ended:
            self._client._abandon(self.id)


class Client:
    """A connection to a server.

    `address`: "unix:PATH", a path, or "HOST:PORT". `patience`: seconds during which a call that the server
    refuses as busy is tried again. `timeout`: seconds to wait for any single answer or piece, None for ever.
    """

    def __init__(self, address: str, token: Optional[str] = None, *, patience: float = 60.0,
                 timeout: Optional[float] = None, connect_timeout: float = 10.0,
                 program: str = "tessera-client python") -> None:
        self._patience = patience
        self._timeout = timeout
        self._wire = Wire()
        self._lock = threading.Lock()  # of the socket's writing side and of the tables
        self._calls: dict[int, _Slot] = {}
        self._generates: set[int] = set()  # calls whose result opens a stream
        self._streams: dict[int, Optional[_Slot]] = {}  # None: abandoned
        self._lost: Optional[TesseraError] = None
        self._socket = _connect(parse_address(address), connect_timeout)
        self._reader = threading.Thread(target=self._read, name="tessera-client", daemon=True)
        self._reader.start()
        try:
            self.hello: Hello = hello_from_wire(self._call("hello", hello_params(token, program)))
        except BaseException:
            self.close()
            raise

    # ---- What users call ----

    def ask(self, text: str, images: Iterable[ImageLike] = (), *, system: Optional[str] = None,
            **options: Any) -> Answer:
        """One question, after any number of pictures (paths, bytes or Blobs). Options as generate."""
        return self.generate(question(text, images, system), **options)

    def generate(self, messages: Iterable[Union[Message, Mapping[str, Any]]], *,
                 max_tokens: Optional[int] = None, sampling: Optional[Sampling] = None,
                 seed: Optional[int] = None, stop: Optional[Sequence[str]] = None, n: Optional[int] = None,
                 class_: Optional[str] = None, deadline_ms: Optional[int] = None,
                 budget: Optional[int] = None, thinking: Optional[bool] = None,
                 logprobs: Optional[int] = None,
                 tools: Optional[Sequence[Union[Tool, Mapping[str, Any]]]] = None,
                 tool_choice: Optional[Union[str, Mapping[str, str]]] = None,
                 schema: Optional[JsonLike] = None) -> Answer:
        """The whole answer to a conversation. Raises ServerError, also when the answer ends in an error."""
        options = dict(max_tokens=max_tokens, sampling=sampling, seed=seed, stop=stop, n=n, class_=class_,
                       deadline_ms=deadline_ms, budget=budget, thinking=thinking, logprobs=logprobs,
                       tools=tools, tool_choice=tool_choice, schema=schema)
        with self._open(generate_params(messages, False, options)) as stream:  # a timeout cancels it
            return stream.result()

    def stream(self, text_or_messages: Union[str, Iterable[Union[Message, Mapping[str, Any]]]],
               images: Iterable[ImageLike] = (), *, system: Optional[str] = None, **options: Any) -> Stream:
        """As ask (given a str) or generate (given messages), piece by piece."""
        messages = (question(text_or_messages, images, system) if isinstance(text_or_messages, str)
                    else text_or_messages)
        return self._open(generate_params(messages, True, options))

    def put_blob(self, data: bytes) -> Blob:
        """Leaves a picture with the server, to be named in many calls."""
        return Blob(self._retrying("put_blob", {"data": data})["blob"])

    def tokenize(self, text: str) -> list[int]:
        ids: list[int] = self._retrying("tokenize", {"text": text})["ids"]
        return ids

    def models(self) -> list[Model]:
        return [model_from_wire(model) for model in self._call("models", {})["models"]]

    def stats(self) -> dict[str, Any]:
        """{"server": {...}, "users": [{...}]}; the numbers are listed in rpc/methods.md."""
        stats: dict[str, Any] = self._call("stats", {})
        return stats

    def health(self) -> str:
        """ok, draining or failed."""
        status: str = self._call("health", {})["status"]
        return status

    def api_info(self) -> dict[str, Any]:
        info: dict[str, Any] = self._call("api_info", {})
        return info

    def cancel(self, stream: int) -> None:
        self._call("cancel", {"id": stream})

    def credit(self, stream: int, n: int) -> None:
        """Streams grant credit by themselves as they are read; this grants more."""
        self._call("credit", {"id": stream, "n": n})

    def close(self) -> None:
        """Streams that run are cancelled by the server."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        if self._reader is not threading.current_thread():
            self._reader.join()
        self._socket.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- Calls ----

    def _call(self, method: str, params: Mapping[str, Any]) -> Any:
        return self._call_slot(method, params)[1].result

    def _call_slot(self, method: str, params: Mapping[str, Any]) -> tuple[_Slot, Response]:
        slot = _Slot()
        with self._lock:
            if self._lost is not None:
                raise self._lost
            call, data = self._wire.request(method, params)
            self._calls[call] = slot
            if method == "generate":
                self._generates.add(call)
        try:
            self._send(data)
            response = slot.take(self._timeout)
        except BaseException:
            with self._lock:
                self._calls.pop(call, None)
            raise
        if response.error is not None:
            raise response.error
        return slot, response

    def _retrying_slot(self, method: str, params: Mapping[str, Any]) -> tuple[_Slot, Response]:
        until = time.monotonic() + self._patience
        while True:
            try:
                return self._call_slot(method, params)
            except ServerError as error:
                if error.retry_after is None or time.monotonic() + error.retry_after > until:
                    raise
                time.sleep(error.retry_after)

    def _retrying(self, method: str, params: Mapping[str, Any]) -> Any:
        return self._retrying_slot(method, params)[1].result

    def _open(self, params: Mapping[str, Any]) -> Stream:
        slot, response = self._retrying_slot("generate", params)
        return Stream(self, slot, response.result["stream"], self._timeout)

    def _send(self, data: bytes) -> None:
        try:
            with self._lock:
                self._socket.sendall(data)
        except OSError as error:
            raise ConnectionLost(f"the connection to the server was lost: {error}") from error

    def _forget(self, stream: int) -> None:
        with self._lock:
            self._streams.pop(stream, None)

    def _abandon(self, stream: int) -> None:
        with self._lock:
            if stream in self._streams:
                self._streams[stream] = None
        try:
            self._send(Wire.notification("cancel", {"id": stream}))
        except ConnectionLost:
            pass  # then nothing runs any more

    # ---- The reading thread ----

    def _read(self) -> None:
        lost: TesseraError = ConnectionLost("the connection to the server was lost")
        try:
            while True:
                data = self._socket.recv(_READ_BYTES)
                if not data:
                    break
                for event in self._wire.feed(data):
                    if isinstance(event, Goodbye):
                        lost = event.error
                    else:
                        self._deliver(event)
        except TesseraError as error:
            lost = error
        except OSError:
            pass
        with self._lock:
            self._lost = lost
            slots = [*self._calls.values(), *(slot for slot in self._streams.values() if slot is not None)]
            self._calls.clear()
            self._streams.clear()
        for slot in slots:
            slot.items.put(lost)

    def _deliver(self, event: Union[Response, Token, Done]) -> None:
        unwanted = None  # a stream that nobody waits for any more
        with self._lock:
            if isinstance(event, Response):
                slot = self._calls.pop(event.call, None)
                if event.call in self._generates:
                    self._generates.discard(event.call)
                    if event.error is None:
                        self._streams[event.result["stream"]] = slot
                        unwanted = event.result["stream"] if slot is None else None
            else:
                slot = self._streams.get(event.stream)
                if isinstance(event, Done) and slot is None:
                    self._streams.pop(event.stream, None)
        if slot is not None:
            slot.items.put(event)
        if unwanted is not None:
            self._send(Wire.notification("cancel", {"id": unwanted}))


def _connect(place: Union[str, tuple[str, int]], timeout: float) -> socket.socket:
    try:
        if not isinstance(place, str):
            connection = socket.create_connection(place, timeout)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.settimeout(timeout)
                connection.connect(place)
            except OSError:
                connection.close()
                raise
    except OSError as error:
        raise ConnectionLost(f"no server answers at {place}: {error}") from error
    connection.settimeout(None)
    return connection
