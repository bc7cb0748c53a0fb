"""Small models as GGUF files, with the tokenizer of the tiny models."""

import json
from pathlib import Path

import gguf
import torch
from helpers import tiny_models
from transformers import Qwen2Config, Qwen2ForCausalLM

#: Tensor of a layer in a GGUF file -> parameter of Hugging Face's.
NAMES = {
    "attn_norm.weight": "input_layernorm.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    **{
        f"attn_{x}.{kind}": f"self_attn.{x}_proj.{kind}"
        for x in "qkv"
        for kind in ("weight", "bias")
    },
    "attn_output.weight": "self_attn.o_proj.weight",
    **{f"ffn_{part}.weight": f"mlp.{part}_proj.weight" for part in ("gate", "up", "down")},
}


def qwen2() -> Qwen2ForCausalLM:
    """Two layers, four heads, two of them for keys and values."""
    tokenizer = tiny_models.tokenizer()
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
        tie_word_embeddings=False, bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    torch.manual_seed(3)
    model = Qwen2ForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def write(model: Qwen2ForCausalLM, path: Path, kind: str | None = None) -> None:
    """Write the model, with its matrices quantised where ``kind`` says how ("Q8_0")."""
    config = model.config
    writer = gguf.GGUFWriter(str(path), "qwen2")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    _add_tokenizer(writer)
    state = model.state_dict()
    names = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
    }
    for layer in range(config.num_hidden_layers):
        names |= {f"blk.{layer}.{to}": f"model.layers.{layer}.{of}" for to, of in NAMES.items()}
    for to, of in names.items():
        values = state[of].float().numpy()
        if kind is None or values.ndim == 1:
            writer.add_tensor(to, values)
            continue
        how = gguf.GGMLQuantizationType[kind]
        writer.add_tensor(to, gguf.quants.quantize(values, how), raw_dtype=how)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def rounded(model: Qwen2ForCausalLM, kind: str) -> Qwen2ForCausalLM:
    """Quantise and dequantise the matrices of a model, in place."""
    how = gguf.GGMLQuantizationType[kind]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                few = gguf.quants.quantize(parameter.numpy(), how)
                parameter.copy_(torch.from_numpy(gguf.quants.dequantize(few, how)))
    return model


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    tokenizer = tiny_models.tokenizer()
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in tokens])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tokenizer.eos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(False)
