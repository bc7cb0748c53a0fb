"""Units under every labeling of the words: compiled on a CPU, as matrix products elsewhere."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .precision import Weighted

#: Statistics that differ by less, relatively, are equal.
SLACK = 1e-9
#: Elements of a [labeling, unit] block of tensors: 64 MB in float64.
BLOCK = 8_000_000
#: Alternative -> the sign that counts; 0: either.
SIDES = {"two-sided": 0, "greater": 1, "less": -1}


class Reached(NamedTuple):
    """What reaches what; see :func:`reached`.

    Attributes
    ----------
    observed
        Statistic of each unit: share of the weighted sum of squares between the classes, with the
        sign of the difference where the test is one-sided.
    single
        Labelings that reach it, the observed one included.
    counts
        For every labeling, how many units of each group would be significant if it were the one
        that was observed.
    """

    observed: Float[Tensor, " unit"]
    single: Int[Tensor, " unit"]
    counts: Int[Tensor, "group labeling"]


def reached(
    units: Weighted,
    labelings: Int[np.ndarray, "labeling word"],
    groups: Int[np.ndarray, " unit"],
    *,
    alpha: float,
    alternative: str,
) -> Reached:
    """Count by unit the labelings that reach it, and by group the units that are significant.

    Parameters
    ----------
    units
        Without NaN.
    labelings
        Of 0 and 1; the first is the observed one.
    groups
        Number of each unit's group, from 0 on.
    alpha
        Level of a unit by itself.
    alternative
        A key of :data:`SIDES`.
    """
    k, side = int(alpha * len(labelings) + SLACK), SIDES[alternative]
    if units.weights.device.type == "cpu":
        return _reached_compiled(units, labelings, groups, k, side)
    return _reached_tensors(units, labelings, groups, k, side)


def _reached_compiled(
    units: Weighted, labelings: np.ndarray, groups: np.ndarray, k: int, side: int
) -> Reached:
    from ..fitting import labelings as kernels

    d, w, codes = units.deviations.numpy(), units.weights.numpy(), kernels.codes_of(labelings)
    observed, single = np.empty(len(d)), np.empty(len(d), np.int64)
    n_groups = int(groups.max(initial=-1)) + 1

    def part(rows: slice) -> np.ndarray:
        counts = np.zeros((n_groups, len(labelings)), np.int32)
        kernels.reached(
            d[rows], w[rows], codes, side, k, SLACK, groups[rows], observed[rows], single[rows],
            counts,
        )  # fmt: skip
        return counts

    counts = sum(_in_threads(part, len(d)), np.zeros((n_groups, len(labelings)), np.int64))
    return Reached(*map(torch.from_numpy, (observed, single, counts)))


def _in_threads(part, n: int) -> Iterator[np.ndarray]:
    """Call a function with as many stretches of units as torch uses threads."""
    threads = torch.get_num_threads()
    edges = np.linspace(0, n, threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(part, (slice(*ends) for ends in pairwise(edges)))


def statistics(
    deviations: Float[Tensor, "unit word"],
    weights: Float[Tensor, "unit word"],
    labelings: Float[Tensor, "labeling word"],
    side: int,
) -> Float[Tensor, "unit labeling"]:
    """Compute the statistic of units under labelings; the oracle's form of the kernels' formula."""
    total = weights.sum(dim=1, keepdim=True)
    squares = (deviations.square() / weights).sum(dim=1, keepdim=True)
    a, b = deviations @ labelings.T, weights @ labelings.T
    value = a.square() * (total / squares) / (b * (total - b))
    return torch.where(a * side > 0, value, -value) if side else value


def _reached_tensors(
    units: Weighted, labelings: np.ndarray, groups: np.ndarray, k: int, side: int
) -> Reached:
    device, n = units.weights.device, len(labelings)
    table = torch.from_numpy(labelings.astype(np.float64)).to(device)
    group = torch.from_numpy(groups).to(device)
    counts = torch.zeros(int(groups.max(initial=-1)) + 1, n, dtype=torch.int64, device=device)
    observed, single = [], []
    for start in range(0, len(groups), max(1, BLOCK // n)):
        block = slice(start, start + max(1, BLOCK // n))
        value = statistics(units.deviations[block], units.weights[block], table, side)
        observed.append(value[:, 0])
        reach = value[:, :1] - SLACK * value[:, :1].abs()
        single.append((value >= reach).sum(dim=1))
        threshold = value.topk(k + 1, dim=1).values[:, -1:]
        above = value > threshold + SLACK * threshold.abs()
        counts.index_add_(0, group[block], above.long())
    return Reached(torch.cat(observed), torch.cat(single), counts)
