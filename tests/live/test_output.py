#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Where results go, as a user sees it: what stands under the name of a result, devices, pipes, links, signals, full
and closed standard descriptors.

    tests/live/test_output.py PROGRAM
"""
import os
import pathlib
import signal
import stat
import subprocess
import threading

import live
from live import LIMIT, Gate, LiveTest, MODEL, PICTURES, eventually, run, start


class Results(LiveTest):
    """Every command that writes a whole file, by one table."""

    def commands(self):
        """name -> (arguments before the file, what the file begins with)"""
        return {
            "quantize": (["quantize", MODEL, "-q", "-o"], b"TESSERA"),
            "logits": (["logits", "-m", MODEL, "--tokens", "2,105", "-o"], b"\x93NUMPY"),
            "html": (["caption", PICTURES / "01-fish.jpg", "-m", MODEL, "-q", "--html"], b"<!doctype html>"),
        }

    def test_a_link_stays_and_the_file_behind_it_keeps_its_mode(self):
        for name, (command, begin) in self.commands().items():
            with self.subTest(name):
                target, link = self.folder / f"{name}.target", self.folder / f"{name}.link"
                target.write_text("old")
                target.chmod(0o604)
                link.symlink_to(target.name)
                self.assertEqual(run(*command, link).returncode, 0)
                self.assertTrue(link.is_symlink())
                self.assertEqual(target.read_bytes()[:len(begin)], begin)
                self.assertEqual(stat.S_IMODE(target.stat().st_mode), 0o604)

    def test_a_device_is_written_to_and_stays(self):
        null = pathlib.Path("/dev/null")
        if os.geteuid() == 0:
            null = self.folder / "null"  # where root could replace it
            os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        for name, (command, _) in self.commands().items():
            with self.subTest(name):
                done = run(*command, null)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertTrue(null.is_char_device())
                self.assertEqual(run(*command, "/dev/full").returncode, 3)

    def test_a_pipe_gets_the_bytes(self):
        for name, (command, begin) in self.commands().items():
            with self.subTest(name):
                pipe = self.folder / f"{name}.pipe"
                os.mkfifo(pipe)
                got = []
                reader = threading.Thread(target=lambda path=pipe, to=got: to.append(path.read_bytes()))
                reader.start()
                self.assertEqual(run(*command, pipe).returncode, 0)
                reader.join(LIMIT)
                self.assertEqual(got[0][:len(begin)], begin)
                self.assertTrue(pipe.is_fifo())

    def test_a_minus_is_standard_output_or_refused(self):
        for name, (command, begin) in self.commands().items():
            with self.subTest(name):
                done = subprocess.run([os.path.abspath(live.PROGRAM), *map(str, command), "-"], cwd=self.folder,
                                      capture_output=True, check=False, timeout=LIMIT)
                self.assertEqual(os.listdir(self.folder), [], "a file of that name")
                if name == "html":
                    self.assertEqual(done.returncode, 2)
                    self.assertIn(b"--html -", done.stderr)
                else:
                    self.assertEqual(done.returncode, 0, done.stderr)
                    whole = self.folder.parent / f"{self.folder.name}-{name}"
                    self.addCleanup(whole.unlink)
                    run(*command, whole)
                    self.assertEqual(done.stdout, whole.read_bytes())
                    self.assertEqual(done.stdout[:len(begin)], begin)

    def test_a_place_that_cannot_take_it_is_told_before_the_model_is_opened(self):
        for name, (command, _) in self.commands().items():
            with self.subTest(name):
                command = [self.folder / "no-model" if part == MODEL else part for part in command]
                done = run(*command, self.folder / "missing" / "file")
                self.assertEqual(done.returncode, 3)
                self.assertIn("missing/file", done.stderr)
                self.assertNotIn("no-model", done.stderr)


class Settings(LiveTest):
    def test_what_is_set_wrongly_is_told_before_anything_is_opened_or_read(self):
        picture, nothing = PICTURES / "01-fish.jpg", self.folder / "no-model"
        journal = self.folder / "j"
        here = ["-m", nothing]
        for arguments, text in (
                (["caption", picture, "--server", "nonsense"], "is no address"),
                (["caption", picture, "--server", "host:70000"], "1 to 65535"),
                (["caption", picture, "--server", "host:http"], "1 to 65535"),
                (["caption", picture, "--server", "unix:"], "1 to 107 bytes"),
                (["caption", picture, "--server", "unix:/" + "x" * 200], "1 to 107 bytes"),
                (["caption", picture, "--server", "host:1", "--weights", "int8"], "--weights"),
                (["caption", picture, "--server", "host:1", "--stop", ""], "--stop"),
                (["caption", picture, "--server", "host:1", "--token-file", self.folder], "regular file"),
                (["caption", picture, *here, "--stop", ""], "--stop"),
                (["caption", picture, *here, "--html", "-"], "--html"),
                (["caption", picture, *here, "--html", self.folder / "missing" / "x"], "missing/x"),
                (["caption", picture, *here, "-o", self.folder / "missing" / "j"], "missing/j"),
                (["caption", picture, *here, "--existing", "skip"], "--sidecar"),
                (["caption", picture, *here, "--device", "cuda"], "--device cpu"),
                (["caption", "-", *here, "--stop", ""], "--stop"),
                (["ask", "-", "--server", "nonsense"], "is no address"),
                (["logits", *here, "--tokens", "2", "-o", self.folder / "missing" / "x"], "missing/x"),
                (["quantize", nothing, "-o", self.folder], "directory"),
                (["quantize", nothing, "-o", self.folder / "missing" / "x"], "missing/x"),
                (["quantize", nothing, "-o", self.folder / "x", "-w", "bf16", "-g", "64"], "--group"),
                (["top", "--server", "nonsense"], "is no address")):
            with self.subTest(arguments):
                if arguments[0] == "caption" and "-o" not in arguments and "-" not in arguments:
                    arguments = [*arguments, "-o", journal]
                # Standard input that never ends: whoever reads it first hangs.
                reading, writing = os.pipe()
                done = subprocess.run([live.PROGRAM, *map(str, arguments)], stdin=reading, capture_output=True,
                                      text=True, timeout=LIMIT, check=False)
                os.close(reading)
                os.close(writing)
                self.assertIn(done.returncode, (2, 3))
                self.assertIn(text, done.stderr)
                self.assertNotIn("no-model", done.stderr)
                self.assertFalse(journal.exists(), "nothing was begun")

    def test_the_contact_sheet_does_not_take_the_journals_place(self):
        journal = self.folder / "j"
        command = ["caption", PICTURES / "01-fish.jpg", "-m", MODEL, "-o", journal]
        self.assertEqual(run(*command).returncode, 0)
        done = run(*command, "--html", journal)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertEqual(len(live.records(journal)), 1)

    def test_a_group_that_nothing_has_is_refused(self):
        for command in (["caption", PICTURES / "01-fish.jpg", "-m", MODEL], ["info", MODEL],
                        ["quantize", MODEL, "-o", self.folder / "x"]):
            done = run(*command, "--group", "64")
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("--group is for int8 and int4 weights", done.stderr)


class Sidecars(LiveTest):
    def caption(self, folder, *arguments):
        return run("caption", folder, "-m", MODEL, "--sidecar", *arguments)

    def captioned(self, count):
        """Pictures, and what each sidecar must have."""
        folder = self.pictures(count)
        done = run("caption", folder, "-m", MODEL, "-q")
        return folder, {pathlib.Path(name).with_suffix(".txt"): caption + "\n"
                        for name, caption in (line.split("\t") for line in done.stdout.splitlines())}

    def expect(self, wanted):
        self.assertEqual({path: path.read_text() for path in wanted}, wanted)

    def test_nobodys_text_is_overwritten_unasked(self):
        folder, wanted = self.captioned(3)
        mine, equal, _ = sorted(wanted)
        caption = wanted[mine]
        mine.write_text("written by hand")
        equal.write_text(wanted[equal])
        for arguments, status, there in (([], 1, "written by hand"), (["--existing", "skip"], 0, "written by hand"),
                                         (["--existing", "overwrite"], 0, caption)):
            with self.subTest(arguments):
                done = self.caption(folder, *arguments)
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertEqual(len(done.stdout.splitlines()), 3)
                self.assertEqual("left out: 1 sidecar with other text" in done.stderr, there == "written by hand")
                self.assertEqual("--existing overwrite" in done.stderr, status == 1)
                self.expect(wanted | {mine: there})

    def test_a_picture_is_never_overwritten(self):
        picture = self.folder / "pic.txt"
        picture.write_bytes((PICTURES / "01-fish.jpg").read_bytes())
        for arguments in ([], ["--existing", "skip"], ["--existing", "overwrite"]):
            done = self.caption(picture, *arguments)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn("pic.txt: a picture", done.stderr)
            self.assertEqual(picture.read_bytes(), (PICTURES / "01-fish.jpg").read_bytes())

    def test_existing_without_sidecar_is_refused(self):
        done = run("caption", self.pictures(1), "-m", MODEL, "--existing", "skip")
        self.assertEqual(done.returncode, 2)
        self.assertIn("add --sidecar", done.stderr)

    def test_a_sidecar_that_cannot_be_written_harms_no_other_and_is_tried_again_without_the_model(self):
        folder, wanted = self.captioned(4)
        blocked, long_name = sorted(wanted)[1], "x" * 251 + ".jpg"
        blocked.mkdir()  # root could write into a closed folder
        (folder / long_name).write_bytes((PICTURES / "01-fish.jpg").read_bytes())
        journal = self.folder / "j"
        done = self.caption(folder, "-o", journal)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("5 of 5 pictures: 4 captioned, 1 error", done.stderr)
        self.assertIn(blocked.name, done.stderr)
        self.expect({path: text for path, text in wanted.items() if path != blocked})
        self.assertTrue((folder / ("x" * 251 + ".txt")).exists(), "every legal name is written")
        self.assertEqual([record["error"] for record in live.records(journal)], [None] * 5)
        blocked.rmdir()
        again = self.caption(folder, "-o", journal)
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertIn("5 of them by an earlier run", again.stderr)
        self.assertEqual(len(live.records(journal)), 5)
        self.expect(wanted)

    def test_a_finished_journal_gives_its_sidecars_without_the_model(self):
        folder, wanted = self.captioned(3)
        journal = self.folder / "j"
        run("caption", folder, "-m", MODEL, "-o", journal)
        written = journal.read_bytes()
        for missing in (list(wanted), sorted(wanted)[:1]):
            for path in missing:
                path.unlink(missing_ok=True)
            done = self.caption(folder, "-o", journal)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("3 of them by an earlier run", done.stderr)
            self.expect(wanted)
            self.assertEqual(journal.read_bytes(), written)


class Signals(LiveTest):
    def setUp(self):
        super().setUp()
        self.gate = Gate(self.folder)
        self.addCleanup(self.gate.release)
        self.folder = self.folder / "results"
        self.folder.mkdir()

    def start_logits(self, **more):
        """A command whose file is on its way: the first of its three steps has made its temporary file, and the second waits."""
        ids = ",".join(["2"] + ["105"] * 300)
        self.gate.hold()
        process = start("logits", "-m", MODEL, "--tokens", ids, "-j", "1", "-o", self.folder / "logits.npy",
                        gate=self.gate, **more)
        self.gate.let_until(lambda: any(name.startswith(".new-") for name in os.listdir(self.folder)))
        return process

    def test_the_temporary_file_is_gone_after_a_signal(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(number):
                process = self.start_logits()
                process.send_signal(number)
                self.gate.release()
                process.communicate(timeout=LIMIT)
                self.assertEqual(process.returncode, 130)
                self.assertEqual(os.listdir(self.folder), [])

    def test_a_signal_that_was_ignored_at_the_start_stays_ignored(self):
        def ignore():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
        process = self.start_logits(preexec_fn=ignore)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process.send_signal(number)
            process.send_signal(number)
        self.gate.release()
        self.assertIn("1 written, 0 errors", process.communicate(timeout=LIMIT)[1])
        self.assertEqual(process.returncode, 0)
        self.assertEqual(os.listdir(self.folder), ["logits.npy"])

    def test_a_captioning_run_that_ignores_signals_goes_on(self):
        folder, journal = self.pictures(12), self.folder / "j"
        def ignore():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.gate.hold()
        process = start("caption", folder, "-m", MODEL, "-o", journal, "--batch", "1", gate=self.gate,
                        preexec_fn=ignore)
        self.gate.let_until(lambda: journal.exists() and journal.stat().st_size > 0)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGHUP)
        self.gate.release()
        text = process.communicate(timeout=LIMIT)[1]
        self.assertEqual(process.returncode, 0, text)
        self.assertEqual(len(live.records(journal)), 12)


class Standard(LiveTest):
    """Standard input, output and error that are full, closed or that nobody reads."""

    def serve(self, stdout, shell="exec \"$@\""):
        """A server that can be connected to; its socket is the last argument."""
        path = self.folder / "socket"
        command = [live.PROGRAM, "serve", "-m", str(MODEL), "--requests", "2", "--socket", str(path)]
        server = subprocess.Popen(["sh", "-c", shell, "sh", *command], stdout=stdout, stderr=subprocess.PIPE, text=True)
        self.addCleanup(server.communicate)
        self.addCleanup(server.kill)
        eventually(lambda: run("top", "--server", f"unix:{path}", "--once").returncode == 0, of=server)
        return server

    def table(self):
        """Every command -> the ways in which it prints a result."""
        picture = PICTURES / "01-fish.jpg"
        return {
            "caption": [[picture, "-m", MODEL], [picture, "-m", MODEL, "-o", "-"], ["--help"]],
            "ask": [["?", "-m", MODEL], ["?", "-m", MODEL, "--json", "--logprobs", "20"], ["--help"]],
            "logits": [["-m", MODEL, "--tokens", "2", "-o", "-"]],
            "info": [[MODEL], [MODEL, "--json"]],
            "quantize": [[MODEL, "-o", "-"]],
            "top": [["--once", "--server", f"unix:{self.folder}/socket"], ["--help"]],
            "serve": [["--help"]],  # and below
            "token": [["alice"]],
            "bench": [["--help"], ["roofline"]],
            "help": [[], ["ask"], ["--markdown"], ["--man"], ["--completion"], ["--protocol"]],
            "--help": [[]],
            "--version": [[]],
        }

    def test_the_table_has_every_command(self):
        listed = {line.split()[0] for line in run("--help").stdout.splitlines() if line.startswith("  ")}
        self.assertEqual(listed | {"help", "--help", "--version"}, set(self.table()),
                         "a new command must be tried with a full standard output too")

    def test_a_result_that_does_not_fit_is_an_error_for_every_command(self):
        self.serve(subprocess.PIPE)
        for name, ways in self.table().items():
            for way in ways:
                with self.subTest(f"{name} {way}"), open("/dev/full", "wb") as full:
                    done = subprocess.run([live.PROGRAM, name, *map(str, way)], stdout=full, stderr=subprocess.PIPE,
                                          text=True, timeout=LIMIT, check=False)
                    self.assertEqual(done.returncode, 3, done.stderr)
                    self.assertRegex(done.stderr, "tessera.*: .*written")

    def test_a_server_whose_first_line_was_lost_says_so_at_its_end(self):
        with open("/dev/full", "wb") as full:
            server = self.serve(full)
        server.terminate()
        text = server.communicate(timeout=LIMIT)[1]
        self.assertEqual(server.returncode, 3, text)
        self.assertIn("standard output", text)

    def test_a_recording_is_its_owners_and_says_when_it_is_cut(self):
        record = self.folder / "record"
        record.write_text("of before")
        record.chmod(0o666)
        # The record of one scheduler's life has more than a block of 512 bytes only once it is closed.
        for limit, cut in (("unlimited", False), ("0", True)):
            path = self.folder / "socket"
            server = subprocess.Popen(["sh", "-c", f'trap "" XFSZ; ulimit -f {limit}; exec "$@"', "sh", live.PROGRAM,
                                       "serve", "-m", str(MODEL), "--socket", str(path), "--record", str(record)],
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.addCleanup(server.communicate)
            self.addCleanup(server.kill)
            eventually(lambda: run("top", "--server", f"unix:{path}", "--once").returncode == 0, of=server)
            server.terminate()
            text = server.communicate(timeout=LIMIT)[1]
            self.assertEqual("cannot be written whole" in text, cut, text)
            self.assertEqual(stat.S_IMODE(record.stat().st_mode), 0o600)
            self.assertNotEqual(record.read_bytes()[:9], b"of before")

    def test_what_the_starting_process_has_set_ends_nothing(self):
        """A WebP has a process of its own and memory that the system counts as a file."""
        picture = sorted(live.PICTURES.glob("[0-9]*.webp"))[0]
        for settings, status, words in (('trap "" CHLD', 0, "1 captioned"), ("ulimit -f 0", 1, "File too large")):
            done = subprocess.run(["sh", "-c", f'{settings}; exec "$@"', "sh", live.PROGRAM, "caption", str(picture),
                                   "-m", str(MODEL), "--max-tokens", "2"], capture_output=True, text=True, timeout=LIMIT,
                                  check=False)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertIn(words, done.stderr)

    def test_a_reader_that_has_gone_stops_the_work(self):
        folder, journal = self.pictures(6), self.folder / "j"
        for command in (["caption", folder, "-m", MODEL, "-o", journal, "--batch", "1"],
                        ["caption", folder, "-m", MODEL, "-o", "-"],
                        ["ask", "Tell a story.", "-m", MODEL]):
            with self.subTest(command[0]):
                reading, writing = os.pipe()
                os.close(reading)
                done = subprocess.run([live.PROGRAM, *map(str, command)], stdout=writing, stderr=subprocess.PIPE,
                                      text=True, timeout=LIMIT, check=False)
                os.close(writing)
                self.assertEqual(done.returncode, 3, done.stderr)
                self.assertIn("roken pipe", done.stderr)
        self.assertEqual(len(live.records(journal)), 1, "the first line that could not be printed was the last work")

    def test_closed_descriptors_get_nothing_of_ours(self):
        folder = self.pictures(3)
        for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
            with self.subTest(closed):
                journal = self.folder / f"j{len(closed)}{closed[0]}"
                command = [live.PROGRAM, "caption", str(folder), "-m", str(MODEL), "-o", str(journal)]
                for _ in range(2):
                    done = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *command], capture_output=True,
                                          timeout=LIMIT, check=False)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertEqual(len(live.records(journal)), 3)

    def test_a_server_with_closed_descriptors_ends_in_good_order(self):
        server = self.serve(subprocess.PIPE, 'exec "$@" <&- 2>&-')
        server.terminate()
        server.communicate(timeout=LIMIT)
        self.assertEqual(server.returncode, 0)


if __name__ == "__main__":
    live.main()
