#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A server that is lost while tessera caption or ask waits for it: it comes back, it never does, or another one comes.

    tests/live/test_reconnect.py PROGRAM        needs python3-msgpack
"""
import errno
import os
import pathlib
import signal
import socket
import subprocess

import live
from live import LIMIT, MODEL, Gate, LiveTest, eventually, records, run
from rpc import Server


class Reconnect(LiveTest):
    def setUp(self):
        super().setUp()
        self.gate = Gate(self.folder)
        self.journal = self.folder / "j.jsonl"
        self.pictures = sorted(live.PICTURES.glob("[0-9]*"))
        self.server = Server(self.folder, gate=self.gate)
        self.addCleanup(self.end)
        self.process = None

    def end(self):
        self.gate.release()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.server is not None:
            self.server.__exit__(None, None, None)

    def command(self, *more):
        return ["caption", *self.pictures, "-b", "4", "-o", self.journal, "--server", f"unix:{self.server.path}", *more]

    def start(self, *arguments):
        """The program with its standard error in a file, where a line can be waited for."""
        self.errors_path = self.folder / "errors"
        with open(self.errors_path, "w", encoding="utf-8") as errors:
            self.process = subprocess.Popen([live.PROGRAM, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=errors)

    def errors(self):
        return self.errors_path.read_text(encoding="utf-8")

    def says(self, text):
        eventually(lambda: text in self.errors(), text, of=self.process)

    def ends(self, status):
        self.process.wait(timeout=LIMIT)
        self.assertEqual(self.process.returncode, status, self.errors())

    def answered(self):
        return len(records(self.journal)) if self.journal.exists() else 0

    def caption_until_first(self, *more):
        """Captions go on at a held server that has answered at least one and has others under way."""
        self.gate.hold()
        self.start(*self.command(*more))
        self.gate.let_until(lambda: self.journal.exists() and self.journal.stat().st_size > 0)

    def kill(self):
        os.kill(self.server.process.pid, signal.SIGKILL)
        self.server.close(None)
        self.server = None
        self.gate.release()

    def again(self, *arguments, **more):
        self.server = Server(self.folder, *arguments, **more)

    def whole(self):
        """Every picture has one record, and it is that of a run that lost nothing."""
        made = {record["file"]: {**record, "ms": 0} for record in records(self.journal)}
        self.assertEqual(len(made), self.answered(), "no answer came twice")
        alone = self.folder / "alone.jsonl"
        self.assertEqual(run("caption", *self.pictures, "-m", MODEL, "-o", alone).returncode, 0)
        self.assertEqual(made, {record["file"]: {**record, "ms": 0} for record in records(alone)})


class Caption(Reconnect):
    def test_a_server_that_is_killed_and_started_again_loses_nothing(self):
        self.caption_until_first()
        self.kill()
        self.says("the connection to the server was lost; trying again for up to 300 s")
        self.again()
        self.ends(0)
        self.assertIn("the server is back", self.errors())
        self.whole()

    def test_a_server_that_drains_answers_what_it_has_and_the_next_one_the_rest(self):
        self.caption_until_first()
        self.server.process.send_signal(signal.SIGTERM)
        eventually(lambda: "drain" in self.server.log(), of=self.process)
        self.gate.release()
        self.assertEqual(self.server.wait(), 0)
        self.server.close(0)
        self.server = None
        self.says("trying again")
        self.again()
        self.ends(0)
        self.whole()

    def test_a_server_that_never_returns_ends_the_run_and_the_next_run_does_the_rest(self):
        self.caption_until_first("--reconnect", 1)
        command = self.command("--reconnect", 1)
        self.kill()
        self.ends(3)
        self.assertIn("the server was lost and has answered nothing for 1 s", self.errors())
        self.assertIn("the same command goes on where it stopped", self.errors())
        before = self.answered()
        self.assertIn(before, range(1, len(self.pictures)))
        self.again()
        done = run(*command)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"{before} of them by an earlier run", done.stderr)
        self.whole()

    def test_an_interruption_ends_the_looking_at_once(self):
        self.caption_until_first("--reconnect", 86400)
        self.kill()
        self.says("trying again for up to 86400 s")
        self.process.send_signal(signal.SIGINT)
        self.ends(130)
        self.assertIn("the same command goes on where it stopped", self.errors())

    def test_a_server_that_returns_with_another_model_is_not_asked(self):
        packed = self.folder / "other.tsr"
        self.assertEqual(run("quantize", MODEL, "-w", "int8", "-o", packed).returncode, 0)
        self.caption_until_first()
        self.kill()
        self.says("trying again")
        before = self.answered()
        self.again(model=packed)
        self.ends(3)
        self.assertIn("another model answers there now", self.errors())
        self.assertNotIn("goes on where it stopped", self.errors())
        self.assertEqual(self.answered(), before, "its answers are not in the journal")


class Silence(LiveTest):
    """Somebody is there and answers nothing: the network, a server that hangs, or another program."""

    def commands(self, address):
        """Every command that connects, at the address."""
        picture = sorted(live.PICTURES.glob("[0-9]*"))[0]
        server = ("--server", address)
        self.journal = self.folder / "j.jsonl"
        return {"ask": ("ask", "hi", *server), "top": ("top", "--once", *server),
                "caption": ("caption", picture, "-q", "-o", self.journal, *server)}

    def interrupts(self, address, waits):
        """Each command is interrupted when `waits` says that it waits."""
        for name, command in self.commands(address).items():
            with self.subTest(name):
                process = live.start(*command)
                waits(process)
                process.send_signal(signal.SIGINT)
                errors = process.communicate(timeout=LIMIT)[1]
                self.assertEqual(process.returncode, 130, errors)
                words = "tessera caption: interrupted; the same command goes on where it stopped\n"
                self.assertEqual(errors, words if name == "caption" else "")

    def listens(self, path):
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(str(path))
        listener.listen()
        return listener

    def test_an_interruption_ends_the_wait_for_a_machine_that_answers_nothing(self):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            port = listener.getsockname()[1]
            # The queue is full when a connection finds no place: from then on nothing is answered.
            asked = [ask_nothing(port)]
            while unanswered(port) == 0:
                asked.append(ask_nothing(port))
                self.assertLess(len(asked), 100, "a queue of no length is full sooner")

            def waits(process):
                eventually(lambda: unanswered(port, sockets(process)), of=process)

            self.interrupts(f"127.0.0.1:{port}", waits)
            for each in asked:
                each.close()

    def test_an_interruption_ends_the_wait_for_a_place_in_the_queue_of_a_unix_socket(self):
        path = self.folder / "full"
        listener = self.listens(path)
        listener.listen(0)
        asked = []
        full = False
        while not full:
            asked.append(socket.socket(socket.AF_UNIX))
            asked[-1].setblocking(False)
            full = asked[-1].connect_ex(str(path)) == errno.EAGAIN
        self.interrupts(path, lambda process: eventually(lambda: sockets(process), of=process))
        for each in asked:
            each.close()

    def test_an_interruption_ends_the_wait_for_the_greeting(self):
        listener = self.listens(self.folder / "silent")

        def waits(process):
            peer = listener.accept()[0]
            self.addCleanup(peer.close)
            self.assertTrue(peer.recv(1), process.args)  # of its hello

        self.interrupts(self.folder / "silent", waits)

    def test_the_greeting_and_the_connection_have_a_limit(self):
        silent, full = self.folder / "silent", self.folder / "full"
        self.listens(silent)
        self.listens(full).listen(0)
        asked = socket.socket(socket.AF_UNIX)
        self.addCleanup(asked.close)
        asked.connect(str(full))
        sentences = {silent: f"{silent}: the connection stands, but nothing was answered within 10 s; see whether",
                     full: f"{full}: no server answers there (Connection timed out); start one"}
        started = [(live.start(*command), sentence) for path, sentence in sentences.items()
                   for command in self.commands(path).values() if "caption" not in command]
        started.append((live.start(*self.commands(silent)["caption"]), sentences[silent]))
        for process, sentence in started:
            errors = process.communicate(timeout=LIMIT)[1]
            self.assertEqual(process.returncode, 3, errors)
            self.assertIn(sentence, errors)


class SilentAgain(Reconnect):
    def test_a_server_that_returns_and_does_not_greet_is_tried_again(self):
        self.caption_until_first("--reconnect", 86400)
        path = self.server.path
        self.kill()
        self.says("trying again for up to 86400 s")
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            first = listener.accept()[0]
            second = listener.accept()[0]  # the first was waited for long enough
            path.unlink()
        first.close()
        second.close()
        self.again()
        self.ends(0)
        self.whole()


def sockets(process):
    """The inode numbers of a process's sockets."""
    names = []
    for path in pathlib.Path(f"/proc/{process.pid}/fd").iterdir():
        try:
            names.append(os.readlink(path))
        except OSError:  # closed meanwhile
            continue
    return {name[len("socket:["):-1] for name in names if name.startswith("socket:")}


