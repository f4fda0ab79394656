#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Captions every picture of a folder, many at once: caption_folder.py ADDRESS FOLDER [TOKEN]"""
import pathlib
import sys
from concurrent.futures import ThreadPoolExecutor

from tessera_client import Client, Sampling, ServerError

AT_ONCE = 32


def main() -> None:
    address, folder, *token = sys.argv[1:]
    pictures = sorted(path for path in pathlib.Path(folder).iterdir()
                      if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
    with Client(address, *token) as client, ThreadPoolExecutor(AT_ONCE) as pool:

        def caption(path: pathlib.Path) -> str:
            try:
                answer = client.ask("Describe this image.", images=[path], class_="batch",
                                    sampling=Sampling(temperature=0))
                return answer.text.strip()
            except ServerError as error:
                return f"[{error.message}]"

        for path, text in zip(pictures, pool.map(caption, pictures)):
            print(f"{path.name}\t{text}")


if __name__ == "__main__":
    main()
