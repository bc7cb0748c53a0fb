"""Checks that reject an unsuitable model before the forward pass."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from .._shared import validated
from .devices import has_float64
from .protocol import TransformerLensModel, blocks_of
from .sites import Site


@validated
def check_model(
    model: TransformerLensModel, sites: Sequence[Site], window: int, layers: Iterable[int]
) -> None:
    """Raise if a forward pass would fail, or its activations would mean something else.

    Parameters
    ----------
    model : HookedTransformer or TransformerBridge
    sites : sequence of Site
    window : int
        Tokens per context that are run.
    layers : iterable of int

    Raises
    ------
    TypeError
        Not a TransformerLens model.
    ValueError
        The model is in training mode, is not causal, lacks a hook, or has a context shorter than
        the window; its queries, keys and values are in another basis than when it was trained.
    """
    layers = tuple(layers)
    _check_mode(model)
    _check_hooks(model, sites, layers)
    if window > model.cfg.n_ctx:
        raise ValueError(
            f"a window must fit into the model's context of {model.cfg.n_ctx} tokens, got "
            f"{window} (the tokens before the target, and the target); use a smaller `before`"
        )
    # TransformerLens does not refactor a model with rotary embeddings.
    rotary = getattr(model.cfg, "positional_embedding_type", "standard") == "rotary"
    if not rotary and any(site.module == "attn" for site in sites):
        _check_basis(model, layers)


def _check_mode(model: TransformerLensModel) -> None:
    training = [name for name, module in model.named_modules() if module.training]
    if training:
        where = training[0] or "the model itself"
        raise ValueError(
            f"the model must be in evaluation mode, found training mode at {where}; call "
            f"model.eval() first"
        )
    direction = getattr(model.cfg, "attention_dir", "causal")
    if direction != "causal":
        raise ValueError(
            f"a causal model is needed, because the tokens after the target are left out; "
            f"the attention of {model.cfg.model_name} is {direction}"
        )


def _check_hooks(model: TransformerLensModel, sites: Sequence[Site], layers: Sequence[int]) -> None:
    hooks = model.hook_dict
    wanted = [site.hook_name(layer) for layer in layers for site in sites]
    missing = [name for name in wanted if name not in hooks]
    if missing:
        raise ValueError(
            f"the model has no hook {missing[0]} ({len(missing)} of {len(wanted)} wanted hooks "
            f"are missing); choose other sites or layers"
        )


def _check_basis(model: TransformerLensModel, layers: Sequence[int]) -> None:
    refactored = [layer for layer in layers if _is_refactored(blocks_of(model)[layer].attn)]
    if refactored:
        raise ValueError(
            f"the attention weights of layer {refactored[0]} were processed with "
            f"refactor_factored_attn_matrices: its Q, K and V are in another basis, so their "
            f"units are not the model's. Load the model without it: load_model(name)"
        )


def _is_refactored(attn: Any) -> bool:
    """Recognise weights that TransformerLens's ``refactor_factored_attn_matrices`` has changed.

    It replaces W_Q and W_K of a head (biases appended as a row) by U sqrt(S) and V sqrt(S), where
    U S V' is the singular value decomposition of W_Q W_K'. The columns of both are then
    orthogonal, with the same squared lengths S: both Gram matrices equal diag(S).
    """
    weights: list[Any] = [getattr(attn, name, None) for name in ("W_Q", "b_Q", "W_K", "b_K")]
    # TransformerLens refactors plain tensors only: weights that are packed by a quantisation, or
    # offloaded by accelerate, are unchanged.
    plain = (isinstance(w, Tensor) and w.is_floating_point() and not w.is_meta for w in weights)
    if not all(plain):
        return False
    query, key = _gram(weights[0], weights[1]), _gram(weights[2], weights[3])
    if query.shape != key.shape:  # grouped keys cannot be refactored
        return False
    lengths = torch.diagonal(query, dim1=-2, dim2=-1)
    expected = torch.diag_embed(lengths)
    scale = lengths.amax(dim=-1)[:, None, None]
    # Rounding of the stored weights. Other weights, trained or random, are off by a good part of
    # `scale`.
    tolerance = 1e-3 if weights[0].dtype in (torch.float32, torch.float64) else 3e-2
    error = torch.maximum((query - expected).abs(), (key - expected).abs())
    return bool((scale > 0).all() and (error <= tolerance * scale).all())


def _gram(weight: Tensor, bias: Tensor) -> Tensor:
    """Gram matrices ``[head, d_head, d_head]`` of ``[head, d_model, d_head]`` weights."""
    extended = torch.cat([weight.detach(), bias.detach()[:, None, :]], dim=1)
    extended = extended.to("cpu" if not has_float64(extended.device) else extended.device)
    extended = extended.double()
    return extended.transpose(-2, -1) @ extended
