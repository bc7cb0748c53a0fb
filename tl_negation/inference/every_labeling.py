"""Units under every labeling of the words: compiled on a CPU, as matrix products elsewhere."""

from types import ModuleType

import numpy as np
from jaxtyping import Float, Int

from .labelings import SLACK, Asked, Progress, Reached, SteppedDown
from .precision import Weighted


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
        from . import every_labeling_compiled as engine
    else:
        from . import every_labeling_tensors as engine
    return engine
