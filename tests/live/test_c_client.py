#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The C client as another program gets it: installed, found by pkg-config, linked, talking to a server.

    tests/live/test_c_client.py PROGRAM BUILD-FOLDER [SANITIZERS]      needs python3-msgpack
"""
import os
import pathlib
import subprocess
import sys

import live
from live import LiveTest
from rpc import Server

PICTURE = sorted(live.PICTURES.glob("[0-9]*"))[0]


class CClient(LiveTest):
    def install(self):
        prefix = self.folder / "prefix"
        subprocess.run(["cmake", "--install", BUILD, "--prefix", prefix, "--component", "client"],
                       check=True, capture_output=True)
        found = dict(os.environ, PKG_CONFIG_PATH=str(next(prefix.rglob("pkgconfig"))))
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "tessera-client"], env=found, check=True,
                               capture_output=True, text=True).stdout.split()
        program = self.folder / "ask"
        subprocess.run(["cc", "-std=c17", "-Wall", "-Wextra", "-Werror", live.ROOT / "examples" / "c" / "ask.c", "-o",
                        program, *flags, *SANITIZE], check=True, cwd=self.folder)
        return program

    def test_the_example_asks_a_server(self):
        ask = self.install()
        offline = live.run("ask", "What is this?", "-m", live.MODEL, "--image", PICTURE)
        with Server(self.folder) as server:
            done = subprocess.run([ask, f"unix:{server.path}", "What is this?", PICTURE], capture_output=True,
                                  text=True, check=True)
            self.assertEqual(done.stdout.strip(), offline.stdout.strip(), offline.stderr)
            self.assertTrue(done.stdout.strip())
            refused = subprocess.run([ask, f"unix:{server.path}", "What is this?", __file__], capture_output=True,
                                     text=True, check=False)
            self.assertEqual(refused.returncode, 1)
            self.assertIn("E_IMAGE", refused.stderr)


if __name__ == "__main__":
    BUILD = pathlib.Path(sys.argv.pop(2)).resolve()
    SANITIZE = [f"-fsanitize={sys.argv.pop(2)}"] if len(sys.argv) > 2 and sys.argv[2] else []
    live.main()
