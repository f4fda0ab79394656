#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""That ci/tests_wait.py finds each way to wait for time, and leaves alone what waits for an event.

    tests/ci/test_tests_wait.py
"""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "ci"))
import tests_wait  # noqa: E402

PLANTED = {
    "tests/live/test_x.py": [
        "time.sleep(0.1)", "asyncio.sleep(1)", "from time import sleep", "begin = time.monotonic()",
        "run('x', timeout=30)", "thread.join(5)", "thread.join(timeout=0.5)", "client.socket.settimeout(10)",
        "process.wait(60)", "LIMIT_S = 20", "TIMEOUT = 1.5", "select.select([fd], [], [], 2)",
    ],
    "tests/unit/base/test_x.c": [
        "usleep(100);", "    sleep(1);", "nanosleep(&span, NULL);", "uv_sleep(20);", "Test(x, y, .timeout = 3) {",
        "cr_assert_lt(clock_ns() - begin, 1000);", "cr_expect(waited_ms < 100);", "poll(&one, 1, 500);", "alarm(3);",
        "setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);",
    ],
    "tests/cuda/test_x.cpp": ["std::this_thread::sleep_for(10ms);"],
    "tests/CMakeLists.txt": ["set_tests_properties(x PROPERTIES TIMEOUT 60)"],
    "ci/test": ["until [ -S s ]; do sleep 0.1; done", "timeout 10 ctest"],
}
GOOD = {
    "tests/live/test_x.py": [
        "eventually(lambda: path.exists())", "run('x', timeout=LIMIT)", "thread.join()", "', '.join(names)", "queue.get()",
        "values.get('x', 0)", "server.wait()", "client.generate('x', deadline_ms=300)", "IDLE_CONNECTIONS = 2000",
    ],
    "tests/unit/base/test_x.c": ["// usleep(100) would be", "poll(&one, 1, -1);", "cr_assert_geq(clock_ns() - begin, 5);"],
    "tests/CMakeLists.txt": ["set_tests_properties(x PROPERTIES TIMEOUT ${only_a_hang_s})"],
    "ci/test": ["head -n 1 ready | grep .", "# sleep 1 would be"],
}


class Planted(unittest.TestCase):
    def test_every_way_to_wait_for_time_is_found_with_its_line(self):
        for path, lines in PLANTED.items():
            for line in lines:
                with self.subTest(path=path, line=line):
                    self.assertEqual([number for number, _ in tests_wait.faults_of(path, f"\n\n{line}\n")], [3])

    def test_waiting_for_an_event_is_left_alone(self):
        for path, lines in GOOD.items():
            for line in lines:
                with self.subTest(path=path, line=line):
                    self.assertEqual(tests_wait.faults_of(path, f"{line}\n"), [])

    def test_only_what_is_named_may(self):
        self.assertEqual(tests_wait.faults_of("tests/live/live.py", "time.sleep(1)"), [])
        root = pathlib.Path(tests_wait.__file__).resolve().parents[1]
        for path in tests_wait.ALLOWED:
            self.assertTrue((root / path).exists(), f"{path} is gone, so it needs no exception")


if __name__ == "__main__":
    unittest.main(verbosity=2)
