"""Units under every labeling of the words: compiled on a CPU, as matrix products elsewhere."""

from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from .precision import Weighted

#: Statistics that differ by less, relatively, are equal.
SLACK = 1e-9
#: Alternative -> the sign that counts; 0: either.
SIDES = {"two-sided": 0, "greater": 1, "less": -1}

#: Told how many more units are done.
Progress = Callable[[int], object]


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
        For every labeling, how many units of each group would be significant by themselves if it
        were the one that was observed.
    bins
        How many values of the statistic, of all units of a family and all labelings, fall into
        each of :data:`tl_negation.fitting.labelings.BINS` stretches between -1 and 1.
    """

    observed: Float[Tensor, " unit"]
    single: Int[Tensor, " unit"]
    counts: Int[Tensor, "group labeling"]
    bins: Int[Tensor, "family bin"]


class Asked(NamedTuple):
    """Under which labelings, and for which side, statistics are computed.

    Attributes
    ----------
    labelings
        Of 0 and 1; the first is the observed one.
    side
        A value of :data:`SIDES`.
    """

    labelings: Int[np.ndarray, "labeling word"]
    side: int


def reached(
    units: Weighted,
    asked: Asked,
    groups: Int[np.ndarray, " unit"],
    families: Int[np.ndarray, " unit"],
    *,
    alpha: float,
    progress: Progress = lambda _: None,
) -> Reached:
    """Count by unit the labelings that reach it, and by group the units that are significant.

    Parameters
    ----------
    units
        Without NaN.
    asked
        The labelings.
    groups, families
        Number of each unit's group and family, from 0 on.
    alpha
        Level of a unit by itself.
    progress
        Called as units are done.
    """
    k = int(alpha * len(asked.labelings) + SLACK)
    return _engine(units).reached(units, asked, groups, families, k, progress)


class SteppedDown(NamedTuple):
    """What the units together reach; see :func:`stepped_down`.

    Attributes
    ----------
    counts
        Labelings under which the unit, or one of those before it, reaches its statistic.
    largest
        Largest statistic of any unit, under every labeling.
    """

    counts: Int[Tensor, " unit"]
    largest: Float[Tensor, " labeling"]


def stepped_down(units: Weighted, asked: Asked, progress: Progress = lambda _: None) -> SteppedDown:
    """Count the labelings under which a unit, or one of those before it, reaches its statistic.

    Parameters
    ----------
    units
        Without NaN, in rising order of the statistic.
    asked
        The labelings.
    progress
        Called as units are done.
    """
    return _engine(units).stepped_down(units, asked, progress)


def exceeding(
    units: Weighted, asked: Asked, column: Int[np.ndarray, " bin"]
) -> Int[np.ndarray, "labeling column"]:
    """Count, for every labeling, the units whose statistic falls into each stretch of bins.

    Parameters
    ----------
    units
        Without NaN.
    asked
        The labelings.
    column
        Stretch of each bin, from 0 on; -1: values that are not counted.
    """
    return _engine(units).exceeding(units, asked, column)


def bins_of(values: Float[np.ndarray, " unit"]) -> Int[np.ndarray, " unit"]:
    """Sort values of the statistic into the bins of the kernels."""
    from ..fitting.labelings import BINS

    return np.clip(((values + 1.0) * (BINS // 2)).astype(np.int64), 0, BINS - 1)


def _engine(units: Weighted) -> ModuleType:
    if units.weights.device.type == "cpu":
        from . import relabelling_compiled as engine
    else:
        from . import relabelling_tensors as engine
    return engine
