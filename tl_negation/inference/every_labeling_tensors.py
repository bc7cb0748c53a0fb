"""Units under every labeling, as tensors: for GPUs, and the plain form of the kernels' formula."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..fitting.labelings import BINS
from .labelings import SLACK, Asked, Progress, Reached, SteppedDown
from .precision import Weighted

#: Elements of a [unit, labeling] block: 64 MB in float64.
BLOCK = 8_000_000


def statistics(
    deviations: Float[Tensor, "unit word"],
    weights: Float[Tensor, "unit word"],
    labelings: Float[Tensor, "labeling word"],
    side: int,
) -> Float[Tensor, "unit labeling"]:
    """Compute the statistic: the share of a unit's sum of squares that lies between the classes."""
    total = weights.sum(dim=1, keepdim=True)
    squares = (deviations.square() / weights).sum(dim=1, keepdim=True)
    a, b = deviations @ labelings.T, weights @ labelings.T
    value = a.square() * (total / squares) / (b * (total - b))
    return torch.where(a * side > 0, value, -value) if side else value


def reached(
    units: Weighted,
    asked: Asked,
    groups: np.ndarray,
    families: np.ndarray,
    k: int,
    progress: Progress,
) -> Reached:
    """See :func:`.every_labeling.reached`; ``k`` labelings may reach a unit."""
    device, n = units.weights.device, len(asked.labelings)
    group, family = (torch.from_numpy(numbers).to(device) for numbers in (groups, families))
    counts, bins = (
        torch.zeros(int(numbers.max(initial=-1)) + 1, width, dtype=torch.int64, device=device)
        for numbers, width in ((groups, n), (families, BINS))
    )
    observed, single = [], []
    for rows, value in _blocks(units, asked):
        observed.append(value[:, 0])
        single.append((value >= _reach(value[:, :1])).sum(dim=1))
        threshold = value.topk(k + 1, dim=1).values[:, -1:]
        above = value > threshold + SLACK * threshold.abs()
        counts.index_add_(0, group[rows], above.long())
        where = _bins(value) + family[rows, None] * BINS
        bins.view(-1).add_(torch.bincount(where.flatten(), minlength=bins.numel()))
        progress(len(value))
    return Reached(_joined(observed, units), _joined(single, units).long(), counts, bins)


def stepped_down(units: Weighted, asked: Asked, progress: Progress) -> SteppedDown:
    """See :func:`tl_negation.inference.every_labeling.stepped_down`."""
    device = units.weights.device
    largest = torch.full((len(asked.labelings),), -torch.inf, dtype=torch.float64, device=device)
    counts = []
    for _, value in _blocks(units, asked):
        reach = _reach(value[:, :1].clone())
        value[0] = torch.maximum(value[0], largest)
        running = value.cummax(dim=0).values
        counts.append((running >= reach).sum(dim=1))
        largest = running[-1]
        progress(len(value))
    return SteppedDown(_joined(counts, units).long(), largest)


def exceeding(units: Weighted, asked: Asked, column: np.ndarray) -> np.ndarray:
    """See :func:`tl_negation.inference.every_labeling.exceeding`."""
    device, n, width = units.weights.device, len(asked.labelings), int(column.max()) + 1
    of_bin = torch.from_numpy(column).to(device)
    counts = torch.zeros(n * width, dtype=torch.int64, device=device)
    labeling = torch.arange(n, device=device, dtype=torch.int64)
    for _, value in _blocks(units, asked):
        where = of_bin[_bins(value)]
        cell = (labeling * width + where)[where >= 0]
        counts += torch.bincount(cell, minlength=n * width)
    return counts.view(n, width).cpu().numpy()


def _blocks(units: Weighted, asked: Asked) -> Iterator[tuple[slice, Tensor]]:
    """Statistics of some units at a time, under all labelings."""
    table = torch.from_numpy(asked.labelings.astype(np.float64)).to(units.weights.device)
    step = max(1, BLOCK // len(asked.labelings))
    for start in range(0, len(units.weights), step):
        rows = slice(start, start + step)
        yield rows, statistics(units.deviations[rows], units.weights[rows], table, asked.side)


def _reach(value: Tensor) -> Tensor:
    return value - SLACK * value.abs()


def _bins(value: Tensor) -> Tensor:
    return ((value + 1.0) * (BINS // 2)).long().clamp(0, BINS - 1)


def _joined(parts: list[Tensor], units: Weighted) -> Tensor:
    if parts:
        return torch.cat(parts)
    return torch.zeros(0, dtype=torch.float64, device=units.weights.device)
