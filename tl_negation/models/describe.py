"""What a model is, for the provenance of a result."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any
from weakref import WeakKeyDictionary

import torch

from .._shared import validated
from .protocol import TransformerLensModel

#: What is known about a model from loading it, and cannot be read off it later.
ORIGIN: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()

_LIBRARIES = ("tl_negation", "transformer_lens", "transformers")
_SIZES = ("n_layers", "d_model", "n_heads", "n_key_value_heads", "d_head", "d_mlp", "n_ctx")


@validated
def describe_model(model: TransformerLensModel) -> dict[str, Any]:
    """Describe a model for the provenance of a result.

    Parameters
    ----------
    model : HookedTransformer or TransformerBridge

    Returns
    -------
    dict
        Ready for JSON: name, class, revision (None if not known), dtype, device, the sizes of
        ``model.cfg``, signs of weight processing, quantisation, versions of the libraries. Where
        the weights come from is known only of models that :func:`load_model` loaded; others are
        described by the name in their configuration.

    Raises
    ------
    TypeError
        Not a TransformerLens model.

    Examples
    --------
    >>> about = tln.describe_model(model)
    >>> about["n_layers"], about["n_heads"], about["d_head"], about["dtype"]
    (3, 5, 4, 'float32')
    """
    cfg, weight = model.cfg, next(model.parameters())
    hf_config = getattr(getattr(model, "original_model", None), "config", None)
    return {
        "name": cfg.model_name,
        "class": type(model).__name__,
        "revision": getattr(hf_config, "_commit_hash", None),
        "dtype": str(weight.dtype).removeprefix("torch."),
        "device": ", ".join(sorted({str(weight.device) for weight in model.parameters()})),
        **{size: getattr(cfg, size, None) for size in _SIZES},
        "normalization_type": cfg.normalization_type,  # LNPre, RMSPre: folded into the weights
        "compatibility_mode": getattr(model, "compatibility_mode", None),
        "quantised": _quantisation(cfg, hf_config),
        "versions": {name: version_of(name) for name in _LIBRARIES} | {"torch": torch.__version__},
    } | ORIGIN.get(model, {})


def _quantisation(cfg: Any, hf_config: Any) -> str | None:
    """How the weights are quantised, according to transformers or TransformerLens."""
    known: Any = getattr(hf_config, "quantization_config", None) or {}
    known = known.to_dict() if hasattr(known, "to_dict") else known
    method = known.get("quant_method") or getattr(cfg, "quantization_method", None)
    if method is None:
        return "bitsandbytes, 4 bits" if getattr(cfg, "load_in_4bit", False) else None
    bits = [n for n in (4, 8) if known.get(f"load_in_{n}bit") or known.get("bits") == n]
    return ", ".join([str(getattr(method, "value", method)), *(f"{n} bits" for n in bits)])


def version_of(distribution: str) -> str | None:
    """Version of an installed package, None if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
