#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A server as its administrator sees it: the shipped samples, users, reload, metrics, top, the end.

    tests/live/test_admin.py PROGRAM
"""
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request

import live
from live import LiveTest, MODEL, ROOT, run

SAMPLES = ROOT / "examples" / "server"


class Server:
    """A running `tessera serve`; `log` is a file that holds its standard error."""

    def __init__(self, folder, *arguments):
        self.log = folder / "log"
        self.socket = folder / "s.sock"
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [live.PROGRAM, "serve", "-m", str(MODEL), "--socket", str(self.socket), "--metrics-port", "0",
                 *map(str, arguments)], stdout=subprocess.PIPE, stderr=log, text=True)
        ready = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/metrics", ready)
        if found is None:
            raise AssertionError(f"no server: {ready}{self.log.read_text()}")
        self.url = f"http://127.0.0.1:{found.group(1)}"

    def metrics(self):
        """The page as {series: value}."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return {series: float(value) for series, value in
                (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}

    def top(self, **more):
        return run("top", "--server", self.socket, "--once", **more)

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=60)
        self.process.stdout.close()
        return status


class Admin(LiveTest):
    def server(self, *arguments):
        server = Server(self.folder, *arguments)
        self.addCleanup(lambda: server.process.poll() is None and server.process.kill())
        return server

    def wait_for(self, what, seconds=10):
        end = time.monotonic() + seconds
        while not what():
            self.assertLess(time.monotonic(), end, "it did not come true in time")
            time.sleep(0.02)

    def user(self, name, settings=""):
        """A new user: the token, and the line for the file."""
        made = run("token", name)
        return made.stderr.splitlines()[1], made.stdout.rstrip("\n") + settings + "\n"

    def test_the_samples_work_as_they_are(self):
        # Only the model, the places and the port are other ones.
        server = self.server("--config", SAMPLES / "tessera.conf", "--users", SAMPLES / "users.conf")
        shown = server.top()
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertRegex(shown.stdout, r"\nlocal +0 ")
        self.assertEqual(server.socket.stat().st_mode & 0o777, 0o660)
        self.assertEqual(server.stop(), 0)
        self.assertFalse(server.socket.exists())

    def test_the_unit_starts_the_server_with_options_it_has(self):
        unit = (SAMPLES / "tessera.service").read_text(encoding="utf-8")
        command = re.search(r"^ExecStart=/usr/local/bin/tessera (serve .*)$", unit, re.M).group(1).split()
        self.assertEqual(run(*command, "--help").returncode, 0)
        stop = int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M).group(1))
        drain = int(re.search(r"^drain = (\d+)$", (SAMPLES / "tessera.conf").read_text(), re.M).group(1))
        self.assertGreater(stop, drain, "systemd would kill a server that still drains")

    def test_health_and_metrics_over_http(self):
        server = self.server()
        with urllib.request.urlopen(server.url + "/health", timeout=30) as answer:
            self.assertEqual((answer.status, answer.read()), (200, b"ok\n"))
        with self.assertRaises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(server.url + "/other", timeout=30)
        self.assertEqual(refused.exception.code, 404)
        refused.exception.close()
        first = server.metrics()
        self.assertEqual(first["tessera_draining"], 0)
        self.assertGreater(first['tessera_pages{pool="full"}'], 0)
        self.assertIn('tessera_user_output_tokens_total{user="everyone"}', first)
        server.top()
        self.wait_for(lambda: server.metrics()["tessera_connections"] == 0)
        self.assertEqual(server.metrics()["tessera_connections_opened_total"],
                         first["tessera_connections_opened_total"] + 1)
        self.assertEqual(server.stop(), 0)

    def test_users_come_and_go_without_a_restart(self):
        users = self.folder / "users.conf"
        alice, alice_line = self.user("alice")
        bob, bob_line = self.user("bob", " weight=2")
        users.write_text(alice_line)
        server = self.server("--users", users)
        self.assertEqual(server.top(env={"TESSERA_TOKEN": alice}).returncode, 0)
        for unknown in ({"TESSERA_TOKEN": bob}, {}):
            refused = server.top(env=unknown)
            self.assertEqual(refused.returncode, 3)
            self.assertIn(str(server.socket), refused.stderr)
        users.write_text(bob_line)
        server.reload()
        self.wait_for(lambda: server.metrics()["tessera_users_reloaded_total"] == 1)
        token_file = self.folder / "token"
        token_file.write_text(bob + "\n")
        shown = run("top", "--server", server.socket, "--once", "--token-file", token_file)
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertEqual(server.top(env={"TESSERA_TOKEN": alice}).returncode, 3, "alice is gone")
        log = server.log.read_text()
        for secret in (alice, bob):
            self.assertNotIn(secret, log)
        self.assertEqual(server.stop(), 0)

    def test_a_wrong_users_file_changes_nothing(self):
        users = self.folder / "users.conf"
        alice, line = self.user("alice")
        users.write_text(line)
        server = self.server("--users", users)
        users.write_text(line + "user bob token=none weight=heavy\n")
        server.reload()
        self.wait_for(lambda: server.metrics()["tessera_users_reload_failed_total"] == 1)
        self.assertIn(f"{users}:2: weight: 'heavy' is not a number", server.log.read_text())
        self.assertEqual(server.top(env={"TESSERA_TOKEN": alice}).returncode, 0)
        self.assertEqual(server.top(env={}).returncode, 3, "bob is not let in")
        self.assertEqual(server.stop(), 0)
        started = subprocess.run([live.PROGRAM, "serve", "-m", str(MODEL), "--socket", str(server.socket),
                                  "--users", str(users)], capture_output=True, text=True, timeout=60,
                                 check=False)
        self.assertNotEqual(started.returncode, 0)
        self.assertIn(f"{users}:2: weight", started.stderr)

    def test_the_metrics_file_is_the_page(self):
        path = self.folder / "tessera.prom"
        server = self.server("--metrics-file", path)
        self.wait_for(path.exists, seconds=20)
        text = path.read_text(encoding="utf-8")
        self.assertTrue(text.startswith("# HELP tessera_"))
        self.assertTrue(text.endswith("\n"))
        self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    live.main()
