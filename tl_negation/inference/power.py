"""What a test over words could have found with these words, and what casts doubt on it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .labelings import Asked
from .precision import WordMeans, between_variance

#: Probability with which the smallest shift that is stated would have been found.
POWER = 0.8
#: The class with fewer words has the rarer ones if theirs are fewer than this share of examples.
RARER = 0.5
#: It has the more variable ones if their variance is above this many times that of the others.
MORE_VARIABLE = 2.0


def smallest_p(asked: Asked) -> float:
    """Smallest p value that exists under these labelings.

    Two-sided and with as many words in either class, the mirrored labeling has the same statistic.
    """
    n1 = int(asked.labelings[0].sum())
    mirrored = 1 - asked.labelings[0]
    twice = asked.side == 0 and 2 * n1 == len(mirrored)
    reach = 1 + (asked.labelings[1:] == mirrored).all(axis=1).any() if twice else 1
    return float(reach / len(asked.labelings))


def spread_of(means: WordMeans, types: pd.DataFrame, tested: Tensor) -> dict[str, Any]:
    """Summarise how much of the units' variance lies between words of one class.

    Returns
    -------
    dict
        ``icc``: median over units of the intraclass correlation, within classes;
        ``between_variance``: the mean over units of the variance between the words of each class,
        as a share of the unit's variance. Zero where no unit is tested.
    """
    label = torch.tensor(types["label"].tolist(), device=means.means.device)
    within = means.within[tested]
    by_class = {}
    for value, name in zip(*_classes(types), strict=True):
        of_class = label == value
        part = WordMeans(means.means[tested][:, of_class], means.counts[of_class], within)
        by_class[name] = (between_variance(part), int(of_class.sum()) - 1)
    freedom = sum(n for _, n in by_class.values())
    between = sum(n / freedom * tau2 for tau2, n in by_class.values())
    total = between + within
    share = torch.where(total > 0, between / total, 0.0)
    return {
        "icc": float(share.median()) if len(share) else 0.0,
        "between_variance": {
            name: float(torch.where(total > 0, tau2 / total, 0.0).mean()) if len(share) else 0.0
            for name, (tau2, _) in by_class.items()
        },
    }


def _classes(types: pd.DataFrame) -> tuple[list[int], list[str]]:
    first = types.drop_duplicates("label")
    return first["label"].tolist(), first["group"].astype(str).tolist()


def shifts(
    types: pd.DataFrame, icc: float, asked: Asked, critical: float, alpha: float
) -> dict[str, float | None]:
    """Smallest shifts, in SDs between words, that would have been found with probability .8.

    Parameters
    ----------
    types
        Of :func:`tl_negation.exchangeable`.
    icc
        Intraclass correlation of the unit: how much its mean over a rare word is blurred.
    asked
        The labelings.
    critical
        Statistic that a unit must exceed to pass over the family.
    alpha
        Level of a unit by itself.

    Returns
    -------
    dict
        ``shift_alone``, ``shift_family``: of a unit by itself, and over its family. None where
        words do not differ, or no shift is large enough.
    """
    return shifts_of(len(types) - 2, _precision(types, icc), asked, critical, alpha)


def shifts_of(
    freedom: int, scale: float, asked: Asked, critical: float, alpha: float
) -> dict[str, float | None]:
    """Smallest shifts by the noncentral t distribution; see :func:`shifts`.

    ``scale``: noncentrality for a shift of one SD.
    """
    from scipy.stats import t as student

    level = alpha if asked.side else alpha / 2
    alone = float(student.isf(level, freedom))
    family = float(np.sqrt(freedom * critical / (1 - critical))) if critical < 1 else np.inf
    return {
        "shift_alone": _shift(alone, freedom, scale),
        "shift_family": _shift(family, freedom, scale),
    }


def _precision(types: pd.DataFrame, icc: float) -> float:
    """Noncentrality of t for a shift of one SD between words."""
    if icc <= 0:
        return 0.0
    weight = 1 / (1 + (1 - icc) / icc / types["examples"].to_numpy(float))
    one = weight[types["label"] == 1].sum()
    return float(np.sqrt(one * (weight.sum() - one) / weight.sum()))


def _shift(critical: float, freedom: int, scale: float) -> float | None:
    from scipy.optimize import brentq
    from scipy.stats import nct

    if scale == 0 or not np.isfinite(critical) or nct.sf(critical, freedom, 500.0) < POWER:
        return None
    found: Any = brentq(lambda shift: nct.sf(critical, freedom, shift) - POWER, 0.0, 500.0)
    return float(found) / scale


def cautions(types: pd.DataFrame, about: Mapping[str, Any]) -> list[str]:
    """Say where the test has no power, or may find too much, in sentences."""
    found = []
    if about["smallest_p"] > about["alpha"]:
        found.append(
            f"no p value over words can reach {about['alpha']:g}: the smallest that these "
            f"{len(types)} words allow is {about['smallest_p']:.2g}; use a contrast with more words"
        )
    labels, names = _classes(types)
    examples = [types.loc[types["label"] == label, "examples"].to_numpy(float) for label in labels]
    fewer = int(np.argmin([len(counts) for counts in examples]))
    if len(examples[0]) == len(examples[1]):
        return found
    typical = [len(counts) / np.sum(1 / counts) for counts in examples]
    if typical[fewer] < RARER * typical[1 - fewer]:
        found.append(
            f"the class with fewer words ({names[fewer]}) has the rarer ones: where words hardly "
            "differ within a class, the test may find a little too much"
        )
    variance = [about["between_variance"][name] for name in names]
    if variance[fewer] > MORE_VARIABLE * variance[1 - fewer]:
        found.append(
            f"the words of the class with fewer of them ({names[fewer]}) differ more among each "
            f"other: {variance[fewer]:.2f} of a unit's variance on average, against "
            f"{variance[1 - fewer]:.2f}; the test finds too much"
        )
    return found
