#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tessera serve until it is ready, and what it leaves behind: what is judged before a model is opened, signals at every
moment, whose socket it is, what a service manager is told.

    tests/live/test_start.py PROGRAM        needs python3-msgpack
"""
import os
import pathlib
import re
import select
import signal
import socket
import subprocess

import live
from live import LIMIT, Gate, LiveTest, eventually, run
from rpc import Server, picture

SCAN_MS = 5


def caught(process, number):
    """Does the process catch the signal already? Before main nobody can."""
    try:
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    except OSError:
        return False
    mask = re.search(r"^SigCgt:\s*(\w+)$", status, re.M)
    return mask is not None and int(mask.group(1), 16) >> (number - 1) & 1 == 1


class Judged(LiveTest):
    """Nothing here gets as far as the model, which is not there."""

    def refused(self, *arguments, status=3):
        done = run("serve", "-m", self.folder / "no-model", *arguments)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertNotIn("no-model", done.stderr)
        return done.stderr

    def test_what_is_asked_for_is_judged_before_the_model_is_opened(self):
        path = self.folder / "tessera.sock"
        file = self.folder / "file"
        file.write_text("mine", encoding="utf-8")
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        port = str(taken.getsockname()[1])
        for arguments, status, words in (
                (("--socket", "/nonexistent/folder/x.sock"), 3, "there is no folder /nonexistent/folder; make it"),
                (("--socket", file), 2, "is no socket"),
                (("--socket", "x" * 200), 2, "is longer than"),
                (("--listen", "gpu1"), 2, "is not HOST:PORT"),
                (("--listen", "127.0.0.1:65536"), 2, "is not HOST:PORT"),
                (("--listen", "0.0.0.0:0"), 2, "no users file"),
                (("--listen", "127.0.0.1:" + port), 3, "address already in use"),
                (("--socket", path, "--metrics-port", port), 3, "address already in use"),
                (("--socket", path, "--metrics-file", "/nonexistent/m.prom"), 3, "/nonexistent/m.prom"),
                (("--socket", path, "--users", self.folder / "nobody"), 3, "nobody"),
                (("--socket", path, "--users", file), 3, "file:1"),
        ):
            self.assertIn(words, self.refused(*arguments, status=status), arguments)
        config = self.folder / "tessera.conf"
        config.write_text('socket = "/run/tessera/x.sock"\n', encoding="utf-8")
        self.assertIn("leave the quotes out", self.refused("--config", config, status=2))
        self.assertEqual(sorted(self.folder.iterdir()), [file, config], "nothing is left behind")
        self.assertEqual(file.read_text(encoding="utf-8"), "mine")

    def test_a_second_server_ends_before_it_opens_a_model(self):
        with Server(self.folder) as server:
            self.assertIn("a server already listens there", self.refused("--socket", server.path))
            with server.client() as client:
                client.call("health")


class Socket(LiveTest):
    def test_the_socket_of_another_server_is_not_removed(self):
        first = Server(self.folder)
        for file in self.folder.glob("tessera.sock*"):  # as what cleans /tmp does
            file.unlink()
        with Server(self.folder) as second:
            self.assertEqual(first.stop(), 0)
            first.close(0)
            with second.client() as client:
                client.call("health")
        self.assertEqual([*self.folder.glob("tessera.sock*")], [])


class Signals(LiveTest):
    def setUp(self):
        super().setUp()
        self.gate = Gate(self.folder, "open")

    def send(self, number, when, outcome):
        """Sends the signal to a server that starts, when `when` says, and looks at the outcome."""
        users = self.folder / "users.conf"
        users.write_text("user local token=none\n", encoding="utf-8")
        with open(self.folder / "log", "w+", encoding="utf-8") as log:
            process = self.gate.process = subprocess.Popen(
                [live.HELD, "serve", "-m", live.MODEL, "--socket", self.folder / "s", "--users", users],
                stdout=subprocess.PIPE, stderr=log, text=True, env=self.gate.environment())
            try:
                eventually(lambda: caught(process, signal.SIGINT), "the first line of serve", of=process)
                when(process)
                process.send_signal(number)
                self.gate.release()
                outcome(process, lambda: (self.folder / "log").read_text(encoding="utf-8"))
            finally:
                process.kill()
                process.wait()
                process.stdout.close()
        self.assertFalse((self.folder / "s").exists())

    def scan(self, number, outcome):
        """Sends the signal while a server opens its engine; then to others at 0, 5, 10 ms after they catch it and so on,
        in longer and longer steps where a start takes long, until one was ready before."""
        self.gate.hold()
        self.send(number, lambda process: self.gate.reached(1), outcome)
        delay_ms, ready = 0, False

        def later(process):
            nonlocal ready
            ready = bool(select.select([process.stdout], [], [], delay_ms / 1000)[0])
        while not ready:
            self.send(number, later, outcome)
            delay_ms += max(SCAN_MS, delay_ms // 8)

    def goes_on(self, process, line, log):
        self.assertIn("ready", process.stdout.readline(), log())
        eventually(lambda: line in log(), line)
        process.terminate()
        self.assertEqual(process.wait(timeout=LIMIT), 0, log())

    def test_sighup_is_remembered_until_the_users_can_be_read_again(self):
        self.scan(signal.SIGHUP, lambda process, log: self.goes_on(process, "users count=1", log))

    def test_sigpipe_is_nothing(self):
        self.scan(signal.SIGPIPE, lambda process, log: self.goes_on(process, "", log))

    def ends(self, process, log):
        self.assertEqual(process.wait(timeout=LIMIT), 0, log())
        if "ready" not in process.stdout.read():
            self.assertIn("ended by a signal before it was ready", log())
            self.early += 1

    def test_sigterm_and_sigint_end_it(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            self.early = 0
            self.scan(number, self.ends)
            self.assertGreater(self.early, 0, "none came before it was ready")

    def test_an_ignored_sigint_stays_ignored_and_an_ignored_sighup_does_not(self):
        ignoring = "import os, signal, sys\n" \
                   "for number in (signal.SIGINT, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)\n" \
                   "os.execv(sys.argv[1], sys.argv[1:])"
        users = self.folder / "users.conf"
        users.write_text("user local token=none\n", encoding="utf-8")
        with Server(self.folder, "--users", users,
                    program=["/usr/bin/python3", "-c", ignoring, live.PROGRAM]) as server:
            server.process.send_signal(signal.SIGINT)
            server.process.send_signal(signal.SIGHUP)
            eventually(lambda: "users count=1" in server.log(), "SIGHUP")
            self.assertNotIn("number=2", server.log())


class Manager(LiveTest):
    def told(self):
        return self.manager.recv(4096).decode()

    def test_a_service_manager_is_told(self):
        for name in (str(self.folder / "notify"), f"@tessera-test-{os.getpid()}"):
            self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.addCleanup(self.manager.close)
            self.manager.settimeout(LIMIT)
            self.manager.bind(name.replace("@", "\0"))
            with Server(self.folder, environment=dict(os.environ, NOTIFY_SOCKET=name)) as server:
                self.assertEqual(self.told(), "READY=1")
                with server.client() as client:
                    client.complete(picture(sorted(live.PICTURES.glob("[0-9]*"))[0]), max_tokens=1)
                server.process.send_signal(signal.SIGHUP)
                self.assertEqual([self.told(), self.told()], ["RELOADING=1", "READY=1"])
                server.process.terminate()
                self.assertEqual(self.told(), "STOPPING=1")


if __name__ == "__main__":
    live.main()
