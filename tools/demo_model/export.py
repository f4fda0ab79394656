"""Writes a training checkpoint as a Hugging Face folder of the gemma4_unified architecture.

Owns: config.json, generation_config.json, the tokenizer, processor and template files, and the
rounding of the weights. Promises: one model.safetensors, all bfloat16, with the tensor names and
the tensor set of the released 12B checkpoint; the same checkpoint gives the same bytes.

    python export.py run/checkpoint.pt ../../examples/demo-model

Training leaves the first vision norm without weights. Here it gets some: powers of two, divided
out of the columns of the matrix behind it, and a small shift, taken off that matrix's bias. So
nothing changes, but a reader that ignores or misorders them is found out.
"""
import json
import os
import sys

import torch
from safetensors.torch import save_file

from model import SHAPE
from tokenizer import build

TEMPLATE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "chat_template.jinja")


def rounded_weights(state):
    """Checkpoint weights -> the tensors on disk, in bfloat16."""
    weights = {name: value.detach().float().clone() for name, value in state.items()}
    dense = weights["model.vision_embedder.patch_dense.weight"]
    draw = torch.Generator().manual_seed(48)
    power = 2.0 ** torch.randint(-1, 2, (SHAPE["patch"],), generator=draw)
    weights["model.vision_embedder.patch_ln1.weight"] = power
    shift = 0.125 * torch.randint(-1, 2, (SHAPE["patch"],), generator=draw)
    weights["model.vision_embedder.patch_ln1.bias"] = shift
    weights["model.vision_embedder.patch_dense.weight"] = dense = (dense / power).to(torch.bfloat16)
    weights["model.vision_embedder.patch_dense.bias"] -= dense.float() @ shift
    return {name: value.to(torch.bfloat16).contiguous() for name, value in sorted(weights.items())}


