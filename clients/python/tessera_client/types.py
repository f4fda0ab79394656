# SPDX-License-Identifier: Apache-2.0
"""What goes to the server and what comes back, as plain dataclasses."""
from __future__ import annotations

import json
import os
import pathlib
from dataclasses import dataclass, field
from typing import Any, Iterable, Mapping, Optional, Sequence, Union


@dataclass(frozen=True)
class Blob:
    """A picture that the server has: what put_blob gives."""
    name: str


# A picture: the bytes of its file, the file's path, or a Blob.
ImageLike = Union[bytes, str, "os.PathLike[str]", Blob]
# JSON for a tool: its text, or a map that becomes it.
JsonLike = Union[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Media:
    """A part of a message that is no text: `kind` is image, audio or frame (of a film)."""
    kind: str
    source: ImageLike


# A part of a message: text as str, a picture as bytes, a path or a Blob, anything else as Media. A str is always text.
PartLike = Union[str, bytes, "os.PathLike[str]", Blob, Media]


@dataclass(frozen=True)
class Tool:
    """What the model may call; `parameters` is the JSON schema of its arguments."""
    name: str
    description: str = ""
    parameters: Optional[JsonLike] = None


@dataclass(frozen=True)
class ToolCall:
    """A call that an assistant made; `id` is what the tool's message answers."""
    name: str
    arguments: Optional[JsonLike] = None
    id: str = ""


@dataclass(frozen=True)
class Message:
    """One message of a conversation; `role` is system, developer, user, assistant or tool.

    An assistant may have thought and called tools; a tool names the call it answers.
    """
    role: str
    content: Union[str, Sequence[PartLike]] = ""
    thoughts: str = ""
    tool_calls: Sequence[ToolCall] = ()
    tool_call_id: str = ""
    name: str = ""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; None is as the model says. temperature=0 always takes the likeliest."""
    temperature: Optional[float] = None
    top_k: Optional[int] = None
    top_p: Optional[float] = None
    min_p: Optional[float] = None
    repetition_penalty: Optional[float] = None


@dataclass(frozen=True)
class Choice:
    id: int
    text: str
    logprob: float


@dataclass(frozen=True)
class Logprob(Choice):
    """A token of the answer with the likeliest at its place."""
    top: tuple[Choice, ...] = ()


@dataclass(frozen=True)
class Usage:
    prompt_tokens: int = 0
    image_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True)
class Timings:
    prepare_ms: float = 0.0
    queue_ms: float = 0.0
    first_token_ms: float = 0.0
    total_ms: float = 0.0


@dataclass(frozen=True)
class Piece:
    """A token event: a piece of answer `index`."""
    index: int
    seq: int
    text: str
    thoughts: str
    ids: tuple[int, ...]
    logprobs: tuple[Logprob, ...] = ()


@dataclass(frozen=True)
class Sample:
    """One of the n answers; reason is stop, length, cancel, deadline or error."""
    reason: str
    tokens: int
    text: str = ""
    thoughts: str = ""
    ids: tuple[int, ...] = ()
    logprobs: tuple[Logprob, ...] = ()
    cached_tokens: int = field(default=0, compare=False)
    """Prompt tokens that were not computed for this answer; depends on who asked before."""


@dataclass(frozen=True)
class Answer:
    samples: tuple[Sample, ...]
    usage: Usage
    timings: Timings

    @property
    def text(self) -> str:
        """Text of the first answer."""
        return self.samples[0].text

    @property
    def reason(self) -> str:
        return self.samples[0].reason


@dataclass(frozen=True)
class Hello:
    version: int = 0
    server: str = ""
    user: str = ""
    features: tuple[str, ...] = ()
    message_bytes: int = 0
    in_flight: int = 0
    credit: int = 0
    stream_bytes: int = 0
    idle_ms: int = 0


@dataclass(frozen=True)
class Model:
    name: str = ""
    identity: str = ""
    weights: str = ""
    activations: str = ""
    kv: str = ""
    context: int = 0
    images: int = 0
    vision: bool = False
    budget: int = 0
    sampling: Sampling = field(default_factory=Sampling)


# ---- To the wire --------------------------------------------------------------------------------------------

def _media(kind: str, source: ImageLike) -> dict[str, Any]:
    if isinstance(source, Blob):
        return {"type": kind, "blob": source.name}
    if isinstance(source, (bytes, bytearray, memoryview)):
        return {"type": kind, "data": bytes(source)}
    return {"type": kind, "data": pathlib.Path(source).read_bytes()}


def _part(part: PartLike) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if isinstance(part, Media):
        return _media(part.kind, part.source)
    return _media("image", part)


def _json(value: JsonLike) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _given(**fields: Any) -> dict[str, Any]:
    """The fields that are not empty; maps become JSON text."""
    return {key: value if isinstance(value, (str, list)) else _json(value) for key, value in fields.items() if value}


def tool_to_wire(tool: Union[Tool, Mapping[str, Any]]) -> dict[str, Any]:
    """A Tool, or a map in the protocol's own form, which is passed on as it is."""
    if not isinstance(tool, Tool):
        return dict(tool)
    return {"name": tool.name, **_given(description=tool.description, parameters=tool.parameters)}


def message_to_wire(message: Union[Message, Mapping[str, Any]]) -> dict[str, Any]:
    """A Message, or a map in the protocol's own form, which is passed on as it is."""
    if not isinstance(message, Message):
        return dict(message)
    content = message.content
    calls = [{"name": call.name, **_given(id=call.id, arguments=call.arguments)} for call in message.tool_calls]
    content_wire = content if isinstance(content, str) else [_part(part) for part in content]
    return {"role": message.role,
            **({"content": content_wire} if content or not calls else {}),
            **_given(thoughts=message.thoughts, tool_calls=calls, tool_call_id=message.tool_call_id,
                     name=message.name)}


def question(text: str, images: Iterable[ImageLike], system: Optional[str]) -> list[Message]:
    """Pictures, then the text, from the user; a system message before them if there is one."""
    parts: list[PartLike] = [pathlib.Path(image) if isinstance(image, str) else image for image in images]
    messages = [Message("user", [*parts, text])]
    return messages if system is None else [Message("system", system), *messages]


def generate_params(messages: Iterable[Union[Message, Mapping[str, Any]]], stream: bool,
                    options: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of `generate`: options that are None are left to the server."""
    params: dict[str, Any] = {"messages": [message_to_wire(message) for message in messages],
                              "stream": stream}
    for key, value in options.items():
        if isinstance(value, Sampling):
            value = {name: number for name, number in vars(value).items() if number is not None}
        elif key == "tools" and value is not None:
            value = [tool_to_wire(tool) for tool in value]
        elif key == "schema" and value is not None:
            value = _json(value)
        if value is not None:
            params["class" if key == "class_" else key] = list(value) if key == "stop" else value
    return params


# ---- From the wire: fields of later versions are ignored ----------------------------------------------------

def _known(cls: type, fields: Mapping[str, Any]) -> dict[str, Any]:
    names = cls.__dataclass_fields__  # type: ignore[attr-defined]
    return {key: tuple(value) if isinstance(value, list) else value
            for key, value in fields.items() if key in names}


def hello_from_wire(result: Mapping[str, Any]) -> Hello:
    return Hello(**_known(Hello, result))


def model_from_wire(result: Mapping[str, Any]) -> Model:
    fields = _known(Model, result)
    fields["sampling"] = Sampling(**_known(Sampling, result.get("sampling", {})))
    return Model(**fields)


def _logprobs(items: Sequence[Mapping[str, Any]]) -> tuple[Logprob, ...]:
    return tuple(Logprob(item["id"], item["text"], item["logprob"],
                         tuple(Choice(**_known(Choice, top)) for top in item.get("top", ())))
                 for item in items)


def piece_from_wire(event: Mapping[str, Any]) -> Piece:
    return Piece(event["index"], event["seq"], event["text"], event.get("thoughts", ""), tuple(event["ids"]),
                 _logprobs(event.get("logprobs", ())))


def sample_from_wire(item: Mapping[str, Any], pieces: Sequence[Piece]) -> Sample:
    """A sample of done; of a stream the text comes from its pieces."""
    cached = item.get("cached_tokens", 0)
    if "text" in item:
        return Sample(item["reason"], item["tokens"], item["text"], item.get("thoughts", ""),
                      tuple(item["ids"]), _logprobs(item.get("logprobs", ())), cached)
    return Sample(item["reason"], item["tokens"], "".join(piece.text for piece in pieces),
                  "".join(piece.thoughts for piece in pieces),
                  tuple(token for piece in pieces for token in piece.ids),
                  tuple(logprob for piece in pieces for logprob in piece.logprobs), cached)


def answer_from_wire(done: Mapping[str, Any], pieces: Sequence[Piece] = ()) -> Answer:
    samples = tuple(sample_from_wire(item, [piece for piece in pieces if piece.index == index])
                    for index, item in enumerate(done["samples"]))
    return Answer(samples, Usage(**_known(Usage, done.get("usage", {}))),
                  Timings(**_known(Timings, done.get("timings", {}))))
