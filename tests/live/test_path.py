#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/path.md tells the way of one caption in ten named steps. The log at level debug has these names, in this order.

    tests/live/test_path.py PROGRAM        needs python3-msgpack
"""
import re

import live
from live import LiveTest, eventually
from rpc import Server, picture

PAGE = live.ROOT / "docs" / "path.md"
STEP = re.compile(r"^## \d+\. `(\w+)`", re.M)
FILE = re.compile(r"`((?:\w+/)+\w+\.(?:c|h|def))`")


def events(log, wanted):
    """The names of the log's lines, those that are wanted, each where it comes first."""
    names = [fields[2] for line in log.splitlines() if len(fields := line.split(" ", 3)) > 2]
    return list(dict.fromkeys(name for name in names if name in wanted))


class Path(LiveTest):
    def test_the_log_of_one_caption_has_the_ten_names_of_the_page_in_its_order(self):
        names = STEP.findall(PAGE.read_text(encoding="utf-8"))
        self.assertEqual(len(names), 10)
        with Server(self.folder, "--log-level", "debug") as server:
            with server.client() as client:
                client.complete(picture(sorted(live.PICTURES.glob("[0-9]*"))[0]))
            eventually(lambda: names[-1] in events(server.log(), names), "the last name of the page")
            self.assertEqual(events(server.log(), names), names)

    def test_every_file_that_the_page_names_is_there(self):
        files = FILE.findall(PAGE.read_text(encoding="utf-8"))
        self.assertGreater(len(files), 20)
        self.assertEqual([file for file in files if not (live.ROOT / file).exists()], [])


if __name__ == "__main__":
    live.main()
