"""Compares an exported folder as transformers runs it with the training module.

Owns: the proof that the folder is an ordinary gemma4_unified checkpoint. Promises: exits with 1
unless it loads without a missing or spare tensor, the chat template gives wording.prompt(), the
processor gives our ids and pixels, and greedy captions agree on every scene.

    python check_hf.py ../../examples/demo-model [scenes] [skip]

transformers' own forward pass lets an image's tokens see each other on full layers too when the
cache is dynamic; the released models, and this one, do so on sliding layers only. So the masks are
built here and handed over; what stock generate() says is counted beside that.
"""
import random
import sys

import torch
from transformers import AutoProcessor, Gemma4UnifiedForConditionalGeneration

import scenes
import wording
from evaluate import load
from train import Sampler, collate

FIRST = 20_000  # held-out seeds of this check
STOPS = ("<eos>", "<turn|>", "<|tool_response>")


def check_template(processor):
    def user(text, picture):
        parts = [{"type": "image"}] if picture else []
        return {"role": "user", "content": parts + [{"type": "text", "text": text}]}

    def same(messages, think, expected):
        got = processor.apply_chat_template(messages, add_generation_prompt=True,
                                            enable_thinking=think, tokenize=False)
        assert got == expected, (got, expected)

    system = {"role": "system", "content": " Be brief. "}
    past = {"role": "assistant", "content": "<|channel>thought\nhm\n<channel|>two"}
    for think in (False, True):
        for picture in (False, True):
            same([user("Hi ", picture)], think, wording.prompt("Hi", picture, think=think))
            same([system, user("Hi", picture)], think,
                 wording.prompt("Hi", picture, "Be brief.", think))
            same([user("One?", picture), past, user("Two?", False)], think,
                 wording.prompt("Two?", picture, think=think, earlier=[("One?", "two")]))
    same([{"role": "user", "content": "Hi"}], False, wording.prompt("Hi", False))
    print("chat template: equal in 13 forms")


def masks(is_image, dtype):
    """The intended rule: causal on full layers; causal or same picture on sliding ones. (One
    picture, and a sequence shorter than the window.)"""
    length = is_image.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()[None, None]
    block = causal | (is_image[:, None, :, None] & is_image[:, None, None, :])
    return {name: torch.zeros(allow.shape, dtype=dtype).masked_fill(~allow, torch.finfo(dtype).min)
            for name, allow in (("full_attention", causal), ("sliding_attention", block))}


@torch.no_grad()
def greedy(ids, scores_of, suppressed, stops):
    """Extend ids [1, length] by the best token until a stop token; returns the new ids."""
    said = []
    while len(said) < 64:
        scores = scores_of(ids)
        scores[suppressed] = -float("inf")
        said.append(int(scores.argmax()))
        if said[-1] in stops:
            break
        ids = torch.cat([ids, torch.tensor([[said[-1]]])], 1)
    return said


def main(folder, total, skip):
    processor = AutoProcessor.from_pretrained(folder)
    theirs, info = Gemma4UnifiedForConditionalGeneration.from_pretrained(
        folder, dtype=torch.bfloat16, output_loading_info=True)
    assert not any(info.values()), info
    theirs.eval()
    ours, sampler = load(folder), Sampler()
    check_template(processor)
    stops = [sampler.tokenizer.token_to_id(t) for t in STOPS]
    assert theirs.generation_config.eos_token_id == stops
    suppressed = theirs.generation_config.suppress_tokens
    equal = stock_equal = right = 0
    for seed in range(FIRST + skip, FIRST + skip + total):
        picture, plan = scenes.scene(seed)
        if seed % 4 == 0:  # a size of its own: the processor has to resize
            factor = random.Random(seed).uniform(0.6, 2.5)
            picture = picture.resize([round(side * factor) for side in picture.size])
        prompt = wording.prompt(wording.CAPTION[0])
        inputs = processor(text=[prompt], images=[picture], return_tensors="pt")
        patches = int((inputs["image_position_ids"][0, :, 0] >= 0).sum())
        pixels = (inputs["pixel_values"][0, :patches] * 255).round().to(torch.uint8)
        places = inputs["image_position_ids"][0, :patches]
        if seed % 4:  # drawn at the model's size: nothing may have changed
            batch = collate([sampler.pack(prompt, "", plan, picture)], sampler.image_id)
            assert torch.equal(batch["ids"][:, :-1], inputs["input_ids"])  # less the answer's end
            assert torch.equal(batch["pixels"], pixels) and torch.equal(batch["places"], places)

        def their_scores(ids):
            return theirs(
                input_ids=ids, pixel_values=inputs["pixel_values"],
                image_position_ids=inputs["image_position_ids"], use_cache=False,
                attention_mask=masks(ids == sampler.image_id, torch.bfloat16)).logits[0, -1].float()

        def our_scores(ids):
            last = torch.tensor([0]), torch.tensor([ids.shape[1] - 1])
            return ours(ids, ids == sampler.image_id, pixels, places, *last)[0]

        with_masks = greedy(inputs["input_ids"], their_scores, suppressed, stops)
        alone = greedy(inputs["input_ids"], our_scores, suppressed, stops)
        stock = theirs.generate(**inputs, max_new_tokens=64)[0, inputs["input_ids"].shape[1]:].tolist()
        equal += with_masks == alone
        stock_equal += with_masks == stock
        said = sampler.tokenizer.decode(with_masks)
        right += said == plan.caption()
        if with_masks != alone or said != plan.caption():
            print(seed, "| truth:", plan.caption(), "| masks:", said, "| training module:",
                  sampler.tokenizer.decode(alone))
    print(f"greedy captions of {total} scenes: {equal} equal between transformers with the intended "
          f"masks and the training module; {stock_equal} equal to stock generate(); {right} right")
    return equal == total


if __name__ == "__main__":
    numbers = [int(a) for a in sys.argv[2:]] + [60, 0][len(sys.argv) - 2:]
    sys.exit(0 if main(sys.argv[1], *numbers) else 1)
