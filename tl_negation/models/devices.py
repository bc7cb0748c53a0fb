"""Where tensors go: models on one device, on several, and on devices without float64."""

import torch

from .protocol import TransformerLensModel


def has_float64(device: torch.device) -> bool:
    """Whether tensors of float64 can be made there; Apple's MPS cannot."""
    try:
        torch.zeros((), dtype=torch.float64, device=device)
    except (TypeError, RuntimeError):  # MPS raises the one, drivers of others the other
        return False
    return True


def token_device(model: TransformerLensModel) -> torch.device:
    """Device that token ids go to: the embedding's.

    The parameters of a model that is spread over devices (``n_devices``, ``device_map``) lie on
    several; where the embedding is offloaded, accelerate fetches tokens from the CPU.
    """
    embedding = getattr(model, "embed", model)  # the name in both classes
    device = next(embedding.parameters()).device
    return torch.device("cpu") if device.type == "meta" else device


def values_device(model: TransformerLensModel) -> torch.device:
    """Device that activations are kept on: that of the tokens, or the CPU if it lacks float64.

    The statistics end in float64, wherever the activations are.
    """
    device = token_device(model)
    return device if has_float64(device) else torch.device("cpu")