def ask_nothing(port):
    """A connection that is asked for and not waited for; known to the system as made or as unanswered."""
    peer = socket.socket()
    peer.setblocking(False)
    peer.connect_ex(("127.0.0.1", port))
    return peer


def unanswered(port, of=None):
    """Connections to the port for which nothing came back (SYN_SENT); of: only sockets with these numbers."""
    lines = pathlib.Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return sum(fields[2].endswith(f":{port:04X}") and fields[3] == "02" and (of is None or fields[9] in of)
               for fields in map(str.split, lines))


class Ask(Reconnect):
    def ask(self, *more):
        self.gate.hold()
        self.start("ask", "What is it?", "-i", self.pictures[0], "--server", f"unix:{self.server.path}", *more)
        self.gate.reached(1)

    def test_a_question_that_nothing_was_said_of_is_asked_again(self):
        self.ask("--json")
        self.kill()
        self.says("trying again for up to 10 s")
        self.again()
        self.ends(0)

    def test_it_gives_up_sooner(self):
        self.ask("--reconnect", 1)
        self.kill()
        self.ends(3)
        self.assertIn("the server was lost and has answered nothing for 1 s", self.errors())

    def test_half_an_answer_is_not_begun_again(self):
        self.ask()
        with self.server.client() as watcher:
            self.gate.let_until(lambda: watcher.call("stats")["server"]["output_tokens"] > 1)
        self.kill()
        self.ends(3)
        self.assertIn("the connection to the server was lost in the middle of the answer; ask again", self.errors())

    def test_reconnect_without_a_server_is_refused(self):
        done = run("ask", "hi", "-m", MODEL, "--reconnect", 1)
        self.assertEqual(done.returncode, 2)
        self.assertIn("add --server", done.stderr)


if __name__ == "__main__":
    live.main()
