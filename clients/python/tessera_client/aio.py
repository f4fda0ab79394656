# SPDX-License-Identifier: Apache-2.0
"""The asyncio client: the same methods as Client, awaited."""
from __future__ import annotations

import asyncio
from typing import Any, AsyncIterator, Iterable, Mapping, Optional, Sequence, Union

from .errors import ConnectionLost, ServerError, TesseraError
from .types import (Answer, Blob, Hello, ImageLike, JsonLike, Message, Model, Piece, Sampling, Tool, answer_from_wire,
                    generate_params, hello_from_wire, model_from_wire, question)
from .wire import Credit, Done, Goodbye, Response, Token, Wire, hello_params, parse_address

_READ_BYTES = 1 << 18


async def _take(items: "asyncio.Queue[Any]") -> Any:
    item = await items.get()
    if isinstance(item, TesseraError):
        raise item
    return item


class AsyncStream:
    """An answer as it is made: `async for piece in stream`, then `stream.answer`."""

    def __init__(self, client: "AsyncClient", items: "asyncio.Queue[Any]", stream: int) -> None:
        self.id = stream
        self.answer: Optional[Answer] = None
        self._client = client
        self._items = items
        self._credit = Credit(stream, client.hello.credit)
        self._pieces: list[Piece] = []
        self._ended = False

    async def __aiter__(self) -> AsyncIterator[Piece]:
        while not self._ended:
            event = await _take(self._items)
            if isinstance(event, Token):
                self._pieces.append(event.piece)
                more = self._credit.took_one()
                if more is not None:
                    await self._client._send(more)
                yield event.piece
            else:
                self._finish(event)

    def _finish(self, done: Done) -> None:
        self._ended = True
        self._client._streams.pop(self.id, None)
        self.answer = answer_from_wire(done.body, self._pieces)
        if done.error is not None:
            raise done.error

    async def result(self) -> Answer:
        """Reads to the end and returns the whole answer."""
        async for _ in self:
            pass
        assert self.answer is not None
        return self.answer

    async def cancel(self) -> None:
        """Ends it on the server; the pieces on their way and then reason "cancel" still come."""
        if not self._ended:
            await self._client._send(Wire.notification("cancel", {"id": self.id}))

    async def __aenter__(self) -> "AsyncStream":
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._ended:
            await self._client._abandon(self.id)