def configs(ids):
    """The three JSON files that describe the model. ids: token -> id."""
    layers = ["full_attention" if i in SHAPE["full"] else "sliding_attention"
              for i in range(SHAPE["layers"])]
    text = {
        "model_type": "gemma4_unified_text", "vocab_size": SHAPE["vocab"],
        "hidden_size": SHAPE["hidden"], "intermediate_size": SHAPE["mlp"],
        "num_hidden_layers": SHAPE["layers"], "num_attention_heads": SHAPE["heads"],
        "num_key_value_heads": SHAPE["kv_heads"], "head_dim": SHAPE["head_dim"],
        "num_global_key_value_heads": SHAPE["full_kv_heads"],
        "global_head_dim": SHAPE["full_head_dim"], "attention_k_eq_v": True,
        "layer_types": layers, "sliding_window": SHAPE["window"],
        "rope_parameters": {
            "full_attention": {"rope_type": "proportional", "rope_theta": 1000000.0,
                               "partial_rotary_factor": 0.25},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}},
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-6,
        "hidden_activation": "gelu_pytorch_tanh", "final_logit_softcapping": SHAPE["cap"],
        "attention_bias": False, "attention_dropout": 0.0,
        "use_bidirectional_attention": "vision", "num_kv_shared_layers": 0,
        "use_double_wide_mlp": False, "tie_word_embeddings": True, "initializer_range": 0.02,
        "pad_token_id": ids["<pad>"], "eos_token_id": ids["<eos>"], "bos_token_id": ids["<bos>"],
        "use_cache": True, "dtype": "bfloat16"}
    vision = {
        "model_type": "gemma4_unified_vision", "patch_size": 16, "pooling_kernel_size": 3,
        "model_patch_size": 48, "num_soft_tokens": 70, "mm_embed_dim": SHAPE["hidden"],
        "mm_posemb_size": SHAPE["positions"], "output_proj_dims": SHAPE["hidden"],
        "rms_norm_eps": 1e-6, "initializer_range": 0.02, "dtype": "bfloat16"}
    audio = {
        "model_type": "gemma4_unified_audio", "audio_embed_dim": SHAPE["audio"],
        "rms_norm_eps": 1e-6, "initializer_range": 0.02, "dtype": "bfloat16"}
    config = {
        "architectures": ["Gemma4UnifiedForConditionalGeneration"], "model_type": "gemma4_unified",
        "dtype": "bfloat16", "tie_word_embeddings": True, "initializer_range": 0.02,
        "boi_token_id": ids["<|image>"], "image_token_id": ids["<|image|>"],
        "eoi_token_id": ids["<image|>"], "boa_token_id": ids["<|audio>"],
        "audio_token_id": ids["<|audio|>"], "eoa_token_index": ids["<audio|>"],
        "video_token_id": ids["<|video|>"], "eos_token_id": [ids["<eos>"], ids["<turn|>"]],
        "text_config": text, "vision_config": vision, "audio_config": audio}
    generation = {
        "bos_token_id": ids["<bos>"], "pad_token_id": ids["<pad>"],
        "eos_token_id": [ids["<eos>"], ids["<turn|>"], ids["<|tool_response>"]],
        "suppress_tokens": [ids["<audio|>"], ids["<image|>"]], "do_sample": False}
    processor = {
        "processor_class": "Gemma4UnifiedProcessor", "image_seq_length": 70,
        "audio_seq_length": 750, "audio_ms_per_token": 40,
        "image_processor": {
            "image_processor_type": "Gemma4UnifiedImageProcessor", "do_convert_rgb": True,
            "do_resize": True, "do_rescale": True, "do_normalize": False, "resample": 3,
            "rescale_factor": 1 / 255, "image_mean": [0.0, 0.0, 0.0], "image_std": [1.0, 1.0, 1.0],
            "patch_size": 16, "pooling_kernel_size": 3, "max_soft_tokens": 70},
        "video_processor": {
            "video_processor_type": "Gemma4UnifiedVideoProcessor", "do_convert_rgb": True,
            "do_resize": True, "do_rescale": True, "do_normalize": True, "resample": 3,
            "rescale_factor": 1 / 255, "image_mean": [0.0, 0.0, 0.0], "image_std": [1.0, 1.0, 1.0],
            "patch_size": 16, "pooling_kernel_size": 3, "max_soft_tokens": 70, "num_frames": 32},
        "feature_extractor": {
            "feature_extractor_type": "Gemma4UnifiedAudioFeatureExtractor", "feature_size": 640,
            "audio_samples_per_token": 640, "sampling_rate": 16000, "padding_value": 0.0,
            "padding_side": "right", "return_attention_mask": True}}
    tokenizer = {
        "tokenizer_class": "GemmaTokenizer", "processor_class": "Gemma4UnifiedProcessor",
        "add_bos_token": False, "padding_side": "left", "model_max_length": 4096,
        "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>",
        "mask_token": "<mask>", "boi_token": "<|image>", "image_token": "<|image|>",
        "eoi_token": "<image|>", "boa_token": "<|audio>", "audio_token": "<|audio|>",
        "eoa_token": "<audio|>", "sot_token": "<|turn>", "eot_token": "<turn|>",
        "soc_token": "<|channel>", "eoc_token": "<channel|>", "think_token": "<|think|>",
        "clean_up_tokenization_spaces": False}
    return {"config.json": config, "generation_config.json": generation,
            "processor_config.json": processor, "tokenizer_config.json": tokenizer}


def main(checkpoint, folder):
    os.makedirs(folder, exist_ok=True)
    tokenizer = build()[0]
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    for name, content in configs(tokenizer.get_vocab()).items():
        with open(os.path.join(folder, name), "w") as file:
            json.dump(content, file, indent=2)
            file.write("\n")
    with open(TEMPLATE) as source, open(os.path.join(folder, "chat_template.jinja"), "w") as file:
        file.write(source.read())
    state = torch.load(checkpoint)
    save_file(rounded_weights(state["net"]), os.path.join(folder, "model.safetensors"),
              metadata={"format": "pt"})
    os.chmod(os.path.join(folder, "model.safetensors"), 0o644)
    print("step", state["step"], "written to", folder)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
