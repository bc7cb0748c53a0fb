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


def count_right(
    x: Float[Tensor, "example unit"],
    labels: Int[np.ndarray, "task example"],
    groups: Int[np.ndarray, " example"],
    parts: Int[np.ndarray, " example"],
    scratch: Scratch,
) -> tuple[Float[Tensor, "task part unit"], Bool[Tensor, "task unit"]]:
    """Count the examples of each part predicted right by the fits to other groups; units lost."""
    from . import compiled_folds

    # A cell: examples of one group and part that have the same class in every task.
    keys = np.vstack([labels, parts, groups])
    order = np.lexsort(keys)
    keys = keys[:, order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    cells = np.flatnonzero(first)
    ends = np.flatnonzero(np.diff(keys[-1, cells], prepend=-1, append=-1))
    rows = scratch.like("rows", x.T)
    torch.index_select(x.T, 1, torch.from_numpy(order), out=rows)
    out = np.empty((len(rows), len(labels), int(parts.max()) + 1))
    lost = np.empty((len(rows), len(labels)), dtype=np.bool_)
    compiled_folds.count_right(
        rows.numpy(),
        np.append(cells, len(order)),
        ends,
        np.ascontiguousarray(keys[: len(labels), cells]),
        np.ascontiguousarray(keys[-2, cells]),
        out,
        lost,
    )
    return torch.from_numpy(out).permute(1, 2, 0), torch.from_numpy(lost).T


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
