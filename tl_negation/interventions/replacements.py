"""What units are replaced by. A new kind of replacement is one entry in :data:`HOWS`."""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .._shared import nearest, string


class Replacement(NamedTuple):
    """A kind of replacement.

    Attributes
    ----------
    values
        Takes the activations of some units of a layer in all contexts, ``[context, unit]``, and
        the donor of each measured example: the row of another context, drawn at random. Returns
        what each measured example gets instead, ``[example, unit]``.
    meaning
        What a unit's activation is replaced by, in plain text for help texts and docstrings.
    """

    values: Callable[[Tensor, np.ndarray], Tensor]
    meaning: str


def _mean(
    layer: Float[Tensor, "context unit"], donors: Int[np.ndarray, " example"]
) -> Float[Tensor, "example unit"]:
    mean = layer.double().mean(dim=0).to(layer.dtype)
    return mean.expand(len(donors), -1)


def _zero(
    layer: Float[Tensor, "context unit"], donors: Int[np.ndarray, " example"]
) -> Float[Tensor, "example unit"]:
    return torch.zeros_like(layer[0]).expand(len(donors), -1)


def _resample(
    layer: Float[Tensor, "context unit"], donors: Int[np.ndarray, " example"]
) -> Float[Tensor, "example unit"]:
    return layer[torch.from_numpy(donors).to(layer.device)]


#: Every kind of replacement, by the name that the parameter ``how`` takes.
HOWS: dict[str, Replacement] = {
    "mean": Replacement(_mean, "its mean over the contexts of both classes"),
    "zero": Replacement(_zero, "0"),
    "resample": Replacement(_resample, "its value in another context, drawn at random"),
}


def known_how(name: str, value: Any) -> None:
    """Raise unless the value is a name in :data:`HOWS`."""
    string(name, value)
    if value not in HOWS:
        raise ValueError(
            f"{name} must be one of {', '.join(HOWS)}; got {value!r}{nearest(value, HOWS)}"
        )


#: What the parameter ``how`` takes.
How = Annotated[str, known_how]
