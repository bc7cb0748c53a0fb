"""Where tensors go: models on one device, on several, and on devices without float64."""

import torch

from .protocol import TransformerLensModel


def usable_device(name: str | torch.device) -> torch.device:
    """Return the device of that name, or raise ValueError if tensors cannot be made there."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"cannot use device {str(name)!r} here ({reason}); leave it out, or name another: 'cpu'"
        ) from error


def has_float64(device: torch.device) -> bool:
    """Whether tensors of float64 can be made there; Apple's MPS cannot."""
    try:
        torch.zeros((), dtype=torch.float64, device=device)
    except (TypeError, RuntimeError):  # MPS raises the first, other drivers the second
        return False
    return True


def token_device(model: TransformerLensModel) -> torch.device:
    """Device that token ids go to: the embedding's.

    A model may be spread over several devices (``n_devices``, ``device_map``). Where the embedding
    is offloaded, accelerate fetches tokens from the CPU.
    """
    embedding = getattr(model, "embed", model)  # the name in both classes
    device = next(embedding.parameters()).device
    return torch.device("cpu") if device.type == "meta" else device


def values_device(model: TransformerLensModel) -> torch.device:
    """Device that activations are kept on: that of the tokens, or the CPU if it lacks float64.

    The statistics are computed in float64 where the activations are.
    """
    device = token_device(model)
    return device if has_float64(device) else torch.device("cpu")
