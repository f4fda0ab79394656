# SPDX-License-Identifier: Apache-2.0
"""The protocol without a socket: the server's bytes of rpc/spec.md, and the rows of rpc/methods.def."""
import inspect
import pathlib
import re
import unittest

import msgpack
from tessera_client import AsyncClient, Blob, Client, Media, Message, ProtocolError, Sampling, Tool, ToolCall
from tessera_client.types import answer_from_wire, generate_params, question
from tessera_client.wire import Done, Goodbye, Response, Token, Wire, hello_params, parse_address

RPC = pathlib.Path(__file__).resolve().parents[3] / "rpc"


def spec_bytes(mark):
    """All messages of the page that begin with `mark`, in order."""
    messages, taking, inside = [], False, False
    for line in (RPC / "spec.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside = line.startswith("```wire")
        elif inside and line.startswith("    "):
            if taking:
                messages[-1] += bytes.fromhex(line)
        elif inside:
            taking = line.startswith(mark)
            if taking:
                messages.append(b"")
    return messages


class SpecPage(unittest.TestCase):
    def test_every_message_of_the_server_is_an_event(self):
        events = [event for message in spec_bytes("< ") for event in Wire().feed(message)]
        self.assertEqual(len(events), len(spec_bytes("< ")))
        kinds = {type(event) for event in events}
        self.assertEqual(kinds, {Response, Token, Done, Goodbye})
        tokens = [event.piece for event in events if isinstance(event, Token)]
        self.assertEqual([(piece.seq, piece.text) for piece in tokens], [(0, "Hel"), (1, "lo!")])
        whole = next(event for event in events if isinstance(event, Done))
        answer = answer_from_wire(whole.body)
        self.assertEqual((answer.text, answer.reason, answer.usage.image_tokens), ("A red square.", "stop", 264))
        streamed = [event for event in events if isinstance(event, Done)][1]
        self.assertEqual(answer_from_wire(streamed.body, tokens).text, "Hello!")
        busy = next(event.error for event in events if isinstance(event, Response)
                    and event.error is not None and event.error.name == "E_BUSY")
        self.assertEqual(busy.retry_after, 0.4)

    def test_bytes_may_be_cut_anywhere(self):
        wire = Wire()
        stream = b"".join(spec_bytes("< "))
        events = [event for byte in stream for event in wire.feed(bytes([byte]))]
        self.assertEqual(len(events), len(spec_bytes("< ")))

    def test_hello_and_generate_are_those_of_the_page(self):
        said = [msgpack.unpackb(message) for message in spec_bytes("> ")]
        self.assertEqual(msgpack.unpackb(Wire().request("hello", hello_params("example-token", "spec 1"))[1]),
                         said[0])
        asked = next(message[3] for message in said if message[2] == "generate")
        made = generate_params(question("What is it?", [b"\xff\xd8\xff"], None), False, {"max_tokens": 32})
        self.assertEqual(made, {**asked, "stream": False})

    def test_a_conversation_with_tools_is_that_of_the_page(self):
        said = [msgpack.unpackb(message) for message in spec_bytes("> ")]
        asked = next(message[3] for message in said if "tools" in message[-1])
        made = generate_params(
            [Message("user", "Weather?"),
             Message("assistant", tool_calls=[ToolCall("weather", {"city": "Rome"}, "1")]),
             Message("tool", "sunny", tool_call_id="1")],
            False, {"tools": [Tool("weather", "Of a city", {"type": "object"})]})
        self.assertEqual(made, {**asked, "stream": False})

    def test_other_bytes_are_a_protocol_error(self):
        for wrong in (b"HTTP/1.1 400", b"\x80", b"\x94\x00\x01\xa1x\x80", b"\x93\x02\xa5token\x80"):
            with self.assertRaises(ProtocolError):
                list(Wire().feed(wrong))


class Table(unittest.TestCase):
    def test_every_method_of_the_table_can_be_called(self):
        table = (RPC / "methods.def").read_text(encoding="utf-8")
        methods = re.findall(r'^METHOD\(\w+, "(\w+)"', table, re.M)
        self.assertGreaterEqual(len(methods), 10)
        for client in (Client, AsyncClient):
            for method in methods:
                if method != "hello":  # said by the constructor
                    self.assertTrue(callable(getattr(client, method, None)), f"{client.__name__}.{method}")

    def test_sampling_has_the_numbers_of_the_list(self):
        rows = re.findall(r"^SAMPLING\((\w+), ", (RPC / "sampling.def").read_text(encoding="utf-8"), re.M)
        self.assertEqual(list(vars(Sampling())), rows)

    def test_every_parameter_of_generate_is_an_option(self):
        table = (RPC / "methods.def").read_text(encoding="utf-8")
        params = set(re.findall(r'^PARAM\(GENERATE, "(\w+)"', table, re.M)) - {"stream"}
        for client in (Client, AsyncClient):
            options = {name.rstrip("_") for name in inspect.signature(client.generate).parameters} - {"self"}
            self.assertEqual(options, params)


class Small(unittest.TestCase):
    def test_addresses(self):
        self.assertEqual(parse_address("unix:/run/s"), "/run/s")
        self.assertEqual(parse_address("./s"), "./s")
        self.assertEqual(parse_address("lab:7070"), ("lab", 7070))
        self.assertEqual(parse_address("[::1]:7070"), ("::1", 7070))
        for wrong in ("lab", ":1", "lab:", "::1:70"):
            with self.assertRaises(ValueError):
                parse_address(wrong)

    def test_parts_and_schemas_are_sent_in_the_form_of_the_protocol(self):
        params = generate_params(
            [Message("developer", "s"), Message("user", ["see", b"jpeg", Media("audio", b"RIFF"), Media("frame", Blob("00"))]),
             Message("assistant", "so", thoughts="hm"), {"role": "user", "content": "as it is"}], False,
            {"schema": {"type": "object"}, "tool_choice": {"name": "f"}, "tools": [{"name": "f"}]})
        self.assertEqual(params["messages"], [
            {"role": "developer", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image", "data": b"jpeg"},
                                         {"type": "audio", "data": b"RIFF"}, {"type": "frame", "blob": "00"}]},
            {"role": "assistant", "content": "so", "thoughts": "hm"}, {"role": "user", "content": "as it is"}])
        self.assertEqual((params["schema"], params["tool_choice"], params["tools"]),
                         ('{"type":"object"}', {"name": "f"}, [{"name": "f"}]))

    def test_options_left_out_are_not_sent(self):
        params = generate_params([], True, {"class_": "batch", "seed": None, "stop": ("a",),
                                            "sampling": Sampling(top_k=5)})
        self.assertEqual(params, {"messages": [], "stream": True, "class": "batch", "stop": ["a"],
                                  "sampling": {"top_k": 5}})


if __name__ == "__main__":
    unittest.main()
