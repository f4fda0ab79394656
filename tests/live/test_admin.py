#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an administrator is given to set a server up: the samples of examples/server, tokens, tessera top.

    tests/live/test_admin.py PROGRAM        needs python3-msgpack
"""
import os
import pty
import re
import signal
import subprocess
import urllib.request

import live
from live import LIMIT, LiveTest, ROOT, eventually, run
from rpc import Server, picture

SAMPLES = ROOT / "examples" / "server"


class Admin(LiveTest):
    def serve(self, *arguments):
        server = Server(self.folder, "--metrics-port", "0", *arguments)
        server.__enter__()
        self.addCleanup(lambda: server.__exit__(None, None, None))
        return server

    def user(self, name, settings=""):
        """A new user: the token, and the line for the file."""
        made = run("token", name)
        return made.stderr.splitlines()[1], made.stdout.rstrip("\n") + settings + "\n"

    def top(self, server, *arguments, **more):
        return run("top", "--server", server.path, "--once", *arguments, **more)

    def metrics(self, server):
        with urllib.request.urlopen(server.metrics(), timeout=LIMIT) as answer:
            lines = answer.read().decode().splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

    def metric(self, server, series):
        return float(self.metrics(server)[series])

    def test_the_samples_work_as_they_are(self):
        # Only the model, the places and the port are other ones.
        server = self.serve("--config", SAMPLES / "tessera.conf", "--users", SAMPLES / "users.conf")
        self.assertRegex(self.top(server).stdout, r"\nlocal +0 ")
        self.assertFalse([series for series in self.metrics(server) if "user=" in series],
                         "names only where they are asked for")
        self.assertEqual(server.path.stat().st_mode & 0o777, 0o660)

    def test_the_unit_starts_the_server_with_options_it_has(self):
        unit = (SAMPLES / "tessera.service").read_text(encoding="utf-8")
        command = re.search(r"^ExecStart=/usr/local/bin/tessera (serve .*)$", unit, re.M).group(1).split()
        self.assertEqual(run(*command, "--help").returncode, 0)
        stop = int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M).group(1))
        drain = int(re.search(r"^drain = (\d+)$", (SAMPLES / "tessera.conf").read_text(), re.M).group(1))
        self.assertGreater(stop, drain, "systemd would kill a server that still drains")

    def test_top_and_the_metrics_show_what_a_user_got(self):
        server = self.serve("--metrics-users")
        with server.client() as client:
            done = client.complete(picture(sorted(live.PICTURES.glob("[0-9]*"))[0]))
        usage = done["usage"]
        shown = self.top(server)
        self.assertEqual(shown.returncode, 0, shown.stderr)
        row = re.search(r"^everyone +(.*)$", shown.stdout, re.M).group(1).split()
        self.assertEqual(row, ["0", "-", "-", str(usage["prompt_tokens"]), str(usage["output_tokens"]), "1",
                               "0"])
        self.assertIn("1 accepted, 0 refused, 0 failed, 0 cancelled; 1 captions", shown.stdout)
        for line in shown.stdout.splitlines():
            self.assertLessEqual(len(line), 80)
        for tokens in ("prompt_tokens", "output_tokens"):
            self.assertEqual(self.metric(server, f'tessera_user_{tokens}_total{{user="everyone"}}'), usage[tokens])

    def test_top_says_who_asks_with_a_file_or_the_environment(self):
        alice, alice_line = self.user("alice")
        bob, bob_line = self.user("bob", " weight=2")
        users = self.folder / "users.conf"
        users.write_text(alice_line)
        server = self.serve("--users", users)
        token_file = self.folder / "token"
        token_file.write_text(alice + "\n")
        self.assertEqual(self.top(server, "--token-file", token_file).returncode, 0)
        self.assertEqual(self.top(server, env={"TESSERA_TOKEN": alice}).returncode, 0)
        for unknown in ({"TESSERA_TOKEN": bob}, {}):
            refused = self.top(server, env=unknown)
            self.assertEqual(refused.returncode, 3)
            self.assertIn(str(server.path), refused.stderr)
        users.write_text(bob_line)
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: self.metric(server, "tessera_users_reloaded_total") == 1)
        self.assertEqual(self.top(server, env={"TESSERA_TOKEN": bob}).returncode, 0)
        self.assertEqual(self.top(server, env={"TESSERA_TOKEN": alice}).returncode, 3, "alice is gone")
        for secret in (alice, bob):
            self.assertNotIn(secret, server.log())

    def test_a_wrong_users_file_is_named_with_its_line(self):
        alice, line = self.user("alice")
        users = self.folder / "users.conf"
        users.write_text(line)
        server = self.serve("--users", users)
        users.write_text(line + "user bob token=none weight=heavy\n")
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: self.metric(server, "tessera_users_reload_failed_total") == 1)
        self.assertIn(f"{users}:2: weight: 'heavy' is not a number", server.log())
        self.assertEqual(self.top(server, env={"TESSERA_TOKEN": alice}).returncode, 0)
        self.assertEqual(self.top(server, env={}).returncode, 3, "bob is not let in")
        started = run("serve", "-m", live.MODEL, "--socket", self.folder / "other", "--users", users)
        self.assertNotEqual(started.returncode, 0)
        self.assertIn(f"{users}:2: weight", started.stderr)

    def test_the_metrics_file_is_the_page(self):
        path = self.folder / "tessera.prom"
        self.serve("--metrics-file", path)
        eventually(path.exists)
        text = path.read_text(encoding="utf-8")
        self.assertTrue(text.startswith("# HELP tessera_"))
        self.assertTrue(text.endswith("\n"))

    def test_top_over_the_terminal_says_that_a_server_hangs(self):
        server = self.serve()
        terminal, inner = pty.openpty()
        self.addCleanup(os.close, terminal)
        top = subprocess.Popen([live.PROGRAM, "top", "--server", server.path], stdin=inner, stdout=inner,
                               stderr=subprocess.PIPE, text=True)
        os.close(inner)
        shown = b""
        while b"everyone" not in shown:
            shown += os.read(terminal, 1 << 16)
        self.addCleanup(server.process.send_signal, signal.SIGCONT)
        server.process.send_signal(signal.SIGSTOP)
        errors = top.communicate(timeout=LIMIT)[1]
        self.assertEqual(top.returncode, 3, errors)
        self.assertIn(f"{server.path}: the connection stands, but nothing was answered within 10 s", errors)

    def test_top_without_a_server_says_where_it_looked(self):
        done = run("top", "--server", self.folder / "nowhere.sock")
        self.assertEqual(done.returncode, 3)
        self.assertIn("nowhere.sock: no server answers there", done.stderr)
        self.assertEqual(done.stdout, "")


if __name__ == "__main__":
    live.main()
