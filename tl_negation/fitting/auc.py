"""Area under the ROC curve of many units at once: tensors in, tensors out, as in ``_newton``."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from . import compiled
from .blocks import Scratch


def auc(
    x: Float[Tensor, "example unit"], n1: int, scratch: Scratch | None = None
) -> Float[Tensor, " unit"]:
    """Area under the ROC curve of every column, ties counted half (Mann-Whitney, midranks).

    Above one half where larger values mean class 1; NaN where the column is not finite.
    """
    pairs = n1 * (x.shape[0] - n1)
    if x.device.type == "cpu":
        wins, finite = _wins(x, n1, scratch or Scratch())
    else:
        wins = _rank_sum(x, n1) - n1 * (n1 + 1) / 2
        finite = x.amin(dim=0).isfinite() & x.amax(dim=0).isfinite()
    return (wins / pairs).masked_fill(~finite, torch.nan)


def _wins(x: Tensor, n1: int, scratch: Scratch) -> tuple[Tensor, Tensor]:
    """Pairs that class 1 wins, and whether all values are finite.

    The class replaces the lowest bit of a float32 value, so that numpy's vectorised sort carries
    it along. Where values then look like ties, the classes are sorted apart and merged.
    """
    rows = scratch.like("rows", x.T).copy_(x.T)
    finite = rows.sum(dim=1).isfinite()
    if not finite.all():  # or a sum of finite values overflowed
        finite = rows.isfinite().all(dim=1)
    wins, tied = np.empty(len(rows)), np.ones(len(rows), dtype=np.bool_)
    if x.dtype == torch.float32:
        rows += 0.0  # turns -0.0 into 0.0
        bits = rows.view(torch.int32)
        bits &= ~1
        bits[:, :n1] |= 1
        rows.numpy().sort(axis=1)
        compiled.places(bits.numpy(), wins, tied)
        wins -= n1 * (n1 + 1) / 2
    if tied.any():
        few = x.T[torch.from_numpy(tied)].contiguous().numpy()
        ones, zeros, exact = few[:, :n1], few[:, n1:], np.empty(len(few))
        ones.sort(axis=1)
        zeros.sort(axis=1)
        compiled.count_wins(ones, zeros, exact)
        wins[tied] = exact
    return torch.from_numpy(wins), finite


def _rank_sum(x: Tensor, n1: int) -> Tensor:
    """Rank sums of class 1, ties given their mean rank."""
    values, order = x.T.sort(dim=1)
    return ((order < n1) * _midranks(values)).sum(dim=1)


def _midranks(values: Float[Tensor, "unit example"]) -> Float[Tensor, "unit example"]:
    """Ranks from 1 of sorted rows, ties given their mean rank."""
    first = torch.ones_like(values, dtype=torch.bool)
    first[:, 1:] = values[:, 1:] != values[:, :-1]
    group = first.cumsum(dim=1) - 1
    rank = torch.arange(1, values.shape[1] + 1, dtype=torch.float64, device=values.device)
    rank = rank.expand(values.shape)
    total = torch.zeros_like(rank).scatter_add_(1, group, rank)
    size = torch.zeros_like(rank).scatter_add_(1, group, torch.ones_like(rank))
    return (total / size.clamp_min(1)).gather(1, group)
