"""Predictions for examples that the fit was not made on: each fold is an exact refit of each unit.

Direction and threshold come from the training part.
"""

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from . import tensors
from .engine import engine_of
from .scratch import Scratch


def count_right(
    x: Float[Tensor, "example unit"],
    labels: Int[np.ndarray, "task example"],
    groups: Int[np.ndarray, " example"],
    parts: Int[np.ndarray, " example"],
    scratch: Scratch | None = None,
) -> Float[Tensor, "task part unit"]:
    """Count the examples that the fit to all groups but their own predicts right.

    Parameters
    ----------
    x
        Activations.
    labels
        Class (0 or 1) of each example, a row per task: several labelings of the same examples cost
        little more than one.
    groups
        Group of each example, left out together.
    parts
        Number, from 0, of the part that each example is counted in.
    scratch
        Memory to work in.

    Returns
    -------
    Float[Tensor, "task part unit"]
        A unit without an estimate in a fold (constant in training) predicts class 0 there.
    """
    right, lost = engine_of(x.device).count_right(x, labels, groups, parts, scratch or Scratch())
    for task in lost.any(dim=1).nonzero().flatten().tolist():
        index = lost[task].nonzero().squeeze(1)
        few = x.index_select(1, index)
        again, _ = tensors.count_right(few, labels[task : task + 1], groups, parts, Scratch())
        right[task, :, index] = again[0]
    return right
