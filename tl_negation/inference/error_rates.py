"""Which units of a family are found: false discovery rate and exceedance, by permutation.

The family-wise error is that of :func:`tl_negation.inference.every_labeling.stepped_down`.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from .every_labeling import bins_of, exceeding
from .labelings import Asked
from .precision import Weighted

#: What ``significant_words`` may control.
ERRORS = ("fwer", "fdx", "fdr")
#: Thresholds that are looked at: each of the first, and then such a step in the number of units.
EACH, STEP = 100, 1.01


def check_error(error: str, gamma: float) -> None:
    """Refuse an unknown error rate, or a ``gamma`` that is not from 0 to below 1.

    Raises
    ------
    ValueError
        See :func:`tl_negation.word_test`.
    """
    if error not in ERRORS:
        raise ValueError(f"error must be one of {', '.join(ERRORS)}; got {error!r}")
    if not 0 <= gamma < 1:
        raise ValueError(f"gamma, a share of false units, is from 0 to below 1; got {gamma}")


def false_rate(
    observed: Float[np.ndarray, " unit"], tail: Int[np.ndarray, " bin"], n_labelings: int
) -> Float[np.ndarray, " unit"]:
    """Estimate the false discovery rate at which each unit is found.

    Parameters
    ----------
    observed
        Statistic of each unit.
    tail
        Values of all units and labelings in this bin or above.
    n_labelings
        Of which the tail is counted.

    Notes
    -----
    Values that fall into one bin count as equal, which makes the rates a little larger. All units
    are taken for false in the numerator.
    """
    bins = bins_of(observed)
    descending = np.argsort(-bins, kind="stable")
    ordered = bins[descending]
    found = len(bins) - np.searchsorted(np.sort(bins), ordered, side="left")
    rate = np.minimum(tail[ordered] / n_labelings / np.maximum(found, 1), 1)
    rates = np.empty(len(bins))
    rates[descending] = np.minimum.accumulate(rate[::-1])[::-1]
    return rates


def exceedance(
    units: Weighted,
    asked: Asked,
    observed: Float[np.ndarray, " unit"],
    gamma: float,
    alpha: float,
) -> Bool[np.ndarray, " unit"]:
    """Find the most units of which, with probability ``1 - alpha``, a share ``gamma`` is false.

    Hemerik 2025 (arXiv 2509.02376): a threshold is passed by R units of the data and by N units
    under a labeling; it is refused if N is above gamma R, at this or a stricter threshold, under
    more than a share alpha of the labelings. With gamma 0 that is max-T in a single step.

    Notes
    -----
    Thresholds are the observed values, of more than :data:`EACH` units not every one; between two
    of them the smaller R is taken. Both can only make the set smaller.
    """
    bins = bins_of(observed)
    thresholds, found = _thresholds(bins)
    counts = exceeding(units, asked, _columns(thresholds))
    above = np.cumsum(counts, axis=1)
    # Column 2 l + 1 ends with what equals threshold l, column 2 l with what lies above it.
    at, over = above[:, 1::2], above[:, 0::2]
    before = np.concatenate([[0], found[:-1]])
    refused = (at > gamma * np.maximum(found, 1)) | (over > gamma * np.maximum(before, 1))
    share = np.logical_or.accumulate(refused, axis=1).mean(axis=0)
    passed = thresholds[share <= alpha]
    return bins >= passed.min() if len(passed) else np.zeros(len(bins), bool)


def _thresholds(
    bins: Int[np.ndarray, " unit"],
) -> tuple[Int[np.ndarray, " threshold"], Int[np.ndarray, " threshold"]]:
    """Observed bins from above, and how many units are in each or above."""
    values, sizes = np.unique(bins, return_counts=True)
    values, found = values[::-1], np.cumsum(sizes[::-1])
    kept, last = [], 0.0
    for i, number in enumerate(found):
        if number <= EACH or number >= STEP * last:
            kept.append(i)
            last = number
    return values[kept], found[kept]


def _columns(thresholds: Int[np.ndarray, " threshold"]) -> Int[np.ndarray, " bin"]:
    """Column of every bin: above the first threshold 0, in it 1, between it and the next 2 ..."""
    from ..fitting.labelings import BINS

    rising = thresholds[::-1]
    bins = np.arange(BINS)
    column = 2 * (len(rising) - np.searchsorted(rising, bins, side="right"))
    column[rising] = 2 * np.arange(len(rising))[::-1] + 1
    column[: rising[0]] = -1
    return column
