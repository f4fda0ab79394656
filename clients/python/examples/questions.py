#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many questions about one picture, which is sent and read by the model once:
questions.py ADDRESS PICTURE QUESTION..."""
import asyncio
import pathlib
import sys

from tessera_client import AsyncClient


async def main() -> None:
    address, picture, *questions = sys.argv[1:]
    async with AsyncClient(address) as client:
        blob = await client.put_blob(pathlib.Path(picture).read_bytes())
        answers = await asyncio.gather(*(client.ask(question, images=[blob]) for question in questions))
        for question, answer in zip(questions, answers):
            print(f"{question}\n    {answer.text.strip()}"
                  f"   ({answer.usage.cached_tokens} of {answer.usage.prompt_tokens} prompt tokens cached)")


if __name__ == "__main__":
    asyncio.run(main())
