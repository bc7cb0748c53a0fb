"""Area under the ROC curve of many units at once: tensors in, tensors out."""

import torch
from jaxtyping import Float
from torch import Tensor

from .engine import engine_of
from .scratch import Scratch


def auc(
    x: Float[Tensor, "example unit"], n1: int, scratch: Scratch | None = None
) -> Float[Tensor, " unit"]:
    """Area under the ROC curve of every column, ties counted half (Mann-Whitney).

    The first ``n1`` rows are class 1. The area is above one half where larger values mean class 1,
    and NaN where the column is not finite.
    """
    wins, finite = engine_of(x.device).count_wins(x, n1, scratch or Scratch())
    pairs = n1 * (x.shape[0] - n1)
    return (wins / pairs).masked_fill(~finite, torch.nan)
