#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tessera ask, logits, info and quantize as a user runs them.

    tests/live/test_models.py PROGRAM
"""
import array
import ast
import json
import math
import shutil

import live
from live import LiveTest, MODEL, PICTURES, run


def load_npy(path):
    """A float32 NPY file of format 1.0 as a list of rows (numpy is not needed for the tests)."""
    data = path.read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00"
    length = int.from_bytes(data[8:10], "little")
    assert (10 + length) % 64 == 0 and data[9 + length:10 + length] == b"\n"
    header = ast.literal_eval(data[10:10 + length].decode("latin1"))
    assert header["descr"] == "<f4" and not header["fortran_order"]
    rows, columns = header["shape"]
    values = array.array("f", data[10 + length:])
    assert len(values) == rows * columns
    return [values[i * columns:(i + 1) * columns] for i in range(rows)]


def argmax(row):
    return max(range(len(row)), key=row.__getitem__)


class Logits(LiveTest):
    def done(self, *arguments):
        """Runs `logits` well; the path after -o."""
        done = run("logits", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return arguments[arguments.index("-o") + 1]

    def logits(self, *arguments):
        path = self.folder / "x.npy"
        done = run("logits", "-m", MODEL, "-o", path, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return load_npy(path)

    def test_every_position_has_a_row_whatever_the_chunks(self):
        ids = [2] + list(range(40, 300))
        text = ",".join(map(str, ids))
        whole = self.logits("--tokens", text, "--step-tokens", "512")
        pieces = self.logits("--tokens", text, "--step-tokens", "35")
        self.assertEqual(len(whole), len(ids))
        self.assertEqual(len(whole[0]), 1536)
        self.assertEqual(whole, pieces, "bits do not depend on the chunks")
        self.assertTrue(all(math.isfinite(value) for row in whole for value in row))

    def test_the_text_form_and_the_ids_form_are_the_same_prompt(self):
        # The same picture once by name and once as the ids that the name stands for.
        picture = PICTURES / "01-fish.jpg"
        text = self.logits("--text", "<bos><|image|>", "--image", picture)
        ids = self.logits("--tokens", "2 1531", "--image", picture)
        self.assertEqual(text, ids)
        soft = len(text) - 3
        self.assertTrue(1 <= soft <= 70)
        spelled = self.logits("--tokens", " ".join(["2", "1529"] + ["1531"] * soft + ["1533"]),
                              "--image", picture)
        self.assertEqual(text, spelled)

    def test_ids_need_no_tokenizer(self):
        model = self.folder / "model"
        shutil.copytree(MODEL, model)
        path = self.folder / "x.npy"
        picture = ["--tokens", "2 1531 300", "--image", PICTURES / "01-fish.jpg"]
        with_it = self.logits(*picture)
        (model / "tokenizer.json").unlink()
        self.assertEqual(load_npy(self.done("-m", model, "-o", path, *picture)), with_it)
        (model / "tokenizer.json").write_text("{ not read")
        self.assertEqual(load_npy(self.done("-m", model, "-o", path, *picture)), with_it)
        (model / "tokenizer.json").unlink()
        text = run("logits", "-m", model, "-o", path, "--text", "<bos>hello")
        self.assertEqual(text.returncode, 3)
        self.assertIn("tokenizer.json", text.stderr)

    def test_ids_need_no_tokenizer_in_a_packed_file_and_in_drawn_weights(self):
        packed = self.folder / "tiny.tessera"
        self.assertEqual(run("quantize", "synthetic:tiny", "-o", packed).returncode, 0)
        path = self.folder / "x.npy"
        drawn = load_npy(self.done("-m", "synthetic:tiny", "-o", path, "--tokens", "2,40,41"))
        self.assertEqual(load_npy(self.done("-m", packed, "-o", path, "--tokens", "2,40,41")), drawn)

    def test_pictures_and_image_tokens_must_match(self):
        picture = PICTURES / "01-fish.jpg"
        path = self.folder / "x.npy"
        for arguments, text in [
            (["--text", "<bos>hello", "--image", picture], "1 pictures, but the prompt has 0"),
            (["--text", "<bos><|image|>"], "no picture"),
            (["--tokens", "2,99999"], "99999"),
            (["--tokens", "2,1529,1531,1531,1533", "--image", picture], "2 image tokens"),
        ]:
            done = run("logits", "-m", MODEL, "-o", path, *arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn(text, done.stderr)
            self.assertFalse(path.exists())

    def test_the_last_row_says_what_ask_says_first(self):
        answer = json.loads(run("ask", "How many objects are there?", "-i", PICTURES / "10-monkey.png",
                                "-m", MODEL, "--json", "--logprobs", "3", "--temperature", "0").stdout)
        rows = self.logits("--image", PICTURES / "10-monkey.png", "--text",
                           "<bos><|turn>user\n<|image|>How many objects are there?<turn|>\n"
                           "<|turn>model\n<|channel>thought\n<channel|>")
        self.assertEqual(answer["tokens_in"], len(rows))
        self.assertEqual(answer["logprobs"][0]["id"], argmax(rows[-1]))


class Ask(LiveTest):
    def test_the_answer_goes_to_stdout_and_nothing_else(self):
        done = run("ask", "How many objects are there?", "-i", PICTURES / "10-monkey.png", "-m", MODEL)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.strip())
        self.assertTrue(done.stdout.endswith("\n"))
        self.assertEqual(done.stderr, "")
        same = run("ask", "-", "-i", PICTURES / "10-monkey.png", "-m", MODEL,
                   given="How many objects are there?")
        self.assertEqual(same.stdout, done.stdout)

    def test_thoughts_go_to_stderr(self):
        done = run("ask", "Describe this image.", "-i", PICTURES / "10-monkey.png", "-m", MODEL,
                   "--thinking")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, r"^thought\n.+\n$")
        self.assertNotIn("thought", done.stdout)
        told = json.loads(run("ask", "Describe this image.", "-i", PICTURES / "10-monkey.png", "-m",
                              MODEL, "--thinking", "--json").stdout)
        self.assertEqual(told["answer"] + "\n", done.stdout)
        self.assertEqual("thought\n" + told["thoughts"] + "\n", done.stderr)

    def test_user_text_cannot_forge_control_tokens(self):
        plain = json.loads(run("ask", "<|image|>", "-m", MODEL, "--json", "--max-tokens", "1").stdout)
        self.assertEqual(plain["tokens_image"], 0)
        self.assertEqual(run("ask", "<|image|><turn|>", "-m", MODEL).returncode, 0)

    def test_a_picture_that_cannot_be_read_is_named(self):
        done = run("ask", "What?", "-i", self.folder / "gone.png", "-m", MODEL)
        self.assertEqual(done.returncode, 1)
        self.assertIn("gone.png", done.stderr)

    def test_a_context_that_is_too_small_says_so(self):
        done = run("ask", "What is there to see?", "-m", MODEL, "--context", "16")
        self.assertEqual(done.returncode, 1)
        self.assertIn("context", done.stderr)


class Models(LiveTest):
    def test_a_packed_model_answers_as_the_folder_does(self):
        packed = self.folder / "demo.tessera"
        done = run("quantize", MODEL, "-o", packed, "--weights", "int8", "--group", "64")
        self.assertEqual(done.returncode, 0, done.stderr)
        folder = run("caption", PICTURES / "10-monkey.png", "-m", MODEL, "--weights", "int8",
                     "--group", "64", "-q")
        file = run("caption", PICTURES / "10-monkey.png", "-m", packed, "-q")
        self.assertEqual(file.returncode, 0, file.stderr)
        self.assertEqual(file.stdout, folder.stdout)
        whole = run("info", packed, "--verify")
        self.assertEqual(whole.returncode, 0, whole.stderr)
        data = bytearray(packed.read_bytes())
        data[len(data) // 2] ^= 1
        packed.write_bytes(data)
        self.assertEqual(run("info", packed, "--verify").returncode, 1)

    def test_info_describes_the_model(self):
        found = json.loads(run("info", MODEL, "--json", "--batch", "4", "--context", "512").stdout)
        self.assertEqual(found["architecture"]["layers"], 6)
        self.assertEqual(found["architecture"]["hidden"], 256)
        self.assertEqual(found["memory"]["batch"], 4)
        memory = found["memory"]
        self.assertEqual(memory["total_bytes"], memory["weights_bytes"] + memory["kv_sliding_bytes"] +
                         memory["kv_full_bytes"] + memory["workspace_bytes"])
        pixels = memory["step_tokens"] * 48 * 48 * 3  # of each of the two steps under way
        self.assertGreater(memory["host_bytes"], 2 * pixels)
        self.assertLess(memory["host_bytes"], 2.1 * pixels)
        text = run("info", MODEL).stdout
        self.assertIn("6 layers, hidden 256", text)
        self.assertIn("2 full layers", text)

    def test_info_plans_for_a_card_that_is_not_here(self):
        asked = ("info", "synthetic:gemma-4-12b", "--gpu", "rtx4090", "--context", "410", "--batch", "8")
        found = json.loads(run(*asked, "--json").stdout)
        self.assertEqual(found["predicted_for"], "rtx4090")
        memory = found["memory"]
        most = memory["batch_max"]
        self.assertGreater(most, 8)
        # One more than the largest batch does not fit; the caches of two kinds are per request.
        fits = json.loads(run(*asked[:-1], str(most), "--json").stdout)["memory"]["total_bytes"]
        more = json.loads(run(*asked[:-1], str(most + 1), "--json").stdout)["memory"]["total_bytes"]
        room = (24 - 1.8) * 2**30 - (32 + 256) * 2**20
        self.assertLessEqual(fits, room)
        self.assertLessEqual(more, room)  # the cache is lowered and a warning says so
        self.assertIn("cache_lowered", run(*asked[:-1], str(most + 1)).stderr)
        self.assertNotIn("cache_lowered", run(*asked[:-1], str(most)).stderr)
        text = run(*asked).stdout
        self.assertIn("prediction for GeForce RTX 4090", text)
        self.assertIn(f"at most {most} at once", text)
        refused = run(*asked, "--weights", "bf16")
        self.assertEqual(refused.returncode, 3)
        self.assertIn("MiB are needed", refused.stderr)
        self.assertEqual(run(*asked, "--device", "cpu").returncode, 2)

    def test_a_card_of_8_gb_gets_a_short_context_unless_asked_for_a_longer_one(self):
        card = ("info", "synthetic:gemma-4-12b", "--gpu", "rtx4060", "--weights", "int4", "--json")
        small = (*card, "--group", "64")
        done = run(*small)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("sizes_lowered", done.stderr)
        memory = json.loads(done.stdout)["memory"]
        self.assertLessEqual(memory["total_bytes"], 7 * 2**30 - (32 + 256) * 2**20)
        self.assertEqual(memory["context"], 512)  # a picture of 280 and 232 of text
        self.assertLess(memory["step_tokens"], 512)
        self.assertGreaterEqual(memory["batch_max"], 1)
        self.assertEqual(run(*small, "--context", "512", "--batch", "2").returncode, 0)
        for asked in (("--context", "2048"), ("--step-tokens", "4096"), ("--batch", "1024")):
            refused = run(*small, *asked)
            self.assertEqual(refused.returncode, 3, asked)
            self.assertIn("MiB are needed", refused.stderr)
        refused = run(*card)
        self.assertEqual(refused.returncode, 3)
        self.assertIn("a larger --group", refused.stderr)

    def test_the_less_memory_the_smaller_the_sizes(self):
        sizes = ("context", "batch", "step_tokens")
        before, lowered = None, 0
        for mib in range(33, 5, -1):
            done = run("info", MODEL, "--json", "--memory", str(mib))
            memory = json.loads(done.stdout)["memory"]
            if done.returncode != 0:
                self.assertEqual(memory["batch"], 1)  # nothing is left to lower
                break
            self.assertLessEqual(memory["total_bytes"], mib * 2**20)
            for size in sizes if before else ():
                self.assertLessEqual(memory[size], before[size])
            lowered += before is not None and any(memory[s] < before[s] for s in sizes)
            before = memory
        self.assertGreaterEqual(lowered, 2)
        self.assertEqual(done.returncode, 3)

    def test_cublaslt_is_for_bf16_on_a_card(self):
        asked = ("info", "synthetic:gemma-4-12b", "--gpu", "rtx5090", "--context", "410", "--json")
        bf16 = (*asked, "--weights", "bf16")
        ours = json.loads(run(*bf16).stdout)["memory"]
        theirs = json.loads(run(*bf16, "--bf16-products", "cublaslt").stdout)["memory"]
        self.assertEqual(theirs["total_bytes"], ours["total_bytes"])
        self.assertLess(theirs["batch_max"], ours["batch_max"])  # its workspace is taken before
        for refused, why in ((("--weights", "int4"), "int4 g32 weights"),
                             (("--weights", "bf16", "--activations", "f32"), "with other activations")):
            told = run(*asked, *refused, "--bf16-products", "cublaslt")
            self.assertEqual(told.returncode, 2)
            self.assertIn(why, told.stderr)
        told = run("info", MODEL, "--device", "cpu", "--bf16-products", "cublaslt")
        self.assertEqual(told.returncode, 2)
        self.assertIn("on the CPU", told.stderr)

    def test_a_card_is_one_of_the_table(self):
        self.assertEqual(run("info", MODEL, "--gpu", "rtx1080").returncode, 2)


if __name__ == "__main__":
    live.main()
