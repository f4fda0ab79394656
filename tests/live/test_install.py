#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What lies on a machine after `cmake --install` and `pip install ./clients/python`: the unit as systemd reads it, the
server under the system calls the unit allows, the Python client's own tests on the installed copy.

    tests/live/test_install.py PROGRAM BUILD-FOLDER
        needs systemd-analyze and libseccomp (Debian's systemd), /bin/kill, python3-pip, python3-msgpack
"""
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys

import live
from live import LiveTest, ROOT
from rpc import Server

SAMPLES = ROOT / "examples" / "server"
UNIT = SAMPLES / "tessera.service"
PACKAGE = ROOT / "clients" / "python"
# Of 100, by systemd's weights of what a unit may do: what is left are sockets, /proc, the calls that set niceness. A
# setting that is lost shows here.
EXPOSURE_MAX = 15


def analyze(*arguments):
    return subprocess.run(["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, check=False,
                          env=dict(os.environ, SYSTEMD_PAGER="", LC_ALL="C"))


def calls_of(name):
    """The system calls of a set, those of the sets in it among them."""
    calls = set()
    for word in analyze("syscall-filter", name).stdout.split("\n")[1:]:
        word = word.strip()
        if word and not word.startswith("#"):
            calls |= calls_of(word) if word.startswith("@") else {word}
    return calls


def allowed(unit):
    """The system calls that the unit's SystemCallFilter lines leave."""
    calls = set()
    for no, names in re.findall(r"^SystemCallFilter=(~?)(.*)$", unit, re.M):
        for name in names.split():
            calls = calls - calls_of(name) if no else calls | calls_of(name)
    return calls


# Runs a program that the kernel kills at a system call outside a list, as it does in a unit.
CONFINED = """
import ctypes, os, sys
library = ctypes.CDLL("libseccomp.so.2")
library.seccomp_init.restype = ctypes.c_void_p
rules = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(0x80000000))) # SCMP_ACT_KILL_PROCESS
for name in sys.argv[1].split(","):
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number >= 0: # one of this machine
        assert library.seccomp_rule_add(rules, ctypes.c_uint32(0x7fff0000), number, 0) == 0, name # SCMP_ACT_ALLOW
assert library.seccomp_load(rules) == 0
os.execv(sys.argv[2], sys.argv[2:])
"""

QUESTIONS = """
import asyncio, sys
from tessera_client import AsyncClient, Client
address, picture = sys.argv[1:]
async def ask():
    async with AsyncClient(address) as client:
        return (await client.ask("Describe this image.", images=[picture], max_tokens=40)).text
with Client(address) as client:
    answer = client.ask("Describe this image.", images=[picture], max_tokens=40).text
assert answer and answer == asyncio.run(ask()), answer
print(answer)
"""


def confined(calls, *command):
    return [sys.executable, "-c", CONFINED, ",".join(sorted(calls)), *map(str, command)]


class Installed(LiveTest):
    def setUp(self):
        super().setUp()
        self.root = self.folder / "root"

    def install(self):
        """What docs/operations.md installs, and of Debian what systemd looks for beside it."""
        subprocess.run(["cmake", "--install", BUILD], check=True, capture_output=True,
                       env=dict(os.environ, DESTDIR=str(self.root)))
        self.unit = self.root / "etc" / "systemd" / "system" / "tessera.service"
        self.unit.parent.mkdir(parents=True)
        shutil.copy(UNIT, self.unit)
        shutil.copytree("/lib/systemd/system", self.root / "lib" / "systemd" / "system", symlinks=True)
        (self.root / "bin").mkdir()
        shutil.copy("/bin/kill", self.root / "bin")

    def verify(self):
        """What systemd has to say about the unit: nothing, when all is well."""
        done = analyze("verify", "--man=no", f"--root={self.root}", "tessera.service")
        return done.stdout + done.stderr + (f"status {done.returncode}" if done.returncode != 0 else "")

    def test_systemd_reads_the_unit_and_finds_what_it_names(self):
        self.install()
        self.assertEqual(self.verify(), "")
        page = re.search(r"^Documentation=man:(\w+)\((\d)\)$", UNIT.read_text(), re.M)
        self.assertTrue(list(self.root.rglob(f"man{page.group(2)}/{page.group(1)}.{page.group(2)}")))
        done = analyze("security", "--offline=yes", f"--root={self.root}", f"--threshold={EXPOSURE_MAX}",
                       "tessera.service")
        self.assertEqual(done.returncode, 0, done.stdout[-200:] + done.stderr)
        # That it would have said so.
        self.unit.write_text(UNIT.read_text().replace("LimitCORE", "LimitCores"))
        self.assertIn("Unknown key 'LimitCores'", self.verify())
        self.unit.write_text(UNIT.read_text())
        next(self.root.rglob("bin/tessera")).unlink()
        self.assertIn("/usr/local/bin/tessera is not executable", self.verify())

    def pip(self):
        """Installs the client as pip does it, without the network; pip builds in the folder it is given."""
        shutil.copytree(PACKAGE, self.folder / "package", ignore=shutil.ignore_patterns("build", "*.egg-info"))
        target = self.folder / "site"
        subprocess.run([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-index",
                        "--no-build-isolation", "--no-deps", "--no-cache-dir", "--target", target,
                        self.folder / "package"], check=True, capture_output=True, text=True)
        shutil.rmtree(self.folder / "package")
        return dict(os.environ, PYTHONPATH=str(target))

    def test_the_python_client_is_whole_where_pip_puts_it(self):
        environment = self.pip()
        where = subprocess.run([sys.executable, "-c", "import tessera_client; print(tessera_client.__file__)"],
                               env=environment, cwd=self.folder, capture_output=True, text=True, check=True).stdout
        self.assertTrue(pathlib.Path(where.strip()).is_relative_to(self.folder / "site"), where)
        self.assertTrue((self.folder / "site" / "tessera_client" / "py.typed").exists(), "its types are found")
        tests = subprocess.run([sys.executable, "-m", "unittest", "discover", "-s", PACKAGE / "tests"], env=environment,
                               cwd=self.folder, capture_output=True, text=True, check=False)
        self.assertEqual(tests.returncode, 0, tests.stderr)
        self.assertRegex(tests.stderr, r"Ran [1-9]\d* tests")
        # And with a server that does only what the unit lets it do.
        calls = allowed(UNIT.read_text())
        picture = sorted(live.PICTURES.glob("[0-9]*.webp"))[0]  # starts a decoder, under the same calls
        self.assertIn("\nType=notify\n", UNIT.read_text())
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.bind(str(self.folder / "notify"))
        with Server(self.folder, "--config", SAMPLES / "tessera.conf", "--users", SAMPLES / "users.conf",
                    "--metrics-port", "0", "--listen", "127.0.0.1:0",
                    program=confined(calls, live.PROGRAM),
                    environment=dict(os.environ, NOTIFY_SOCKET=str(self.folder / "notify"))) as server:
            self.assertEqual(manager.recv(64), b"READY=1")
            done = subprocess.run([sys.executable, "-c", QUESTIONS, f"unix:{server.path}", picture], env=environment,
                                  cwd=self.folder, capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
        # That it would have been killed.
        killed = subprocess.run(confined(calls - {"socket"}, live.PROGRAM, "serve", "-m", live.MODEL, "--socket",
                                         self.folder / "x"), capture_output=True, check=False)
        self.assertEqual(killed.returncode, -31, killed.stderr) # SIGSYS


if __name__ == "__main__":
    BUILD = pathlib.Path(sys.argv.pop(2)).resolve()
    live.main()
