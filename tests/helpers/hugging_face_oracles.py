"""Activations as Hugging Face's own modules give them."""

import torch


def recorded(model, modules, tokens):
    """Outputs of the modules of a Hugging Face model at all positions, by name."""
    outputs = {}
    handles = [
        module.register_forward_hook(lambda *args, name=name: outputs.__setitem__(name, args[2]))
        for name, module in modules.items()
    ]
    with torch.no_grad():
        model(tokens)
    for handle in handles:
        handle.remove()
    return outputs


def gpt2_oracle(hf, tokens):
    """Hugging Face's own ``c_attn`` and ``c_fc``, ``[layer, example, pos, unit]``."""
    blocks = hf.transformer.h
    modules = {("attn", i): block.attn.c_attn for i, block in enumerate(blocks)}
    modules |= {("mlp", i): block.mlp.c_fc for i, block in enumerate(blocks)}
    out = recorded(hf, modules, tokens)
    layers = range(len(blocks))
    return torch.stack([torch.cat([out["attn", i], out["mlp", i]], dim=-1) for i in layers])


def llama_oracle(hf, tokens, layers=None):
    """Hugging Face's own projections, ``[layer, example, pos, unit]``; the MLP's gate last."""
    layers = range(len(hf.model.layers)) if layers is None else layers
    modules = {}
    for i in layers:
        block = hf.model.layers[i]
        attn = block.self_attn
        parts = (attn.q_proj, attn.k_proj, attn.v_proj, block.mlp.gate_proj)
        modules |= {(i, part): module for part, module in enumerate(parts)}
    out = recorded(hf, modules, tokens)
    return torch.stack([torch.cat([out[i, part] for part in range(4)], dim=-1) for i in layers])
