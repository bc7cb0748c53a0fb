"""What is asked of units under every labeling of the words, and what comes back."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

#: Statistics that differ by less, relatively, are equal.
SLACK = 1e-9
#: Alternative -> the sign that counts; 0: either.
SIDES = {"two-sided": 0, "greater": 1, "less": -1}

#: Told how many more units are done.
Progress = Callable[[int], object]


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


class Reached(NamedTuple):
    """What reaches what; see :func:`.every_labeling.reached`.

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


class SteppedDown(NamedTuple):
    """What the units together reach; see :func:`.every_labeling.stepped_down`.

    Attributes
    ----------
    counts
        Labelings under which the unit, or one of those before it, reaches its statistic.
    largest
        Largest statistic of any unit, under every labeling.
    """

    counts: Int[Tensor, " unit"]
    largest: Float[Tensor, " labeling"]
