"""What the counts of significant units under every labeling say of a group of units."""

import numpy as np
import pandas as pd
from jaxtyping import Float, Int


def share_table(
    counts: Int[np.ndarray, "group labeling"],
    sizes: Int[np.ndarray, " group"],
    alpha: float,
    statistic: Float[np.ndarray, "group labeling"] | None = None,
) -> pd.DataFrame:
    """Compare the observed counts, in the first column, with those under all labelings.

    Parameters
    ----------
    counts
        Units of each group that would be significant if a labeling were the one observed.
    sizes
        Units of each group.
    alpha
        Level of the tests and bounds.
    statistic
        What the group's test takes instead of the counts.

    Returns
    -------
    DataFrame
        A row per group: the columns of :func:`tl_negation.group_test` after those of ``by``.
    """
    statistic = counts.astype(float) if statistic is None else statistic
    alone, together = _at_least(counts, alpha)
    return pd.DataFrame(
        {
            "units": sizes,
            "share": counts[:, 0] / sizes,
            "share_expected": counts.mean(axis=1) / sizes,
            "share_high": np.quantile(counts, 0.95, axis=1) / sizes,
            "statistic": statistic[:, 0],
            "p": (statistic >= _reach(statistic)).mean(axis=1),
            "p_maxt": _maxt(statistic),
            "at_least": alone / sizes,
            "at_least_all": together / sizes,
        }
    )


def _reach(statistic: np.ndarray) -> np.ndarray:
    """Values that are equal up to rounding reach each other."""
    observed = statistic[:, :1]
    return observed - 1e-9 * np.abs(observed)


def _standardised(statistic: np.ndarray) -> np.ndarray:
    spread = statistic.std(axis=1, keepdims=True)
    return (statistic - statistic.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)


def _maxt(statistic: Float[np.ndarray, "group labeling"]) -> Float[np.ndarray, " group"]:
    """Step-down max-T of the statistics, each in SDs of its own over the labelings."""
    z = _standardised(statistic)
    rising = z[:, 0].argsort(kind="stable")
    largest = np.maximum.accumulate(z[rising], axis=0)
    p = (largest >= _reach(z[rising])).mean(axis=1)
    adjusted = np.empty(len(z))
    adjusted[rising] = np.maximum.accumulate(p[::-1])[::-1]
    return adjusted


def _at_least(
    counts: Int[np.ndarray, "group labeling"], alpha: float
) -> tuple[Float[np.ndarray, " group"], Float[np.ndarray, " group"]]:
    """Lower bounds of the number of tuned units: by group, and for all groups at once."""
    observed = counts[:, 0]
    alone = observed - _quantile(counts, 1 - alpha)
    mean, spread = counts.mean(axis=1), counts.std(axis=1)
    highest = _quantile(_standardised(counts).max(axis=0, initial=0)[None], 1 - alpha)
    together = observed - (mean + highest * spread)
    return np.maximum(alone, 0).astype(float), np.maximum(together, 0)


def _quantile(values: np.ndarray, level: float) -> np.ndarray:
    """Smallest value that at least this share of the labelings does not exceed."""
    place = int(np.ceil(level * values.shape[1] - 1e-9)) - 1
    return np.partition(values, place, axis=1)[:, place]
