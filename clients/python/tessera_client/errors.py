# SPDX-License-Identifier: Apache-2.0
"""What can go wrong. Everything derives from TesseraError."""
from __future__ import annotations

from typing import Any, Mapping, Optional


class TesseraError(Exception):
    """Base of all errors of this package."""


class ConnectionLost(TesseraError):
    """The connection to the server is gone; what was in flight has no answer."""


class ProtocolError(TesseraError):
    """The server sent what is not of the protocol; the connection is closed."""


class ServerError(TesseraError):
    """The server's answer to a call, or the end of a stream, was an error.

    `name` and `code` are of the server's catalogue (rpc/methods.md); `retry_after` is in seconds, None when
    another try makes no sense by itself.
    """

    def __init__(self, code: int, name: str, message: str, retry_after: Optional[float] = None):
        super().__init__(f"{name}: {message}")
        self.code = code
        self.name = name
        self.message = message
        self.retry_after = retry_after

    @classmethod
    def from_wire(cls, error: Mapping[str, Any]) -> "ServerError":
        after = error.get("retry_after_ms")
        return cls(error.get("code", 0), error.get("name", "E_UNKNOWN"), error.get("message", ""),
                   after / 1000 if after else None)
