"""What decides the values that a model computes, so that kept activations are recognised by it."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .changes import changes_of, foreign_classes
from .protocol import TransformerLensModel

#: Settings that name things, say where they lie, or how the weights were drawn before training.
#: They differ between two loadings of the same model.
UNIMPORTANT = (
    "_name_or_path", "name_or_path", "model_name", "tokenizer_name", "original_architecture",
    "device", "n_devices", "seed", "init_mode", "init_weights", "initializer_range",
    "transformers_version", "torch_dtype", "checkpoint_index", "checkpoint_label_type",
    "checkpoint_value", "from_checkpoint", "trust_remote_code",
)  # fmt: skip


def identity_of(model: TransformerLensModel) -> dict[str, Any]:
    """Find out what decides the values of a model's activations, apart from the tokens.

    Parameters
    ----------
    model : HookedTransformer or TransformerBridge

    Returns
    -------
    dict
        Ready for JSON. ``weights``: SHA-256 over all bytes of the parameters and buffers, with
        their names, types and shapes. ``config``: the settings, TransformerLens' own and Hugging
        Face's. ``modules``: SHA-256 of their classes and of what they hold beside the weights (an
        epsilon, a scale, an activation function). ``arithmetic``: autocast and the like.

    Raises
    ------
    ValueError
        The model has hooks, replaced functions or modules of somebody's own, which no hash can
        recognise; or weights that are not in memory.
    """
    changes = changes_of(model) + [f"a module of class {name}" for name in foreign_classes(model)]
    if changes:
        more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
        raise ValueError(
            f"kept activations are recognised by weights and settings, and code that was added to "
            f"a model is neither; this one has {changes[0]}{more}. Take it out "
            f"(model.reset_hooks(including_permanent=True)), or collect without a store"
        )
    return {
        "weights": _weights_sha256(model),
        "config": _settings(model),
        "modules": _modules_sha256(model),
        "arithmetic": _arithmetic(model),
    }


def module_identity(module: nn.Module) -> dict[str, Any]:
    """Tell a module from others by its weights, its classes and settings, and what it holds."""
    as_dict = getattr(getattr(module, "cfg", None), "to_dict", None)
    cfg = as_dict() if callable(as_dict) else None
    return {
        "weights": _weights_sha256(module),
        "modules": _modules_sha256(module),
        "config": _plain(cfg) if isinstance(cfg, Mapping) else None,
    }


def _arithmetic(model: TransformerLensModel) -> dict[str, str]:
    """What torch was told about precision: autocast, and how float32 matrices are multiplied."""
    device = next(model.parameters()).device.type
    casts = torch.is_autocast_enabled(device)
    return {
        "autocast": str(torch.get_autocast_dtype(device)) if casts else "off",
        "float32_matmul": torch.get_float32_matmul_precision(),
    }


def _weights_sha256(model: TransformerLensModel | nn.Module) -> str:
    digest = hashlib.sha256()
    seen: dict[int, Tensor] = {}  # kept alive: what is freed may give its id to the next
    for name, tensor in _tensors(model):
        if id(tensor) in seen:
            continue
        seen[id(tensor)] = tensor
        if tensor.is_meta:
            raise ValueError(
                f"kept activations are recognised by the bytes of all weights, but {name} is not "
                f"in memory; load the model without offloading, or collect without a store"
            )
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _tensors(model: TransformerLensModel | nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers; those that accelerate keeps elsewhere come from there."""
    for path, module in model.named_modules():
        kept = getattr(getattr(module, "_hf_hook", None), "weights_map", None) or {}
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for name, tensor in own:
            elsewhere = tensor.is_meta and name in kept
            yield f"{path}.{name}", kept[name] if elsewhere else tensor


def _settings(model: TransformerLensModel) -> dict[str, Any]:
    cfg = model.cfg
    is_record = hasattr(cfg, "__dataclass_fields__")
    own = dataclasses.asdict(cfg) if is_record else dict(vars(cfg))
    hf = getattr(getattr(model, "original_model", None), "config", None)
    theirs = {} if hf is None else {f"transformers.{name}": x for name, x in hf.to_dict().items()}
    plain = {
        name: _plain(value)
        for name, value in sorted((own | theirs).items())
        if name.removeprefix("transformers.") not in UNIMPORTANT
    }
    return {name: value for name, value in plain.items() if value is not None}


def _plain(value: Any) -> Any:
    """Turn a setting into what JSON would return for it; None if JSON cannot hold it."""
    if isinstance(value, (torch.dtype, torch.device)):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(x) for name, x in sorted(value.items(), key=str)}
    if isinstance(value, (list, tuple)):
        return [_plain(x) for x in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, (str, bool, int, float)):
        return json.loads(json.dumps(value))
    return None


def _modules_sha256(model: TransformerLensModel | nn.Module) -> str:
    digest = hashlib.sha256()
    for path, module in model.named_modules():
        digest.update(f"{path} {type(module).__module__}.{type(module).__qualname__}".encode())
        digest.update(repr(_numbers(module)).encode())
    return digest.hexdigest()


def _numbers(module: nn.Module) -> list[tuple[str, Any]]:
    """What a module computes with beside its weights: an epsilon, a scale, a window, a function."""
    # A library's own forward pass in place of the class's: accelerate, where weights lie elsewhere.
    own = {name: value for name, value in vars(module).items() if name != "forward"}
    held = ((name, _held(value)) for name, value in own.items() if name[0] != "_")
    return sorted((name, value) for name, value in held if value is not None)


def _held(value: Any) -> Any:
    """A number, a function's name, or what tells two tensors apart; None for anything else."""
    if isinstance(value, (bool, int, float)):
        return repr(value)
    if isinstance(value, Tensor):  # no buffer, so that it is not among the weights
        flat = value.detach().cpu().contiguous().reshape(-1)
        return hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).hexdigest()
    code = getattr(value, "func", value)
    name = getattr(code, "__qualname__", None) if callable(code) else None
    return None if name is None else f"{getattr(code, '__module__', '')}.{name}"
