# SPDX-License-Identifier: Apache-2.0
"""Client of the tessera server: captions and answers over MessagePack-RPC.

    from tessera_client import Client

    with Client("unix:/run/tessera/tessera.sock", token="...") as client:
        answer = client.ask("Describe this image.", images=["picture.jpg"])
        print(answer.text)

AsyncClient is the same for asyncio. The protocol itself is in rpc/spec.md of tessera.
"""
from .aio import AsyncClient, AsyncStream
from .errors import ConnectionLost, ProtocolError, ServerError, TesseraError
from .sync import Client, Stream
from .types import (Answer, Blob, Choice, Hello, Logprob, Media, Message, Model, Piece, Sample, Sampling, Timings,
                    Tool, ToolCall, Usage)

__version__ = "0.1.0"
__all__ = [
    "Answer", "AsyncClient", "AsyncStream", "Blob", "Choice", "Client", "ConnectionLost", "Hello", "Logprob",
    "Media", "Message", "Model", "Piece", "ProtocolError", "Sample", "Sampling", "ServerError", "Stream",
    "TesseraError", "Timings", "Tool", "ToolCall", "Usage",
]
