#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tessera serve as its users and its administrator meet it.

    tests/live/test_serve.py PROGRAM        needs python3-msgpack
"""
import json
import os
import pathlib
import re
import resource
import signal
import socket
import struct
import subprocess
import threading
import urllib.error
import urllib.request
import zlib

import live
import msgpack
from live import LIMIT, Gate, LiveTest, eventually, run
from rpc import GREEDY, Client, Refused, Server, answers, picture

IDLE_CONNECTIONS = 2000
# With this seed and temperature the demo model writes more than a thousand tokens before it stops. On a fast machine
# that is soon: a test that needs it to last holds the gate.
LONG = {"max_tokens": 1600, "seed": 2, "sampling": {"temperature": 100}}


def pictures(count=8):
    return sorted(live.PICTURES.glob("[0-9]*"))[:count]


def offline_captions(files):
    done = run("caption", *files, "-m", live.MODEL, "-q")
    assert done.returncode == 0, done.stderr
    lines = (line.split("\t") for line in done.stdout.splitlines())
    return {pathlib.Path(name): caption for name, caption in lines}


def text_of(done):
    return done["samples"][0]["text"].strip()


class Serve(LiveTest):
    def serve(self, *arguments, **more):
        server = Server(self.folder, *arguments, **more)
        self.enterContext(server)
        return server

    def enterContext(self, manager):  # of unittest since Python 3.11
        value = manager.__enter__()
        self.addCleanup(lambda: manager.__exit__(None, None, None))
        return value

    def serve_held(self, *arguments, **more):
        """A server whose steps wait for permission from now on, and the gate where they do."""
        gate = Gate(self.folder)
        server = self.serve(*arguments, gate=gate, **more)
        gate.hold()
        return server, gate

    def stats(self, client):
        return client.call("stats")["server"]

    def assertEmpty(self, client):
        """In the end no request is there and no sequence holds a page."""
        def empty():
            stats = self.stats(client)
            return not any(stats[name] for name in ("preparing", "waiting", "running", "queued_tokens",
                                                    "pages_full_used", "pages_sliding_used"))
        eventually(empty, "an empty server")


class Answers(Serve):
    def test_captions_over_the_socket_are_those_of_tessera_caption(self):
        expected = offline_captions(pictures())
        server = self.serve("--listen", "127.0.0.1:0")
        for address in (server.path, server.tcp()):
            with Client(address) as client:
                streams = {}
                for index, file in enumerate(pictures()):
                    streams[file] = client.generate(picture(file), stream=index % 2 == 0), index % 2 == 0
                for file, (stream, streamed) in streams.items():
                    done, texts = client.done(stream)
                    text = texts[0].strip() if streamed else text_of(done)
                    self.assertEqual(text, expected[file])
                    self.assertEqual(done["samples"][0]["reason"], "stop")
                    self.assertIn(done["usage"]["image_tokens"], range(56, 71))
                    self.assertEqual(done["usage"]["output_tokens"], done["samples"][0]["tokens"])

    def test_a_picture_left_as_a_blob_is_computed_once(self):
        server = self.serve()
        file = pictures(1)[0]
        with server.client() as client:
            whole = client.complete(picture(file))
            blob = client.call("put_blob", data=file.read_bytes())["blob"]
            asked = [{"type": "image", "blob": blob}, {"type": "text", "text": "Describe this image."}]
            named = client.complete(asked)
            self.assertEqual(text_of(named), text_of(whole))
            self.assertGreaterEqual(named["usage"]["cached_tokens"], 64)
            other = [{"type": "image", "blob": "0" * 32}]
            self.assertRaisesRegex(Refused, "E_BLOB", client.generate, other)

    def test_ten_questions_about_one_picture_cost_one_image(self):
        server = self.serve()
        with server.client() as client:
            for number in range(10):
                client.complete(picture(pictures(1)[0], f"Question {number}?"), max_tokens=4)
            stats = self.stats(client)
            self.assertGreaterEqual(stats["prefix_hit_tokens"], 9 * 64)
            self.assertLess(stats["prompt_tokens"], 2 * 64 + 10 * 20)

    def test_samples_of_one_prompt_share_it_and_differ(self):
        server = self.serve()
        with server.client() as client:
            request = {"seed": 3, "sampling": {"temperature": 5}, "max_tokens": 12}
            one = client.complete(picture(pictures(1)[0]), **request)
            before = client.call("stats")["users"][0]["prompt_tokens"]
            four = client.complete(picture(pictures(2)[1]), n=4, **request)
            computed = client.call("stats")["users"][0]["prompt_tokens"] - before
            self.assertEqual(len({sample["text"] for sample in four["samples"]}), 4)
            prompt = four["usage"]["prompt_tokens"]
            cached = [sample["cached_tokens"] for sample in four["samples"]]
            self.assertEqual(cached[0], four["usage"]["cached_tokens"])
            self.assertEqual(cached[1:], [prompt - 1] * 3, "the others compute the last token only")
            self.assertEqual(sum(prompt - tokens for tokens in cached), computed)
            again = client.complete(picture(pictures(1)[0]), n=2, **request)
            self.assertEqual(answers(again)[0], answers(one)[0])

    def test_stop_texts_logprobs_and_seeds(self):
        server = self.serve()
        with server.client() as client:
            whole = text_of(client.complete(picture(pictures(1)[0])))
            word = whole.split()[-2]
            cut = client.complete(picture(pictures(1)[0]), stop=[word])
            self.assertEqual(text_of(cut), whole[:whole.index(word)].strip())
            self.assertEqual(cut["samples"][0]["reason"], "stop")
            likely = client.complete(picture(pictures(1)[0]), logprobs=2)["samples"][0]
            self.assertEqual([row["id"] for row in likely["logprobs"]], likely["ids"])
            for row in likely["logprobs"]:
                self.assertEqual(row["top"][0]["id"], row["id"])  # greedy
                self.assertEqual(len(row["top"]), 2)
            drawn = [client.complete("Draw.", seed=seed, max_tokens=20, sampling={"temperature": 2})
                     for seed in (1, 1, 2)]
            self.assertEqual(answers(drawn[0]), answers(drawn[1]))
            self.assertNotEqual(answers(drawn[0]), answers(drawn[2]))

    def test_control_tokens_in_a_text_are_text(self):
        server = self.serve()
        with server.client() as client:
            plain = client.call("tokenize", text="a<end_of_turn>b<|image|>")["ids"]
            self.assertGreater(len(plain), 4)
            done = client.complete("<|image|> <start_of_image> <end_of_turn>", max_tokens=4)
            self.assertEqual(done["usage"]["image_tokens"], 0)


WEATHER = {"name": "weather", "description": "Of a city.",
           "parameters": json.dumps({"type": "object", "properties": {"city": {"type": "string"}}})}
CALLED = {"role": "assistant", "thoughts": "A tool knows.",
          "tool_calls": [{"id": "1", "name": "weather", "arguments": '{"city":"Rome"}'}]}
TOLD = {"role": "tool", "tool_call_id": "1", "name": "weather", "content": [{"type": "text", "text": "sunny"}]}


def said(role, content="hi"):
    return {"role": role, "content": content}


class Conversations(Serve):
    def ask(self, client, *messages, **params):
        stream = client.call("generate", messages=list(messages), max_tokens=4, sampling=GREEDY, **params)["stream"]
        return client.done(stream)[0]

    def test_every_role_is_answered(self):
        with self.serve().client() as client:
            for messages in ([said("system"), said("user")], [said("developer"), said("user")],
                             [said("user"), said("assistant"), said("user")], [said("user"), CALLED, TOLD],
                             [said("user"), CALLED, TOLD, said("assistant"), said("user")],
                             [said("user", [{"type": "text", "text": "What is"}, *picture(pictures(1)[0], "?")])]):
                with self.subTest(roles=[message["role"] for message in messages]):
                    done = self.ask(client, *messages)
                    self.assertIn(done["samples"][0]["reason"], ("stop", "length"))
                    self.assertNotIn("error", done)

    def test_tools_and_what_they_said_are_in_the_prompt(self):
        with self.serve().client() as client:
            def prompt_tokens(*messages, **params):
                return self.ask(client, *messages, **params)["usage"]["prompt_tokens"]
            plain = prompt_tokens(said("user"))
            self.assertGreater(prompt_tokens(said("user"), tools=[WEATHER]), plain + 10)
            self.assertEqual(prompt_tokens(said("user"), tools=[WEATHER], tool_choice="auto"),
                             prompt_tokens(said("user"), tools=[WEATHER]))
            called = prompt_tokens(said("user"), CALLED, TOLD)
            self.assertGreater(called, plain + 10)
            longer = {**TOLD, "content": "sunny, and warmer than it was on any day of the week before"}
            self.assertGreater(prompt_tokens(said("user"), CALLED, longer), called)

    def test_what_nothing_serves_is_refused_by_name(self):
        with self.serve().client() as client:
            for params, name in (({"tool_choice": "none"}, "tool_choice"), ({"tool_choice": "required"}, "tool_choice"),
                                 ({"tools": [WEATHER], "tool_choice": {"name": "weather"}}, "tool_choice"),
                                 ({"schema": '{"type":"object"}'}, "schema")):
                with self.subTest(**params):
                    self.assertRaisesRegex(Refused, f"E_UNSUPPORTED.*params.{name} is not yet supported",
                                           self.ask, client, said("user"), **params)
            for kind in ("audio", "frame"):
                part = {"type": kind, "data": b"RIFF"}
                self.assertRaisesRegex(Refused, f"E_UNSUPPORTED.*message 1: a part of type {kind} is not yet",
                                       self.ask, client, said("system"), said("user", [part]))
            self.assertEqual(client.call("health")["status"], "ok")

    def test_what_a_role_may_not_have_is_refused_by_name(self):
        with self.serve().client() as client:
            for messages, sentence in (([TOLD], "message 0: .*must follow an assistant"),
                                       ([said("user"), CALLED, said("user"), TOLD], "message 3: .*must follow"),
                                       ([{**said("user"), "tool_calls": CALLED["tool_calls"]}], "tool_calls"),
                                       ([{**said("user"), "thoughts": "hm"}], "thoughts"),
                                       ([said("model")], "must be one of: system, developer, user, assistant, tool")):
                with self.subTest(sentence=sentence):
                    self.assertRaisesRegex(Refused, f"E_ARGUMENT.*{sentence}", self.ask, client, *messages)


class Endings(Serve):
    def test_cancel_ends_a_stream_and_is_idempotent(self):
        server, gate = self.serve_held()
        with server.client() as client:
            stream = client.generate("Write.", stream=True, **LONG)
            gate.let(20)
            client.started()
            for _ in range(2):
                client.call("cancel", id=stream)
            gate.release()
            done, _ = client.done(stream)
            self.assertEqual(done["samples"][0]["reason"], "cancel")
            self.assertLessEqual(done["usage"]["output_tokens"], 21, "the step under way was the last")
            client.call("cancel", id=stream)
            self.assertEmpty(client)

    def test_a_deadline_ends_it(self):
        server, gate = self.serve_held()
        with server.client() as client:
            stream = client.generate("Write.", deadline_ms=300, n=8, **LONG)
            accepted = self.stats(client)["uptime_ms"]
            eventually(lambda: self.stats(client)["uptime_ms"] > accepted + 300)
            gate.release()
            done, _ = client.done(stream)
            self.assertEqual({sample["reason"] for sample in done["samples"]}, {"deadline"})
            self.assertEqual(done["error"]["name"], "E_DEADLINE")
            self.assertEmpty(client)

    def test_a_disconnect_frees_its_pages(self):
        server, gate = self.serve_held("--batch", "4")
        with server.client() as watcher:
            for _ in range(5):
                with server.client() as client:
                    for _ in range(6):  # running, waiting
                        client.generate("Write.", stream=True, **LONG)
                    gate.reached(1)
                eventually(lambda: self.stats(watcher)["connections"] == 1)
                gate.release()
                self.assertEmpty(watcher)
                gate.hold()
            self.assertEqual(self.stats(watcher)["requests_cancelled"], 30)

    def test_a_client_that_writes_no_more_gets_its_answers(self):
        server, gate = self.serve_held()
        with server.client() as client:
            streams = [client.generate("Write.", stream=index == 0, max_tokens=20) for index in range(2)]
            client.socket.shutdown(socket.SHUT_WR)
            gate.reached(1)
            gate.release()
            for stream in streams:
                self.assertIn(client.done(stream)[0]["samples"][0]["reason"], ("stop", "length"))
            self.assertIsNone(client.receive(), "then the connection ends")

    def test_a_client_that_writes_no_more_and_then_goes_is_noticed(self):
        server, gate = self.serve_held()
        with server.client() as watcher:
            with server.client() as client:
                client.generate("Write.", **LONG)
                client.socket.shutdown(socket.SHUT_WR)
                gate.reached(1)
            eventually(lambda: self.stats(watcher)["connections"] == 1)
            gate.release()
            self.assertEmpty(watcher)
            self.assertEqual(self.stats(watcher)["requests_cancelled"], 1)

    def test_a_killed_client_harms_nobody(self):
        server = self.serve()
        expected = offline_captions(pictures(3))
        script = ("import sys; sys.path.insert(0, sys.argv[1]); import rpc, pathlib\n"
                  "c = rpc.Client(sys.argv[2])\n"
                  "for i in range(4): c.generate('Write.', stream=True, max_tokens=1600, seed=2,"
                  " sampling={'temperature': 100})\n"
                  "print('running', flush=True)\n"
                  "while True: c.event()\n")
        here = str(pathlib.Path(__file__).parent)
        with server.client() as client:
            for file in pictures(3):
                victim = subprocess.Popen(["/usr/bin/python3", "-c", script, here, str(server.path)],
                                          stdout=subprocess.PIPE, text=True)
                victim.stdout.readline()
                stream = client.generate(picture(file))
                victim.kill()
                victim.wait()
                victim.stdout.close()
                self.assertEqual(text_of(client.done(stream)[0]), expected[file])
            self.assertEmpty(client)

    def test_sigterm_lets_what_runs_finish(self):
        server, gate = self.serve_held("--batch", "4", "--drain", LIMIT)
        expected = offline_captions(pictures())
        with server.client() as client, server.client() as idle:
            streams = {file: client.generate(picture(file)) for file in pictures()}
            gate.reached(1)
            server.process.send_signal(signal.SIGTERM)
            name, params = idle.event()
            self.assertEqual((name, params["name"]), ("goodbye", "E_DRAIN"))
            self.assertIsNone(idle.receive())
            gate.release()
            for file, stream in streams.items():
                self.assertEqual(text_of(client.done(stream)[0]), expected[file])
            self.assertEqual(client.event()[0], "goodbye")
        self.assertEqual(server.wait(), 0)
        self.assertFalse(server.path.exists())

    def test_a_draining_server_accepts_nothing(self):
        server, gate = self.serve_held("--drain", LIMIT)
        with server.client() as client:
            stream = client.generate("Write.", **LONG)
            server.process.send_signal(signal.SIGTERM)
            eventually(lambda: client.call("health")["status"] == "draining")
            self.assertRaisesRegex(Refused, "E_DRAIN", client.generate, "More.")
            client.call("cancel", id=stream)
            gate.release()
            self.assertEqual(client.done(stream)[0]["samples"][0]["reason"], "cancel")
        self.assertEqual(server.wait(), 0)

    def test_what_lasts_longer_than_the_drain_ends_with_it(self):
        server, gate = self.serve_held("--drain", "1")
        with server.client() as client:
            stream = client.generate("Write.", **LONG)
            gate.reached(1)
            server.process.send_signal(signal.SIGTERM)
            eventually(lambda: "drain_over requests=1" in server.log())
            gate.release()
            self.assertEqual(client.done(stream)[0]["error"]["name"], "E_DRAIN")
        self.assertEqual(server.wait(), 0)

    def test_a_second_signal_ends_what_runs(self):
        server, gate = self.serve_held("--drain", LIMIT)
        with server.client() as client:
            stream = client.generate("Write.", stream=True, **LONG)
            gate.let(20)
            client.started()
            server.process.send_signal(signal.SIGINT)
            server.process.send_signal(signal.SIGTERM)  # the same one twice may arrive as one
            eventually(lambda: "drain_over requests=1" in server.log())
            gate.release()
            self.assertEqual(client.done(stream)[0]["samples"][0]["reason"], "error")
        self.assertEqual(server.wait(), 0)


class Bad(Serve):
    """What a client does wrong is its own error, and the neighbours' answers do not change."""

    def test_bad_requests_get_typed_errors(self):
        expected = offline_captions(pictures(4))
        server = self.serve("--context", "512")
        png = sorted(live.PICTURES.glob("*.png"))[0].read_bytes()
        header = b"IHDR" + struct.pack(">II", 60000, 60000) + png[24:29]
        wide = png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]
        cases = [
            ("E_IMAGE_FORMAT", picture(b"GIF89a" + b"\0" * 100), {}),
            ("E_IMAGE_FORMAT", picture(b"\0"), {}),
            ("E_IMAGE_DAMAGED", picture(png[:20]), {}),
            ("E_IMAGE_TOO_LARGE", picture(wide), {}),
            ("E_CONTEXT", "hi", {"max_tokens": 100000}),
            ("E_ARGUMENT", "hi", {"max_tokens": 0}),
            ("E_ARGUMENT", "hi", {"max_tokens": -1}),
            ("E_ARGUMENT", "hi", {"n": 0}),
            ("E_ARGUMENT", "hi", {"n": 1 << 40}),
            ("E_ARGUMENT", "hi", {"sampling": {"temperature": float("nan")}}),
            ("E_ARGUMENT", "hi", {"sampling": {"top_k": -(1 << 63)}}),
            ("E_ARGUMENT", "hi", {"stop": ["x"] * 100}),
            ("E_ARGUMENT", "hi", {"logprobs": 1 << 31}),
            ("E_ARGUMENT", "hi", {"class": "urgent"}),
            ("E_ARGUMENT", "hi", {"maxtokens": 4}),
            ("E_LIMIT", [{"type": "image", "data": png}] * 20, {}),
        ]
        with server.client() as client, server.client() as neighbour:
            for name, content, params in cases:
                stream = neighbour.generate(picture(pictures(4)[len(params)]))
                with self.subTest(name=name, params=params):
                    with self.assertRaises(Refused) as refused:
                        client.generate(content, **params)
                    self.assertEqual(refused.exception.name, name, refused.exception)
                self.assertEqual(text_of(neighbour.done(stream)[0]), expected[pictures(4)[len(params)]])
            # What only decoding or encoding can see ends the accepted stream.
            jpeg = pictures(1)[0].read_bytes()
            for name, content in (("E_IMAGE_DAMAGED", picture(jpeg[:len(jpeg) // 2])),
                                  ("E_CONTEXT", "many words " * 300)):
                done = client.complete(content, max_tokens=8)
                self.assertEqual(done["error"]["name"], name)
                self.assertNotIn("0x", done["error"]["message"])
            self.assertRaisesRegex(Refused, "E_METHOD", client.call, "shutdown")
            self.assertEmpty(client)

    def test_bytes_that_are_no_protocol_end_their_connection_only(self):
        server = self.serve()
        bomb = b"\xdd\xff\xff\xff\xff"  # an array of 2^32 - 1
        for data in (b"GET / HTTP/1.1\r\n\r\n", bomb, b"\x94" * 40, msgpack.packb([0, 1, "generate", {}]),
                     b"\xc6\xff\xff\xff\xff"):
            with server.client(hello=False) as client:
                client.socket.sendall(data)
                last = None
                while (message := client.receive()) is not None:
                    last = message
                self.assertTrue(last[1] == "goodbye" or last[2]["name"].startswith("E_"), last)
        with server.client() as client:
            self.assertEqual(client.call("health")["status"], "ok")

    def test_too_many_requests_are_refused_at_once_with_a_hint(self):
        server, gate = self.serve_held("--requests", "6", "--batch", "2")
        with server.client() as client:
            streams = [client.generate("Write.", **LONG) for _ in range(6)]
            with self.assertRaises(Refused) as refused:
                client.generate("One more.")
            self.assertEqual(refused.exception.name, "E_BUSY")
            self.assertGreater(refused.exception.retry_after_ms, 0)
            for stream in streams:
                client.call("cancel", id=stream)
            gate.release()
            for stream in streams:
                client.done(stream)
            client.complete("One more.", max_tokens=2)

    def test_a_reader_that_stops_does_not_stop_others(self):
        server = self.serve("--batch", "4")
        expected = offline_captions(pictures(2))
        with server.client() as lazy, server.client() as client:
            for _ in range(2):
                lazy.send(0, lazy.next_id, "generate", {"messages": [{"role": "user", "content": "W"}],
                                                        "stream": True, **LONG})
                lazy.next_id += 1
            for file in pictures(2):
                self.assertEqual(text_of(client.complete(picture(file))), expected[file])

    def test_many_idle_connections(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, IDLE_CONNECTIONS + 100), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        server = self.serve()
        before = pathlib.Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]
        clients = [server.client() for _ in range(IDLE_CONNECTIONS)]
        after = pathlib.Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]
        each = (int(after) - int(before)) * 4096 / IDLE_CONNECTIONS
        self.assertEqual(self.stats(clients[-1])["connections"], IDLE_CONNECTIONS)
        for client in clients[::200]:
            client.complete("hi", max_tokens=1)
        if "libasan" not in pathlib.Path(f"/proc/{server.process.pid}/maps").read_text():
            self.assertLess(each, 16384, "bytes an idle connection costs")
        for client in clients:
            client.socket.close()
        eventually(lambda: len(os.listdir(f"/proc/{server.process.pid}/fd")) < 50, "every descriptor closed")


class Users(Serve):
    def users(self, *lines):
        file = self.folder / "users.conf"
        file.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return file

    def token(self, name):
        made = run("token", name)
        return made.stderr.splitlines()[1], made.stdout.strip()

    def test_tokens_say_who_asks(self):
        token, line = self.token("alice")
        file = self.users(line + " in_flight_max=2 classes=interactive")
        server, _ = self.serve_held("--users", file)
        for wrong in (None, "tessera_guess", "x" * 500):
            with server.client(hello=False) as client:
                params = {"version": 1} if wrong is None else {"version": 1, "token": wrong}
                self.assertRaisesRegex(Refused, "E_AUTH", client.call, "hello", **params)
        with server.client(token=token) as client:
            self.assertEqual(client.hello["user"], "alice")
            self.assertRaisesRegex(Refused, "E_ARGUMENT", client.generate, "hi", **{"class": "batch"})
            streams = [client.generate("Write.", **LONG) for _ in range(2)]
            with self.assertRaises(Refused) as refused:
                client.generate("One more.")
            self.assertEqual(refused.exception.name, "E_USER_BUSY")
            self.assertGreater(refused.exception.retry_after_ms, 0)
            for stream in streams:
                client.call("cancel", id=stream)

    def test_tokens_per_minute_are_counted_before_a_picture_is_decoded(self):
        token, line = self.token("bob")
        server = self.serve("--users", self.users(line + " tokens_per_minute=250"))
        with server.client(token=token) as client:
            client.complete(picture(pictures(1)[0]), max_tokens=20)
            with self.assertRaises(Refused) as refused:
                for _ in range(100):  # what these take together comes back in some 40 minutes
                    client.generate(picture(pictures(1)[0]), max_tokens=20)
            self.assertEqual(refused.exception.name, "E_RATE")
            self.assertGreater(refused.exception.retry_after_ms, 0)

    def test_the_users_file_is_read_again_on_sighup(self):
        alice, alice_line = self.token("alice")
        bob, bob_line = self.token("bob")
        file = self.users(alice_line)
        server = self.serve("--users", file)
        with server.client(token=alice) as client:
            self.users(alice_line, bob_line)
            server.process.send_signal(signal.SIGHUP)

            def bob_may():
                try:
                    with server.client(token=bob):
                        return True
                except (Refused, EOFError):
                    return False
            eventually(bob_may)
            file.write_text("nonsense\n", encoding="utf-8")
            server.process.send_signal(signal.SIGHUP)
            eventually(lambda: "the old ones stay" in server.log())
            self.assertTrue(bob_may())
            client.complete("hi", max_tokens=1)
            self.users(bob_line)
            server.process.send_signal(signal.SIGHUP)
            name, params = client.event()
            self.assertEqual((name, params["name"]), ("goodbye", "E_AUTH"))

    def test_other_machines_need_a_users_file(self):
        done = run("serve", "-m", live.MODEL, "--listen", "0.0.0.0:0")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--users", done.stderr)


class Administration(Serve):
    def test_a_stale_socket_is_replaced_and_a_live_one_is_not(self):
        path = self.folder / "tessera.sock"
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(str(path))
        stale.close()
        self.serve()
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        second = run("serve", "-m", live.MODEL, "--socket", path)
        self.assertEqual(second.returncode, 3)
        self.assertIn("already listens", second.stderr)
        file = self.folder / "file"
        file.write_text("mine", encoding="utf-8")
        self.assertEqual(run("serve", "-m", live.MODEL, "--socket", file).returncode, 2)
        self.assertEqual(file.read_text(encoding="utf-8"), "mine")

    def test_arguments_go_before_the_environment_and_that_before_the_file(self):
        config = self.folder / "tessera.conf"
        config.write_text("# a lab\nimages = 3\ncontext = 320 # short\nsocket-mode = 0660\n"
                          "log-prompts = true\nblobs = 1\n", encoding="utf-8")
        environment = dict(os.environ, TESSERA_CONTEXT="336", TESSERA_IMAGES="4")
        server = self.serve("--config", config, "--images", "5", environment=environment)
        with server.client() as client:
            model = client.call("models")["models"][0]
            self.assertEqual((model["images"], model["context"]), (5, 336))
            client.complete("a \"quoted\" question", max_tokens=1)
        self.assertEqual(server.path.stat().st_mode & 0o777, 0o660)
        self.assertIn(r'text="a \"quoted\" question"', server.log())
        config.write_text("context = many\n", encoding="utf-8")
        wrong = run("serve", "--config", config)
        self.assertEqual(wrong.returncode, 2)
        self.assertIn("tessera.conf:1: --context: 'many'", wrong.stderr)

    def test_threads_that_compute_stand_back_behind_the_loop(self):
        server = self.serve("--threads", "3", "--prep-threads", "2")
        tasks = pathlib.Path(f"/proc/{server.process.pid}/task")

        def nice():
            return {int(task.name): int((task / "stat").read_text().rsplit(")", 1)[1].split()[16])
                    for task in tasks.iterdir()}
        loop = os.getpriority(os.PRIO_PROCESS, os.getpid())
        # Two of the compute pool, the step thread, two that prepare; a sanitizer may add one of its own. Each sets its
        # niceness itself, when its turn comes.
        eventually(lambda: sum(value >= min(loop + 5, 19) for value in nice().values()) >= 5)
        self.assertEqual(nice()[server.process.pid], loop)

    def test_a_silent_connection_is_closed_with_a_reason(self):
        server = self.serve("--idle", "1")
        with server.client() as client:
            name, params = client.event()
            self.assertEqual((name, params["name"]), ("goodbye", "E_TIMEOUT"))
            self.assertIsNone(client.receive())
        eventually(lambda: "reason=E_TIMEOUT" in server.log())

    def test_the_log_tells_requests_and_no_prompt(self):
        server, gate = self.serve_held()
        with server.client() as client:
            stream = client.generate(picture(pictures(1)[0], "a secret question"), max_tokens=1)
            accepted = self.stats(client)["uptime_ms"]
            eventually(lambda: self.stats(client)["uptime_ms"] > accepted + 2)  # so that it takes some milliseconds
            gate.release()
            done, _ = client.done(stream)
        server.stop()
        log = server.log()
        self.assertRegex(log, r"accepted request=1 connection=\d+ stream=\d+ user=everyone class=interactive")
        # The way of a request, in the log as in its done event: prepared, in the batch, first token, done.
        line = re.search(r"done request=1 .*reason=length .*output_tokens=1 (.*)", log)[1]
        spans = {name: float(ms) for name, ms in (span.split("=") for span in line.split())}
        self.assertEqual(spans, done["timings"])
        self.assertRegex(log, r"stopped status=OK accepted=1 finished=1 failed=0 cancelled=0 refused=0 pictures=1 up_ms=\d+\n$")
        self.assertLessEqual(spans["prepare_ms"] + spans["queue_ms"], spans["first_token_ms"])
        self.assertLessEqual(spans["first_token_ms"], spans["total_ms"])
        self.assertGreater(spans["first_token_ms"], 0)
        self.assertNotIn("secret", log)

    def test_metrics_and_health_over_http(self):
        gate = Gate(self.folder)
        server = self.serve("--metrics-port", "0", gate=gate)
        with server.client() as client:
            client.complete(picture(pictures(1)[0]))
            gate.hold()

            def page(url):
                with urllib.request.urlopen(url, timeout=LIMIT) as answer:
                    return answer.read().decode()
            url = server.metrics()
            eventually(lambda: 'tessera_requests_finished_total{reason="stop"} 1' in page(url))
            self.assertEqual(page(url.replace("/metrics", "/health")).strip(), "ok")
            client.generate("Write.", **LONG)
            server.process.send_signal(signal.SIGTERM)

            def draining():
                try:
                    return page(url.replace("/metrics", "/health")) is None
                except urllib.error.HTTPError as error:
                    return error.code == 503
            eventually(draining)
            server.process.send_signal(signal.SIGTERM)
            gate.release()


class Load(Serve):
    def test_threads_of_clients_get_the_offline_answers(self):
        expected = offline_captions(pictures())
        server = self.serve("--batch", "8", "--prep-threads", "2")
        wrong = []

        def user(number):
            with server.client() as client:
                for turn in range(3):
                    file = pictures()[(number + turn) % 8]
                    if turn == 2:
                        client.call("cancel", id=client.generate("Write.", stream=True, **LONG))
                    done, texts = client.done(client.generate(picture(file), stream=True))
                    if texts[0].strip() != expected[file]:
                        wrong.append((file, texts, done))
        threads = [threading.Thread(target=user, args=(i,)) for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])
        with server.client() as client:
            self.assertEmpty(client)


if __name__ == "__main__":
    live.main()
