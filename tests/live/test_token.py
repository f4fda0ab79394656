#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tessera token as an administrator runs it.

    tests/live/test_token.py PROGRAM
"""
import base64
import hashlib
import subprocess

import live
from live import LIMIT, LiveTest, run


class Token(LiveTest):
    def test_the_line_holds_the_hash_of_the_token(self):
        done = run("token", "alice")
        self.assertEqual(done.returncode, 0, done.stderr)
        token = done.stderr.splitlines()[1]
        self.assertRegex(token, "^tessera_[A-Za-z0-9_-]{43}$")
        self.assertEqual(len(base64.urlsafe_b64decode(token[8:] + "=")), 32)
        digest = hashlib.blake2b(token.encode(), digest_size=32).hexdigest()
        self.assertEqual(done.stdout, f"user alice token={digest}\n")

    def test_no_two_are_the_same(self):
        self.assertEqual(len({run("token", "alice").stdout for _ in range(8)}), 8)

    def test_a_wrong_name_is_a_usage_error(self):
        for arguments in (["token"], ["token", "a", "b"], ["token", "a b"], ["token", "x" * 64]):
            done = run(*arguments)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertEqual(done.stdout, "")
            self.assertIn("NAME" if len(arguments) != 2 else "not a user name", done.stderr)

    def test_a_full_disk_is_an_error(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run([live.PROGRAM, "token", "alice"], stdout=full, stderr=subprocess.PIPE,
                                  text=True, timeout=LIMIT, check=False)
        self.assertEqual(done.returncode, 3)
        self.assertIn("could not be written", done.stderr)


if __name__ == "__main__":
    live.main()
