#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tessera caption as a user runs it: captions, resume after every kind of end, errors, exit statuses.

    tests/live/test_caption.py PROGRAM
"""
import json
import os
import random
import shutil
import signal

import live
from live import Gate, LiveTest, MODEL, PICTURES, eventually, records, run, start


class Captions(LiveTest):
    def test_every_picture_gets_a_line_and_a_record(self):
        folder = self.pictures(6)
        journal = self.folder / "captions.jsonl"
        done = run("caption", folder, "-m", MODEL, "-o", journal)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = dict(line.split("\t") for line in done.stdout.splitlines())
        found = {record["file"]: record for record in records(journal)}
        self.assertEqual(len(found), 6)
        self.assertEqual(lines, {name: record["caption"] for name, record in found.items()})
        for record in found.values():
            self.assertEqual(record["finish"], "stop")
            self.assertIsNone(record["error"])
            self.assertGreater(record["tokens_in"], record["tokens_image"])
            self.assertRegex(record["id"], "^[0-9a-f]{32}$")
        self.assertRegex(done.stderr, r"6 of 6 pictures: 6 captioned, 0 errors; .* pictures/s")

    def test_the_captions_are_true(self):
        # Who drew the pictures wrote down what is on them. The demo model is right about 99 of 100
        # held-out scenes; 22 of 24 leaves room for another training of it.
        truth = [json.loads(line) for line in (PICTURES / "truth.jsonl").read_text().splitlines()]
        done = run("caption", PICTURES, "-m", MODEL, "-q")
        said = {os.path.basename(name): caption
                for name, caption in (line.split("\t") for line in done.stdout.splitlines())}
        right = sum(said[row["file"]] == row["caption"] for row in truth)
        self.assertEqual(len(said), len(truth))
        self.assertGreaterEqual(right, len(truth) - 2, said)

    def test_a_caption_is_the_same_alone_and_in_a_crowd(self):
        folder = self.pictures(5)
        alone = run("caption", folder, "-m", MODEL, "--batch", "1", "-q")
        crowd = run("caption", folder, "-m", MODEL, "--batch", "5", "-q")
        self.assertEqual(sorted(alone.stdout.splitlines()), sorted(crowd.stdout.splitlines()))
        self.assertEqual(alone.stderr, "")

    def test_sampling_depends_on_the_seed_only(self):
        folder = self.pictures(3)
        hot = ["-m", MODEL, "-q", "--temperature", "3", "--max-tokens", "12"]
        one = run("caption", folder, *hot, "--seed", "1", "--batch", "1")
        again = run("caption", folder, *hot, "--seed", "1", "--batch", "3")
        other = run("caption", folder, *hot, "--seed", "2")
        self.assertEqual(sorted(one.stdout.splitlines()), sorted(again.stdout.splitlines()))
        self.assertNotEqual(sorted(one.stdout.splitlines()), sorted(other.stdout.splitlines()))

    def test_records_to_stdout(self):
        done = run("caption", self.pictures(2), "-m", MODEL, "-o", "-", "--logprobs", "2")
        found = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(len(found), 2)
        for record in found:
            self.assertEqual(len(record["logprobs"]), record["tokens_out"])
            for token in record["logprobs"]:
                self.assertLessEqual(token["logprob"], 0)
                self.assertEqual(len(token["top"]), 2)
                self.assertEqual(token["top"][0]["id"], token["id"], "greedy takes the likeliest")

    def test_a_list_from_stdin(self):
        names = sorted(str(path) for path in self.pictures(3).iterdir())
        done = run("caption", "-", "-m", MODEL, "-q", given="\n".join(names))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(sorted(line.split("\t")[0] for line in done.stdout.splitlines()), names)
        zeros = run("caption", "-0", "-", "-m", MODEL, "-q", given="\0".join(names))
        self.assertEqual(sorted(zeros.stdout.splitlines()), sorted(done.stdout.splitlines()))

    def test_sidecars_and_contact_sheet(self):
        folder = self.pictures(3)
        sheet = self.folder / "sheet.html"
        done = run("caption", folder, "-m", MODEL, "--sidecar", "--html", sheet)
        self.assertEqual(done.returncode, 0, done.stderr)
        page = sheet.read_text(encoding="utf-8")
        for line in done.stdout.splitlines():
            name, caption = line.split("\t")
            self.assertEqual((folder / os.path.basename(name)).with_suffix(".txt").read_text(),
                             caption + "\n")
            self.assertIn(caption, page)
        self.assertEqual(page.count("data:image/"), 3)

    def test_two_pictures_with_one_sidecar_are_refused(self):
        folder = self.pictures(0)
        os.symlink(PICTURES / "10-monkey.png", folder / "a.png")
        os.symlink(PICTURES / "01-fish.jpg", folder / "a.jpg")
        done = run("caption", folder, "-m", MODEL, "--sidecar")
        self.assertEqual(done.returncode, 2)
        self.assertIn("a.txt", done.stderr)

    def test_a_stop_text_ends_the_caption_before_it(self):
        done = run("caption", self.pictures(1), "-m", MODEL, "-q", "--stop", " on ")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn(" on", done.stdout.split("\t")[1])
        self.assertGreater(len(done.stdout.split("\t")[1].strip()), 3)

    def test_the_length_limit_is_a_finish_reason(self):
        journal = self.folder / "j"
        run("caption", self.pictures(1), "-m", MODEL, "-o", journal, "--max-tokens", "2")
        self.assertEqual(records(journal)[0]["finish"], "length")
        self.assertEqual(records(journal)[0]["tokens_out"], 2)


class Errors(LiveTest):
    def test_bad_files_become_error_records_and_the_rest_go_on(self):
        folder = self.pictures(2)
        (folder / "empty.png").write_bytes(b"")
        (folder / "text.jpg").write_text("this is no picture")
        whole = (PICTURES / "01-fish.jpg").read_bytes()
        (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
        os.symlink("nowhere", folder / "dangling.png")
        pipe = self.folder / "pipe.png"
        os.mkfifo(pipe)  # opening it must not wait for a writer
        journal = self.folder / "j"
        named = [folder, self.folder / "missing.png", pipe]
        done = run("caption", *named, "-m", MODEL, "-o", journal)
        self.assertEqual(done.returncode, 1, done.stderr)
        codes = {os.path.basename(record["file"]): record["error"] and record["error"]["code"]
                 for record in records(journal)}
        self.assertEqual(len(codes), 8)
        self.assertEqual(codes["pipe.png"], "E_IO")
        self.assertEqual(codes["cut.jpg"], "E_IMAGE_DAMAGED")
        self.assertEqual(codes["text.jpg"], "E_IMAGE_FORMAT")
        self.assertEqual(codes["dangling.png"], "E_NOT_FOUND")
        self.assertEqual(codes["missing.png"], "E_NOT_FOUND")
        self.assertIn(codes["empty.png"], ("E_IMAGE_FORMAT", "E_IMAGE_DAMAGED"))
        self.assertEqual(len(done.stdout.splitlines()), 2)
        self.assertIn("8 of 8 pictures: 2 captioned, 6 errors", done.stderr)

        again = run("caption", *named, "-m", MODEL, "-o", journal)
        self.assertEqual(again.returncode, 1, "the job still has failed items")
        self.assertEqual(len(records(journal)), 8)
        (folder / "cut.jpg").write_bytes(whole)
        mended = run("caption", folder, "-m", MODEL, "-o", journal)
        self.assertEqual(mended.returncode, 1)
        self.assertEqual(len(records(journal)), 9, "other content is other work")
        retried = run("caption", folder, "-m", MODEL, "-o", journal, "--retry-errors")
        self.assertEqual(retried.returncode, 1)
        self.assertEqual(len(records(journal)), 12, "three errors were tried again")

    def test_usage_errors(self):
        pictures = self.pictures(1)
        for arguments, text in [
            (["caption"], "no PATH"),
            (["caption", pictures, "--batch", "0"], "--batch"),
            (["caption", pictures, "--no-such"], "--no-such"),
            (["caption", self.folder / "*.gif", "-m", MODEL], "no file matches"),
            (["caption", MODEL, "-m", MODEL], "there is no picture"),
            (["nonsense"], "nonsense"),
            (["ask"], "QUESTION"),
            (["logits", "-m", MODEL, "-o", "x.npy"], "--text and --tokens"),
            (["info"], "MODEL"),
            (["quantize", MODEL], "-o FILE"),
        ]:
            done = run(*arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn(text, done.stderr)
        environment = {name: value for name, value in os.environ.items() if name != "TESSERA_MODEL"}
        done = run("caption", pictures, env=environment)
        self.assertEqual(done.returncode, 2)
        self.assertIn("TESSERA_MODEL", done.stderr)
        self.assertEqual(run("--help").returncode, 0)
        self.assertRegex(run("--version").stdout, r"^tessera \d+\.\d+\.\d+\n$")

    def test_what_cannot_start_says_why(self):
        pictures = self.pictures(1)
        done = run("caption", pictures, "-m", self.folder / "no-model")
        self.assertEqual(done.returncode, 3)
        self.assertIn("no-model", done.stderr)
        done = run("caption", pictures, "-m", MODEL, "--device", "cuda")
        self.assertEqual(done.returncode, 3)
        self.assertIn("use --device cpu", done.stderr)
        done = run("caption", pictures, "-m", MODEL, "--memory", "1")
        self.assertEqual(done.returncode, 3)
        self.assertIn("--memory", done.stderr)
        photo = self.folder / "photo.jpg"
        photo.write_bytes(b"\xff\xd8 my only copy")
        done = run("caption", pictures, "-m", MODEL, "-o", photo)
        self.assertEqual(done.returncode, 2)
        self.assertEqual(photo.read_bytes(), b"\xff\xd8 my only copy")


def change_tensors(model, wanted, rows):
    """Turns the signs of some bf16 numbers in the middle of every tensor that `wanted` names."""
    path = model / "model.safetensors"
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    for name, tensor in json.loads(data[8:start]).items():
        if wanted(name):
            row = 2 * tensor["shape"][-1]
            begin = start + tensor["data_offsets"][0] + tensor["shape"][0] // 2 * row
            for at in range(begin, begin + rows * row, 2):
                data[at + 1] ^= 0x80
    path.write_bytes(data)


def change_json(model, name, change):
    path = model / name
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def swap_letters(tokenizer):
    vocab = tokenizer["model"]["vocab"]
    vocab["Q"], vocab["Z"] = vocab["Z"], vocab["Q"]


# What changes the answers of a model and leaves its shape alone.
CHANGES = [
    ("the inside of every down_proj", lambda m: change_tensors(m, lambda name: "down_proj" in name, 4)),
    ("three rows of the embedding", lambda m: change_tensors(m, lambda name: "embed_tokens" in name, 3)),
    ("suppress_tokens", lambda m: change_json(m, "generation_config.json",
                                              lambda g: g["suppress_tokens"].append(1532))),
    ("eos_token_id", lambda m: change_json(m, "generation_config.json",
                                           lambda g: g["eos_token_id"].append(10))),
    ("ids in tokenizer.json", lambda m: change_json(m, "tokenizer.json", swap_letters)),
]


class Resume(LiveTest):
    def test_the_same_command_does_nothing_twice(self):
        folder = self.pictures(4)
        journal = self.folder / "j"
        command = ["caption", folder, "-m", MODEL, "-o", journal]
        first = run(*command)
        second = run(*command)
        self.assertEqual(second.returncode, 0, second.stderr)
        self.assertEqual(len(records(journal)), 4)
        self.assertEqual(sorted(first.stdout.splitlines()), sorted(second.stdout.splitlines()))
        self.assertIn("4 of them by an earlier run", second.stderr)
        run(*command, "-p", "Another question")
        self.assertEqual(len(records(journal)), 8, "another prompt is other work")
        run(*command, "--weights", "int8")
        self.assertEqual(len(records(journal)), 12, "another level is other work")
        run(*command, "--batch", "1", "--threads", "1")
        self.assertEqual(len(records(journal)), 12, "how it is computed is not")

    def test_another_model_in_the_same_folder_is_other_work(self):
        model = self.folder / "model"
        shutil.copytree(MODEL, model)
        journal = self.folder / "j"
        folder = self.pictures(1)

        def made(what):
            done = run("caption", folder, "-m", model, "-o", journal)
            self.assertEqual(done.returncode, 0, f"{what}: {done.stderr}")
            return len(records(journal))

        self.assertEqual(made("first"), 1)
        for name in ("model.safetensors", "tokenizer.json", "config.json"):
            (model / name).touch()
        self.assertEqual(made("touched"), 1)
        expected = 1
        for what, change in CHANGES:
            change(model)
            expected += 1
            self.assertEqual(made(what), expected, what)
        self.assertEqual(made("nothing changed"), expected)

    def test_killed_at_any_time_each_picture_ends_up_once(self):
        folder = self.pictures(24)
        journal = self.folder / "j"
        other = self.folder / "other"
        command = ["caption", folder, "-m", MODEL, "--batch", "2", "-o"]
        gate = Gate(self.folder)
        self.assertEqual(run(*command, other, gate=gate).returncode, 0)
        steps = gate.came()
        expected = {record["file"]: record["caption"] for record in records(other)}
        seed = 20261124
        print(f"seed {seed}", flush=True)
        dice = random.Random(seed)
        kills = partial = 0
        for _ in range(6):
            for _ in range(4):
                allowed = dice.randrange(steps // 4, steps)
                gate.hold()
                process = start(*command, journal, gate=gate)
                gate.let(allowed)
                # In one of the first steps of those or at the end of the last, unless it is done before.
                some = dice.randrange(1, allowed + 2)
                eventually(lambda: gate.since() >= some or process.poll() is not None)
                kills += process.poll() is None
                process.kill()
                process.communicate()
                gate.release()
                done = journal.read_text().count("\n") if journal.exists() else 0
                partial += 0 < done < 24
            finished = run(*command, journal)
            self.assertEqual(finished.returncode, 0, finished.stderr)
            found = records(journal)
            self.assertEqual(len(found), 24)
            self.assertEqual({record["file"]: record["caption"] for record in found}, expected)
            journal.unlink()
        print(f"{kills} kills, {partial} in the middle", flush=True)
        self.assertGreater(partial, 0, "no run was killed between its first and last record")

    def test_an_interruption_leaves_whole_records_and_says_how_to_go_on(self):
        folder = self.pictures(24)
        journal = self.folder / "j"
        command = ["caption", folder, "-m", MODEL, "-o", journal, "--batch", "1"]
        gate = Gate(self.folder)
        gate.hold()
        process = start(*command, gate=gate)
        gate.let_until(lambda: journal.exists() and journal.stat().st_size > 0)
        process.send_signal(signal.SIGINT)
        gate.release()
        text = process.communicate()[1]
        self.assertEqual(process.returncode, 130, text)
        self.assertIn("the same command goes on", text)
        count = len(records(journal))
        self.assertTrue(0 < count < 24, count)
        done = run(*command)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(records(journal)), 24)


if __name__ == "__main__":
    live.main()
