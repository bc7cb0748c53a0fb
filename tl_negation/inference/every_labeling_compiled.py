"""Units under every labeling, on a CPU: the kernels of :mod:`tl_negation.fitting.labelings`.

The units are cut into stretches, which as many threads as torch uses work on.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch

from ..fitting import labelings as kernels
from .labelings import SLACK, Asked, Progress, Reached, SteppedDown
from .precision import Weighted

#: Units of a stretch.
STRETCH = 4096
_Part = TypeVar("_Part")


def reached(
    units: Weighted,
    asked: Asked,
    groups: np.ndarray,
    families: np.ndarray,
    k: int,
    progress: Progress,
) -> Reached:
    """See :func:`.every_labeling.reached`; ``k`` labelings may reach a unit."""
    d, w, codes = _arrays(units, asked)
    n = len(asked.labelings)
    observed, single = np.empty(len(d)), np.empty(len(d), np.int64)
    counts = np.zeros((_size(groups), n), np.int64)
    bins = np.zeros((_size(families), kernels.BINS), np.int64)

    def stretch(rows: slice) -> tuple[slice, slice, np.ndarray, np.ndarray]:
        group, family = _span(groups[rows]), _span(families[rows])
        some_counts = np.zeros((group.stop - group.start, n), np.int32)
        some_bins = np.zeros((family.stop - family.start, kernels.BINS), np.int32)
        kernels.reached(
            d[rows], w[rows], codes, asked.side, k, SLACK, groups[rows] - group.start,
            families[rows] - family.start, observed[rows], single[rows], some_counts, some_bins,
        )  # fmt: skip
        return group, family, some_counts, some_bins

    for group, family, some_counts, some_bins in _in_threads(stretch, len(d), progress):
        counts[group] += some_counts
        bins[family] += some_bins
    return Reached(*map(torch.from_numpy, (observed, single, counts, bins)))


def stepped_down(units: Weighted, asked: Asked, progress: Progress) -> SteppedDown:
    """See :func:`tl_negation.inference.every_labeling.stepped_down`.

    Each stretch is looked at twice: for its own largest values, and again when those of all the
    stretches before it are known.
    """
    d, w, codes = _arrays(units, asked)
    counts = np.empty(len(d), np.int64)

    def alone(rows: slice) -> np.ndarray:
        largest = np.full(len(asked.labelings), -np.inf)
        kernels.highest(d[rows], w[rows], codes, asked.side, largest)
        return largest

    own = _in_threads(alone, len(d), lambda _: None)
    before = np.maximum.accumulate([np.full(len(asked.labelings), -np.inf), *own])

    def together(rows: slice) -> None:
        largest = before[rows.start // STRETCH].copy()
        kernels.stepped_down(d[rows], w[rows], codes, asked.side, SLACK, largest, counts[rows])

    _in_threads(together, len(d), progress)
    return SteppedDown(torch.from_numpy(counts), torch.from_numpy(before[-1]))


def exceeding(units: Weighted, asked: Asked, column: np.ndarray) -> np.ndarray:
    """See :func:`tl_negation.inference.every_labeling.exceeding`."""
    d, w, codes = _arrays(units, asked)
    shape = (len(asked.labelings), _size(column))

    def stretch(rows: slice) -> np.ndarray:
        counts = np.zeros(shape, np.int32)
        kernels.exceeding(d[rows], w[rows], codes, asked.side, column, counts)
        return counts

    return sum(_in_threads(stretch, len(d), lambda _: None), np.zeros(shape, np.int64))


def _arrays(units: Weighted, asked: Asked) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    d, w = (np.ascontiguousarray(part.numpy()) for part in (units.deviations, units.weights))
    return d, w, kernels.codes_of(asked.labelings)


def _size(numbers: np.ndarray) -> int:
    return int(numbers.max(initial=-1)) + 1


def _span(numbers: np.ndarray) -> slice:
    return slice(int(numbers.min()), int(numbers.max()) + 1)


def _in_threads(part: Callable[[slice], _Part], n: int, progress: Progress) -> list[_Part]:
    """Call a function with every stretch of units, in order."""
    stretches = [slice(start, min(start + STRETCH, n)) for start in range(0, n, STRETCH)]
    results = []
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for rows, result in zip(stretches, pool.map(part, stretches), strict=True):
            progress(rows.stop - rows.start)
            results.append(result)
    return results
