"""Predictions for examples that the fit was not made on: each fold is an exact refit of each unit.

Direction and threshold come from the training part.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from . import tensors
from .engine import engine_of
from .scratch import Scratch


def predictions_right(
    x: Float[Tensor, "example unit"],
    labels: Int[np.ndarray, " example"],
    groups: Int[np.ndarray, " example"],
    scratch: Scratch | None = None,
) -> Bool[Tensor, "example unit"]:
    """Whether each example is predicted right by the fit to all groups but its own.

    Parameters
    ----------
    x
        Activations.
    labels, groups
        Class (0 or 1) and group of each example.
    scratch
        Memory to work in.

    Returns
    -------
    Bool[Tensor, "example unit"]
        A unit without an estimate in a fold (constant in training) predicts class 0 there.
    """
    right, lost = engine_of(x.device).predict(x, labels, groups, scratch or Scratch())
    if lost.any():
        index = lost.nonzero().squeeze(1)
        few = x.index_select(1, index)
        right[:, index], _ = tensors.predict(few, labels, groups, Scratch())
    return right
