# SPDX-License-Identifier: Apache-2.0
"""Writes chat.json: conversations and what Gemma 4's own chat template makes of them.

    python make_chat.py gemma4_31b_chat_template.jinja2     (jinja2 3.1)

The template is Google's (header: "Google Gemma 4 Canonical Chat Template", 2026-07-09, 18,681 bytes,
SHA-256 df269903...) and not part of this repository; a public copy is in github.com/ollama/ollama,
model/renderers/testdata/. It is rendered as transformers renders chat templates: a sandboxed
environment with trim_blocks and lstrip_blocks.
"""
import hashlib
import json
import pathlib
import sys

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from conversations import conversations

HERE = pathlib.Path(__file__).resolve().parent


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def main():
    source = pathlib.Path(sys.argv[1]).read_bytes()
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.globals["raise_exception"] = raise_exception
    template = environment.from_string(source.decode())
    cases = []
    for case in conversations():
        case.setdefault("add_generation_prompt", True)
        options = {"tools": case.get("tools"), "add_generation_prompt": case["add_generation_prompt"]}
        if "thinking" in case:
            options["enable_thinking"] = case["thinking"]
        if "preserve_thinking" in case:
            options["preserve_thinking"] = case["preserve_thinking"]
        cases.append({**case, "expected": template.render(messages=case["messages"], bos_token="<bos>", **options)})
    root = {"template_sha256": hashlib.sha256(source).hexdigest(), "jinja2": jinja2.__version__, "cases": cases}
    (HERE / "chat.json").write_text(json.dumps(root, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(len(cases), "conversations, jinja2", jinja2.__version__)


if __name__ == "__main__":
    main()
