#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ci/layers.py finds what it is there for: one violation of each kind, planted in a tree of a few files."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import layers  # noqa: E402

HEAD = "// SPDX-License-Identifier: Apache-2.0\n// A head comment.\n"
TREE = {
    "base/bytes.h": "int bytes_count(int n);\n",
    "base/bytes.c": '#include "base/bytes.h"\nint bytes_count(int n) {\n    return n;\n}\n',
    "model/ops.h": '#include "base/bytes.h"\n',
    "model/engine.h": '#include "base/bytes.h"\n',
    "cpu/cpu.h": '#include "model/ops.h"\n',
    "host/step/stepper.h": '#include "model/engine.h"\n',
    "host/request/request.h": '#include "host/step/stepper.h"\n',
    "host/runtime/runtime.h": '#include "model/engine.h"\n',
    "host/server/service.c": '#include "host/request/request.h"\nstatic int count(void) {\n    return bytes_count(1);\n}\n',
    "host/cli/options.h": '#include "base/bytes.h"\n',
}


def faults_with(**changed):
    tree = dict(TREE)
    for name, text in changed.items():
        path = name.replace("__", "/").replace("_DOT_", ".")
        tree[path] = tree.get(path, "") + text
    return layers.faults_of({path: HEAD + text for path, text in tree.items()})


class Layers(unittest.TestCase):
    def assertFinds(self, words, **changed):
        faults = faults_with(**changed)
        self.assertTrue(any(words in fault for fault in faults), f"{words!r} is not in {faults}")

    def test_the_tree_without_a_violation_is_clean(self):
        self.assertEqual(faults_with(), [])

    def test_an_arrow_that_the_table_does_not_have(self):
        self.assertFinds("base may not include model/ops.h", base__bytes_DOT_h='#include "model/ops.h"\n')

    def test_a_header_behind_a_header_is_seen_through_a_waist(self):
        self.assertFinds("host/server/service.c: reaches cpu/cpu.h, through host/step/stepper.h",
                         host__step__stepper_DOT_h='#include "cpu/cpu.h"\n')
        self.assertFinds("host/server/service.c: reaches host/cli/options.h",
                         host__request__request_DOT_h='#include "host/cli/options.h"\n')

    def test_an_error_text_with_a_capital_or_a_full_stop(self):
        call = "static int open_it(int n) {\n    return error_set(n, E_IO,\n                     %s);\n}\n"
        fine = '"%s is \\"%u\\" of e.g. 3; " "give another"'
        self.assertEqual(faults_with(base__bytes_DOT_c=call % fine), [])
        self.assertFinds("base/bytes.c:8: an error text begins with a capital", base__bytes_DOT_c=call % '"The file %s ends", n')
        self.assertFinds("an error text has a full stop", base__bytes_DOT_c=call % '"the file " PRIu64 " ends."')
        self.assertFinds("an error text has a full stop", base__bytes_DOT_c=call % '"the file ends. Fetch " "it"')

    def test_two_rooms_that_reach_each_other(self):
        self.assertFinds("a circle of rooms", host__step__stepper_DOT_h='#include "host/request/request.h"\n')

    def test_two_files_of_a_room_that_call_each_other(self):
        one, two = "int slots_count(int n) {\n    return %s;\n}\n", "int service_count(int n) {\n    return slots_count(n);\n}\n"
        below = {"host__server__state_DOT_h": "int slots_count(int n);\nint service_count(int n);\n",
                 "host__server__service_DOT_c": two, "host__cli__serve_DOT_c": "static int a(void) {\n    service_count(1);\n}\n"}
        self.assertEqual(faults_with(**below, host__server__slots_DOT_c=one % "n"), [])
        self.assertFinds("host/server/slots.c: a circle of files, closed by host/server/service.c",
                         **below, host__server__slots_DOT_c=one % "service_count(n)")

    def test_a_function_that_nobody_uses_but_tests(self):
        unused = "int bytes_more(int n) {\n    return n;\n}\n"
        self.assertFinds("nothing but tests uses bytes_more", base__bytes_DOT_c=unused,
                         base__bytes_DOT_h="int bytes_more(int n);\n")
        said = {"base__bytes_DOT_c": unused, "base__bytes_DOT_h": "\n// For tests.\nint bytes_more(int n);\n"}
        self.assertEqual(faults_with(**said), [])

    def test_a_server_file_that_opens_a_runtime(self):
        self.assertFinds("host/server may not include host/runtime/runtime.h",
                         host__server__service_DOT_c='#include "host/runtime/runtime.h"\n')

    def test_the_habits(self):
        for words, line in {
            "a banned call": "    strcpy(a, b);\n",
            "the time comes from base/clock.h": "    time(0);\n",
            "files are made and removed in": '    fopen(path, "w");\n',
            "longer than 100 columns": "// " + 100 * "x" + "\n",
            "words for people go through": '    printf("x");\n',
            "an unfinished note": "// TO" + "DO later\n",
            "a launch outside": "    f<<<1, 1>>>();\n",
            "uv.h outside host/": "#include <uv.h>\n",
            "cuda_runtime.h outside": "#include <cuda_runtime.h>\n",
        }.items():
            with self.subTest(words):
                path = "base__bytes_DOT_c" if "uv" in words else "host__server__service_DOT_c"
                self.assertFinds(words, **{path: line})
        self.assertFinds("asm outside cuda/prim", cuda__a_DOT_cu='    asm("x");\n')
        self.assertFinds("split it or say why", host__server__service_DOT_c=801 * "\n")

    def test_a_function_that_is_long_or_takes_much(self):
        def function(line_count, parameters):
            return f"static int more(const int *a[2], {parameters}) {{\n" + (line_count - 2) * "    f(1, 2);\n" + "}\n"
        six, seven = "int b, int c,\n int d, // 1, 2)\n int (*e)(int, int), int f", "int b, int c, int d, int e,\n int f, int g"
        self.assertEqual(faults_with(base__bytes_DOT_c=function(58, six)), [])
        self.assertFinds("base/bytes.c:7: more has 61 lines", base__bytes_DOT_c=function(61, "int b"))
        self.assertFinds("more has 4 lines and 7 parameters", base__bytes_DOT_h=function(3, seven))
        self.assertFinds("more has 4 lines and 7 parameters", base__a_DOT_cu=function(3, seven).replace("more", "BOUND(1, 2) more"))
        excepted = function(3, seven).replace("more", "kv_load") + function(3, seven).replace("more", "kv_store")
        self.assertEqual(faults_with(cpu__kv_page_DOT_h=excepted), [])
        self.assertFinds("cpu/kv_page.h:kv_load: is excepted", cpu__kv_page_DOT_h=function(3, seven).replace("more", "kv_store"))

    def test_heads(self):
        faults = layers.faults_of({"base/a.h": "int x;\n", "base/b.h": HEAD.split("\n")[0] + "\nint x;\n"})
        self.assertIn("base/a.h:1: the first line is not the SPDX line", faults)
        self.assertIn("base/b.h:2: the head comment is missing", faults)


if __name__ == "__main__":
    unittest.main()
