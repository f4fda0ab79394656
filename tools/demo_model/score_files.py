"""Captions the picture files of a folder as transformers does and compares with its truth.jsonl.

Promises: everything between the file and the caption is transformers' own: reading, resizing,
prompt and generate().

    python score_files.py ../../examples/demo-model ../../examples/pictures
"""
import json
import sys

import torch
from PIL import Image
from transformers import AutoProcessor, Gemma4UnifiedForConditionalGeneration

import wording


def main(model_folder, folder):
    processor = AutoProcessor.from_pretrained(model_folder)
    model = Gemma4UnifiedForConditionalGeneration.from_pretrained(model_folder, dtype=torch.bfloat16)
    right = total = 0
    for line in open(f"{folder}/truth.jsonl"):
        truth = json.loads(line)
        picture = Image.open(f"{folder}/{truth['file']}").convert("RGB")
        inputs = processor(text=[wording.prompt(wording.CAPTION[0])], images=[picture],
                           return_tensors="pt")
        out = model.generate(**inputs, max_new_tokens=64)[0, inputs["input_ids"].shape[1]:]
        said = processor.tokenizer.decode(out, skip_special_tokens=True)
        total, right = total + 1, right + (said == truth["caption"])
        if said != truth["caption"]:
            print(truth["file"], "| truth:", truth["caption"], "| said:", said)
    print(f"{right} of {total} captions exact")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
