#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The clients against a running server: tessera caption and ask with --server must do what they do without,
and the Python package must read what the server says.

    tests/live/test_remote.py PROGRAM        needs python3-msgpack
"""
import asyncio
import json
import os
import pathlib
import signal
import sys

import live
from live import LIMIT, Gate, LiveTest, eventually, records, run, start
from rpc import Server

sys.path.insert(0, str(live.ROOT / "clients" / "python"))
from tessera_client import AsyncClient, Client, Message, Sampling, ServerError  # noqa: E402

GREEDY = Sampling(temperature=0, repetition_penalty=1.0)


class Remote(LiveTest):
    def setUp(self):
        super().setUp()
        self.server = Server(self.folder)
        self.addCleanup(self.end_server)
        self.address = f"unix:{self.server.path}"

    def end_server(self):
        if self.server is not None:
            self.server.__exit__(None, None, None)

    def serve_with(self, *arguments, **more):
        """Another server in place of the one that setUp started."""
        self.end_server()
        self.server = Server(self.folder, *arguments, **more)

    def serve_held(self, *arguments):
        """The same, and its steps wait for permission."""
        self.gate = Gate(self.folder)
        self.serve_with(*arguments, gate=self.gate)
        self.gate.hold()

    def step_until_first(self, journal):
        """Steps the held server until the first answer is out, and waits until its record is in the journal."""
        with self.server.client() as watcher:
            def stats():
                return watcher.call("stats")["server"]
            while stats()["requests_finished"] == 0:
                steps = stats()["steps"]
                self.gate.let()
                eventually(lambda: stats()["steps"] > steps)
        eventually(lambda: journal.exists() and journal.stat().st_size > 0)

    def here(self, command, *arguments, **more):
        return run(command, *arguments, "-m", live.MODEL, **more)

    def there(self, command, *arguments, **more):
        return run(command, *arguments, "--server", self.address, **more)


def comparable(path):
    """Records without their times, by file."""
    return {record["file"]: {**record, "ms": 0} for record in records(path)}


class Caption(Remote):
    def test_records_sidecars_and_sheet_are_those_of_a_local_run(self):
        folder = self.pictures(6)
        (folder / "99-broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
        made = {}
        for name, caption in (("here", self.here), ("there", self.there)):
            done = caption("caption", folder, "-o", self.folder / f"{name}.jsonl", "--sidecar", "--logprobs", 1,
                           "--html", self.folder / f"{name}.html")
            self.assertEqual(done.returncode, 1, done.stderr)
            made[name] = (comparable(self.folder / f"{name}.jsonl"),
                          {file.name: file.read_text() for file in folder.glob("*.txt")},
                          sorted(done.stdout.splitlines()))
            for file in folder.glob("*.txt"):
                file.unlink()
        broken = str(folder / "99-broken.jpg")
        errors = [made[name][0].pop(broken)["error"] for name in ("here", "there")]
        self.assertEqual(errors[0]["code"], errors[1]["code"])
        self.assertEqual(made["here"], made["there"])
        self.assertEqual(len(made["there"][1]), 6)
        self.assertIn("<img", (self.folder / "there.html").read_text())

    def test_a_journal_goes_on_here_or_there(self):
        folder, journal = self.pictures(4), self.folder / "j.jsonl"
        self.assertEqual(self.here("caption", *sorted(folder.iterdir())[:2], "-o", journal).returncode, 0)
        done = self.there("caption", folder, "-o", journal)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("2 of them by an earlier run", done.stderr)
        self.assertEqual(len(records(journal)), 4)

    def test_a_lost_server_is_reported_and_the_same_command_goes_on(self):
        journal = self.folder / "j.jsonl"
        pictures = sorted(live.PICTURES.glob("[0-9]*"))
        command = ["caption", *pictures, "-b", "4", "--server", self.address, "--reconnect", 0, "-o", journal]
        self.serve_held()
        process = start(*command)
        self.step_until_first(journal)
        os.kill(self.server.process.pid, signal.SIGKILL)
        self.server.close(None)
        self.server = None
        errors = process.communicate(timeout=LIMIT)[1]
        self.assertEqual(process.returncode, 3, errors)
        self.assertIn("the connection to the server was lost", errors)
        self.assertIn("the same command goes on where it stopped", errors)
        before = len(records(journal))
        self.assertIn(before, range(1, len(pictures)))
        self.assertEqual(run(*command).returncode, 3)  # nobody is there yet
        with Server(self.folder):
            done = run(*command)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"{before} of them by an earlier run", done.stderr)
        self.assertEqual(len(records(journal)), len(pictures))
        self.assertTrue(all(record["error"] is None for record in records(journal)))

    def test_an_interrupted_run_goes_on(self):
        journal = self.folder / "j.jsonl"
        pictures = sorted(live.PICTURES.glob("[0-9]*"))
        self.serve_held()
        process = start("caption", *pictures, "-b", "2", "-q", "--server", self.address, "-o", journal)
        self.step_until_first(journal)
        process.send_signal(signal.SIGINT)
        self.assertIn("the same command goes on", process.communicate(timeout=LIMIT)[1])
        self.gate.release()
        self.assertEqual(process.returncode, 130)
        self.assertEqual(self.there("caption", *pictures, "-o", journal).returncode, 0)
        self.assertEqual(len(records(journal)), len(pictures))

    def test_the_token_comes_from_the_environment_or_a_file(self):
        made = run("token", "alice")
        token, line = made.stderr.splitlines()[1], made.stdout.strip()
        users, file = self.folder / "users", self.folder / "token"
        users.write_text(line + "\n")
        file.write_text(token + "\n")
        self.serve_with("--users", users)
        picture = self.pictures(1)
        self.assertEqual(self.there("caption", picture, "--token-file", file).returncode, 0)
        self.assertEqual(self.there("caption", picture, env={**os.environ, "TESSERA_TOKEN": token}).returncode, 0)
        for around in ("{}\r\n", "  {}\n\n", "\ufeff{}", "\t{} \n"):  # what editors and shells leave there
            file.write_text(around.format(token))
            done = self.there("caption", picture, "--token-file", file)
            self.assertEqual(done.returncode, 0, (around, done.stderr))
            done = self.there("caption", picture, env={**os.environ, "TESSERA_TOKEN": around.format(token)})
            self.assertEqual(done.returncode, 0, (around, done.stderr))
            with Client(self.address, around.format(token)) as client:
                self.assertEqual(client.hello.user, "alice")
        for content in ("", "\n", f"{token}\n{token}\n", "a token"):
            file.write_text(content)
            done = self.there("caption", picture, "--token-file", file)
            self.assertEqual(done.returncode, 2, content)
            self.assertIn("one line with a token", done.stderr)
        for wrong in ({}, {"TESSERA_TOKEN": "guess"}):
            done = self.there("caption", picture, env={**os.environ, **wrong})
            self.assertEqual(done.returncode, 3)
            self.assertIn("token", done.stderr)

    def test_a_busy_server_is_asked_again(self):
        self.serve_held("--requests", 2, "-b", 2)
        process = start("caption", self.pictures(8), "-o", self.folder / "j.jsonl", "--server", self.address)
        with Client(self.address) as client:
            eventually(lambda: client.stats()["server"]["requests_refused"] > 0)
        self.gate.release()
        errors = process.communicate(timeout=LIMIT)[1]
        self.assertEqual(process.returncode, 0, errors)
        self.assertIn("8 captioned, 0 errors", errors)

    def test_a_picture_larger_than_the_servers_messages_is_an_error_of_its_own(self):
        self.serve_with("--message", 1)
        folder = self.pictures(2)
        (folder / "00-large.jpg").write_bytes(next(iter(sorted(folder.iterdir()))).read_bytes() + bytes(1 << 20))
        done = self.there("caption", folder, "-o", self.folder / "j.jsonl")
        self.assertEqual(done.returncode, 1, done.stderr)
        codes = [record["error"] and record["error"]["code"] for record in records(self.folder / "j.jsonl")]
        self.assertEqual(sorted(codes, key=str), ["E_LIMIT", None, None])

    def test_what_only_the_server_decides_is_refused(self):
        done = self.there("caption", live.PICTURES, "--weights", "int4")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--weights says how a model is run here", done.stderr)


class Ask(Remote):
    def test_answers_are_those_of_a_local_run(self):
        picture = sorted(live.PICTURES.glob("[0-9]*"))[0]
        for more in ((), ("--json", "--logprobs", 2), ("-t", 1, "--seed", 7), ("-n", 3), ("--stop", "on")):
            answers = [ask("ask", "What is it?", "-i", picture, *more) for ask in (self.here, self.there)]
            self.assertEqual(answers[1].returncode, 0, answers[1].stderr)
            texts = [json.loads(answer.stdout) if "--json" in more else answer.stdout for answer in answers]
            for text in texts:
                if "--json" in more:
                    text["ms"] = 0
            self.assertEqual(texts[0], texts[1], more)

    def test_errors_are_sentences(self):
        nobody = run("ask", "hi", "--server", "unix:/nowhere/s")
        self.assertEqual(nobody.returncode, 3)
        self.assertIn("no server answers there", nobody.stderr)
        wrong = run("ask", "hi", "--server", "nonsense")
        self.assertEqual(wrong.returncode, 2)
        self.assertIn("HOST:PORT", wrong.stderr)
        long = self.there("ask", "-", given="word " * 30000)
        self.assertEqual(long.returncode, 1, long.stderr)


class Python(Remote):
    def test_the_blocking_client(self):
        picture = sorted(live.PICTURES.glob("[0-9]*"))[0]
        with Client(self.address, timeout=LIMIT) as client:
            self.assertEqual(client.health(), "ok")
            model = client.models()[0]
            self.assertTrue(model.vision)
            whole = client.ask("Describe this image.", images=[picture], sampling=GREEDY)
            with client.stream("Describe this image.", images=[client.put_blob(picture.read_bytes())],
                               sampling=GREEDY) as stream:
                pieces = list(stream)
            self.assertEqual("".join(piece.text for piece in pieces), whole.text)
            self.assertEqual(stream.answer.samples, whole.samples)
            self.assertEqual([piece.seq for piece in pieces], list(range(len(pieces))))
            self.assertGreater(stream.answer.usage.cached_tokens, 0)
            self.assertEqual(whole.usage.output_tokens, whole.samples[0].tokens)
            words = [client.tokenize(text) for text in ("a fish", "a fish on a")]
            self.assertEqual(words[1][:len(words[0])], words[0])
            self.assertGreater(len(words[1]), len(words[0]))
            with self.assertRaises(ServerError) as caught:
                client.ask("x", images=[b"no picture"])
            self.assertEqual(caught.exception.name, "E_IMAGE_FORMAT")
            with self.assertRaises(ServerError) as caught:
                client.generate([{"role": "user", "content": "hi", "contnet": ""}])
            self.assertIn('no parameter named "contnet"', caught.exception.message)
            names = {method["name"] for method in client.api_info()["methods"]}
            self.assertTrue({"hello", "generate", "credit"} <= names)
            self.assertEqual(client.stats()["server"]["connections"], 1)

    def test_the_asyncio_client_with_many_at_once(self):
        pictures = sorted(live.PICTURES.glob("[0-9]*"))[:12]

        async def captions():
            async with AsyncClient(self.address) as client:
                answers = await asyncio.gather(*(client.ask("Describe this image.", images=[picture],
                                                            sampling=GREEDY) for picture in pictures))
                chat = [Message("user", "hi"), Message("assistant", "yes"), Message("user", "again")]
                async with await client.stream(chat, max_tokens=4) as stream:
                    async for _ in stream:
                        pass
                return [answer.text.strip() for answer in answers], stream.answer

        texts, chat = asyncio.run(captions())
        lines = self.here("caption", *pictures).stdout.splitlines()
        expected = {pathlib.Path(file).name: text for file, text in (line.split("\t") for line in lines)}
        self.assertEqual(texts, [expected[picture.name] for picture in pictures])
        self.assertLessEqual(chat.usage.output_tokens, 4)


if __name__ == "__main__":
    live.main()