class AsyncClient:
    """A connection to a server: `async with AsyncClient(address, token) as client`. Arguments as Client."""

    def __init__(self, address: str, token: Optional[str] = None, *, patience: float = 60.0,
                 program: str = "tessera-client python asyncio") -> None:
        self._place = parse_address(address)
        self._token = token
        self._program = program
        self._patience = patience
        self._wire = Wire()
        self._calls: dict[int, asyncio.Queue[Any]] = {}
        self._generates: set[int] = set()  # calls whose result opens a stream
        self._streams: dict[int, Optional[asyncio.Queue[Any]]] = {}  # None: abandoned
        self._lost: Optional[TesseraError] = None
        self._writer: Optional[asyncio.StreamWriter] = None
        self._task: Optional[asyncio.Task[None]] = None
        self.hello = Hello()

    async def connect(self) -> "AsyncClient":
        try:
            reader, self._writer = (await asyncio.open_unix_connection(self._place)
                                    if isinstance(self._place, str)
                                    else await asyncio.open_connection(*self._place))
        except OSError as error:
            raise ConnectionLost(f"no server answers at {self._place}: {error}") from error
        self._task = asyncio.create_task(self._read(reader))
        try:
            self.hello = hello_from_wire(await self._call("hello", hello_params(self._token, self._program)))
        except BaseException:
            await self.close()
            raise
        return self

    async def close(self) -> None:
        """Streams that run are cancelled by the server."""
        if self._writer is not None:
            self._writer.close()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def __aenter__(self) -> "AsyncClient":
        return await self.connect()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # ---- What users call ----

    async def ask(self, text: str, images: Iterable[ImageLike] = (), *, system: Optional[str] = None,
                  **options: Any) -> Answer:
        """One question, after any number of pictures (paths, bytes or Blobs). Options as generate."""
        return await self.generate(question(text, images, system), **options)

    async def generate(self, messages: Iterable[Union[Message, Mapping[str, Any]]], *,
                       max_tokens: Optional[int] = None, sampling: Optional[Sampling] = None,
                       seed: Optional[int] = None, stop: Optional[Sequence[str]] = None,
                       n: Optional[int] = None, class_: Optional[str] = None,
                       deadline_ms: Optional[int] = None, budget: Optional[int] = None,
                       thinking: Optional[bool] = None, logprobs: Optional[int] = None,
                       tools: Optional[Sequence[Union[Tool, Mapping[str, Any]]]] = None,
                       tool_choice: Optional[Union[str, Mapping[str, str]]] = None,
                       schema: Optional[JsonLike] = None) -> Answer:
        """The whole answer to a conversation. Raises ServerError, also when the answer ends in an error."""
        options = dict(max_tokens=max_tokens, sampling=sampling, seed=seed, stop=stop, n=n, class_=class_,
                       deadline_ms=deadline_ms, budget=budget, thinking=thinking, logprobs=logprobs,
                       tools=tools, tool_choice=tool_choice, schema=schema)
        stream = await self._open(generate_params(messages, False, options))
        async with stream:  # a cancelled task cancels it on the server too
            return await stream.result()

    async def stream(self, text_or_messages: Union[str, Iterable[Union[Message, Mapping[str, Any]]]],
                     images: Iterable[ImageLike] = (), *, system: Optional[str] = None,
                     **options: Any) -> AsyncStream:
        """As ask (given a str) or generate (given messages), piece by piece."""
        messages = (question(text_or_messages, images, system) if isinstance(text_or_messages, str)
                    else text_or_messages)
        return await self._open(generate_params(messages, True, options))

    async def put_blob(self, data: bytes) -> Blob:
        """Leaves a picture with the server, to be named in many calls."""
        return Blob((await self._retrying("put_blob", {"data": data}))[1].result["blob"])

    async def tokenize(self, text: str) -> list[int]:
        ids: list[int] = (await self._retrying("tokenize", {"text": text}))[1].result["ids"]
        return ids

    async def models(self) -> list[Model]:
        return [model_from_wire(model) for model in (await self._call("models", {}))["models"]]

    async def stats(self) -> dict[str, Any]:
        """{"server": {...}, "users": [{...}]}; the numbers are listed in rpc/methods.md."""
        stats: dict[str, Any] = await self._call("stats", {})
        return stats

    async def health(self) -> str:
        """ok, draining or failed."""
        status: str = (await self._call("health", {}))["status"]
        return status

    async def api_info(self) -> dict[str, Any]:
        info: dict[str, Any] = await self._call("api_info", {})
        return info

    async def cancel(self, stream: int) -> None:
        await self._call("cancel", {"id": stream})

    async def credit(self, stream: int, n: int) -> None:
        """Streams grant credit by themselves as they are read; this grants more."""
        await self._call("credit", {"id": stream, "n": n})

    # ---- Calls ----

    async def _call(self, method: str, params: Mapping[str, Any]) -> Any:
        return (await self._call_items(method, params))[1].result

    async def _call_items(self, method: str,
                          params: Mapping[str, Any]) -> tuple["asyncio.Queue[Any]", Response]:
        if self._lost is not None:
            raise self._lost
        items: asyncio.Queue[Any] = asyncio.Queue()
        call, data = self._wire.request(method, params)
        self._calls[call] = items
        if method == "generate":
            self._generates.add(call)
        try:
            await self._send(data)
            response = await _take(items)
        except BaseException:
            self._calls.pop(call, None)
            await self._drop(items)
            raise
        if response.error is not None:
            raise response.error
        return items, response

    async def _retrying(self, method: str,
                        params: Mapping[str, Any]) -> tuple["asyncio.Queue[Any]", Response]:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience
        while True:
            try:
                return await self._call_items(method, params)
            except ServerError as error:
                if error.retry_after is None or loop.time() + error.retry_after > until:
                    raise
                await asyncio.sleep(error.retry_after)

    async def _open(self, params: Mapping[str, Any]) -> AsyncStream:
        items, response = await self._retrying("generate", params)
        return AsyncStream(self, items, response.result["stream"])

    async def _send(self, data: bytes) -> None:
        if self._writer is None:
            raise ConnectionLost("the client is not connected; use `async with` or await connect()")
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise ConnectionLost(f"the connection to the server was lost: {error}") from error

    async def _abandon(self, stream: int) -> None:
        if stream in self._streams:
            self._streams[stream] = None
        try:
            await self._send(Wire.notification("cancel", {"id": stream}))
        except ConnectionLost:
            pass  # then nothing runs any more

    async def _drop(self, items: "asyncio.Queue[Any]") -> None:
        """Nobody reads these items; a stream may have been opened for them in the last moment."""
        for stream in [stream for stream, queue in self._streams.items() if queue is items]:
            await self._abandon(stream)

    # ---- The reading task ----

    async def _read(self, reader: asyncio.StreamReader) -> None:
        lost: TesseraError = ConnectionLost("the connection to the server was lost")
        try:
            while data := await reader.read(_READ_BYTES):
                for event in self._wire.feed(data):
                    if isinstance(event, Goodbye):
                        lost = event.error
                    else:
                        self._deliver(event)
        except TesseraError as error:
            lost = error
        except OSError:
            pass
        self._lost = lost
        for items in [*self._calls.values(), *self._streams.values()]:
            if items is not None:
                items.put_nowait(lost)
        self._calls.clear()
        self._streams.clear()

    def _deliver(self, event: Union[Response, Token, Done]) -> None:
        if isinstance(event, Response):
            items = self._calls.pop(event.call, None)
            if event.call in self._generates:
                self._generates.discard(event.call)
                if event.error is None:
                    self._streams[event.result["stream"]] = items
                    if items is None and self._writer is not None:  # nobody waits for it any more
                        self._writer.write(Wire.notification("cancel", {"id": event.result["stream"]}))
        else:
            items = self._streams.get(event.stream)
            if isinstance(event, Done) and items is None:
                self._streams.pop(event.stream, None)
        if items is not None:
            items.put_nowait(event)
