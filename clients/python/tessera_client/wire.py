# SPDX-License-Identifier: Apache-2.0
"""The protocol on bytes, without a socket: what both clients share.

Wire turns calls into bytes and bytes into events; Credit counts what is taken of a stream, so that the
server sends as fast as it is read.
"""
from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Iterator, Mapping, Optional, Union

import msgpack

from .errors import ProtocolError, ServerError
from .types import Piece, piece_from_wire

VERSION = 1
MESSAGE_BYTES_MAX = 32 << 20


@dataclass(frozen=True)
class Response:
    call: int
    error: Optional[ServerError]
    result: Any


@dataclass(frozen=True)
class Token:
    stream: int
    piece: Piece


@dataclass(frozen=True)
class Done:
    stream: int
    body: Mapping[str, Any]
    error: Optional[ServerError]


@dataclass(frozen=True)
class Goodbye:
    error: ServerError


Event = Union[Response, Token, Done, Goodbye]


def parse_address(address: str) -> Union[str, tuple[str, int]]:
    """The path of a Unix socket, or host and port: "unix:PATH" or anything with a "/", "HOST:PORT"."""
    if address.startswith("unix:"):
        return address[len("unix:"):]
    if "/" in address:
        return address
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or not port.isdigit() or (":" in host and not bracketed):
        raise ValueError(f"{address!r} is no address; it is unix:PATH, HOST:PORT or [IPV6]:PORT")
    return (host[1:-1] if bracketed else host), int(port)


class Wire:
    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, max_buffer_size=2 * MESSAGE_BYTES_MAX,
                                          max_ext_len=0)

    def request(self, method: str, params: Mapping[str, Any]) -> tuple[int, bytes]:
        call = next(self._ids) & 0xFFFFFFFF
        return call, msgpack.packb([0, call, method, params])

    @staticmethod
    def notification(method: str, params: Mapping[str, Any]) -> bytes:
        return msgpack.packb([2, method, params])

    def feed(self, data: bytes) -> Iterator[Event]:
        """Events in the bytes so far. Events this version does not know are skipped."""
        try:
            self._unpacker.feed(data)
            for message in self._unpacker:
                event = _event(message)
                if event is not None:
                    yield event
        except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
            raise ProtocolError(f"the server sent what is not of the protocol: {error}") from error


def hello_params(token: Optional[str], program: str) -> dict[str, Any]:
    params: dict[str, Any] = {"version": VERSION, "client": program}
    if token is not None:
        params["token"] = token.strip(" \t\r\n\v\f\ufeff")  # what editors and files put around it
    return params


def _event(message: Any) -> Optional[Event]:
    if not isinstance(message, list) or len(message) < 3:
        raise ValueError("a message is an array of 3 or 4")
    if message[0] == 1:
        _, call, error, result = message
        return Response(call, ServerError.from_wire(error) if error is not None else None, result)
    kind, name, params = message
    if kind != 2:
        raise ValueError("a server sends responses and events")
    if name == "token":
        return Token(params["id"], piece_from_wire(params))
    if name == "done":
        error = params.get("error")
        return Done(params["id"], params, ServerError.from_wire(error) if error is not None else None)
    if name == "goodbye":
        return Goodbye(ServerError.from_wire(params))
    return None


class Credit:
    """Counts the pieces taken of a stream; says when to grant more: at half of what a stream begins with."""

    def __init__(self, stream: int, first: int) -> None:
        self._stream = stream
        self._chunk = max(1, first // 2)
        self._taken = 0

    def took_one(self) -> Optional[bytes]:
        self._taken += 1
        if self._taken < self._chunk:
            return None
        self._taken = 0
        return Wire.notification("credit", {"id": self._stream, "n": self._chunk})
