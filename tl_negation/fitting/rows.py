"""The engine for CPUs: compiled code that fits one unit after the other.

It takes units as rows, because then a unit's values lie side by side in memory. Numba, and with it
:mod:`.compiled`, is imported by the first fit, not with the package.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .outcomes import Penalised, Solved
from .scratch import Scratch

_SIDES = ("left", "right")


def solve(x: Float[Tensor, "example unit"], n1: int, scratch: Scratch) -> Solved:
    """Fit every column of ``x``, class 1 first."""
    from . import compiled
    from .compiled import Column

    n0 = x.shape[0] - n1
    rows = scratch.like("rows", x.T).copy_(x.T)
    out = np.empty((len(Column), len(rows)))
    compiled.fit(rows.numpy(), n1, out)
    found = torch.from_numpy(out)
    accuracy, balanced = _accuracies(found, Column, n1, n0)
    return Solved(
        mean=found[Column.MEAN],
        sd=found[Column.SD],
        sum1=found[Column.SUM1],
        a=found[Column.A],
        b=found[Column.B],
        per_sd=found[Column.B].clone(),
        variance=found[Column.VARIANCE],
        loglik=found[Column.LOGLIK],
        accuracy=accuracy,
        balanced_accuracy=balanced,
        done=found[Column.CONVERGED] > 0,
    )


def penalise(
    u: Float[Tensor, "example unit"], n1: int, farthest: Float[Tensor, " unit"], scratch: Scratch
) -> Penalised:
    """Maximise Firth's penalised likelihood of every column of ``u``, class 1 first."""
    from . import compiled_firth
    from .compiled_firth import Column

    rows = scratch.like("rows", u.T).copy_(u.T)
    out = np.full((len(Column), len(rows)), np.nan)
    compiled_firth.fit(rows.numpy(), n1, farthest.numpy(), out)
    found = torch.from_numpy(out)
    a, b = found[Column.A], found[Column.B]
    accuracies = _accuracies(found, Column, n1, u.shape[0] - n1)
    return Penalised(a, b, found[Column.VARIANCE], found[Column.VALUE], *accuracies)


def _accuracies(found: Tensor, column: Any, n1: int, n0: int) -> tuple[Tensor, Tensor]:
    """Accuracy at p = 1/2, and balanced accuracy at p = share of class 1, from what was counted."""
    hits, alarms = found[column.HITS], found[column.ALARMS]
    sensitivity = found[column.BALANCED_HITS] / n1
    false_alarms = found[column.BALANCED_ALARMS] / n0
    return (hits + n0 - alarms) / (n1 + n0), (sensitivity + 1 - false_alarms) / 2


def predict(
    x: Float[Tensor, "example unit"],
    labels: Int[np.ndarray, " example"],
    groups: Int[np.ndarray, " example"],
    scratch: Scratch,
) -> tuple[Bool[Tensor, "example unit"], Bool[Tensor, " unit"]]:
    """Whether each example is predicted right by the fit to the other groups; and units lost."""
    from . import compiled

    order = np.lexsort((groups, -labels))  # class 1 first, groups together within a class
    n1 = int(labels.sum())
    rows = scratch.like("rows", x.T)
    torch.index_select(x.T, 1, torch.from_numpy(order), out=rows)
    out = np.empty(rows.shape, dtype=np.bool_)
    lost = np.empty(len(rows), dtype=np.bool_)
    ones, zeros = groups[order[:n1]], groups[order[n1:]]
    edges = np.array(
        [
            [np.searchsorted(part, group, side) for part in (ones, zeros) for side in _SIDES]
            for group in np.unique(groups)
        ]
    )
    compiled.predicted_right(rows.numpy(), n1, np.add(edges, [0, 0, n1, n1]), out, lost)
    right = torch.empty(x.shape, dtype=torch.bool, device="cpu")
    right[torch.from_numpy(order)] = torch.from_numpy(out).T
    return right, torch.from_numpy(lost)


def count_wins(
    x: Float[Tensor, "example unit"], n1: int, scratch: Scratch
) -> tuple[Float[Tensor, " unit"], Bool[Tensor, " unit"]]:
    """Pairs that class 1 wins, ties counted half; and whether all values are finite.

    The class replaces the lowest bit of a float32 value, so that numpy's vectorised sort carries
    it along. Where values then look like ties, the classes are sorted apart and merged.
    """
    from . import compiled

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
        wins -= n1 * (n1 + 1) / 2  # from rank sums to pairs won
    if tied.any():
        few = x.T[torch.from_numpy(tied)].contiguous().numpy()
        ones, zeros, exact = few[:, :n1], few[:, n1:], np.empty(len(few))
        ones.sort(axis=1)
        zeros.sort(axis=1)
        compiled.count_wins(ones, zeros, exact)
        wins[tied] = exact
    return torch.from_numpy(wins), finite
