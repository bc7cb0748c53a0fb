"""Units and groups of units under every labeling: statistics, p values, what passes.

What is labelled may be words, whose classes are dealt anew, or pairs, whose members change places:
to the code here both are rows of weights and deviations, and a list of labelings.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .._shared import progress_bar
from ..probing import ProbeResult, family_ids
from .error_rates import exceedance, false_rate
from .every_labeling import reached, stepped_down
from .grouping import groups_of
from .labelings import Asked, Progress, Reached
from .precision import ROUNDING, Weighted
from .shares import share_table

#: What the units of the groups that every test reports have in common.
GROUPS = ("layer", "site")


class Rule(NamedTuple):
    """What is controlled, and over which units; see :func:`tl_negation.word_test`."""

    family: str
    error: str
    gamma: float
    alpha: float


class Found(NamedTuple):
    """What a test over labelings found.

    Attributes
    ----------
    columns
        ``t, p, p_maxt, q, significant``.
    groups
        The table of the groups by layer and site.
    all_units
        The same of all units as one group.
    critical
        Statistic that a unit of the hardest family must exceed to pass.
    tested
        Which units have a statistic.
    """

    columns: dict[str, Float[Tensor, "layer unit"] | Bool[Tensor, "layer unit"]]
    groups: pd.DataFrame
    all_units: dict[str, float]
    critical: float
    tested: Bool[Tensor, " every"]

    def named(self, of: str) -> dict[str, Tensor]:
        """Name the columns by what was labelled: ``words_t`` ..., ``significant_words``."""
        names = {name: f"{of}_{name}" for name in self.columns}
        names["significant"] = f"significant_{of}"
        return {names[name]: values for name, values in self.columns.items()}


def found_under(
    result: ProbeResult,
    units: Weighted,
    asked: Asked,
    rule: Rule,
    freedom: int,
    desc: str,
    progress: bool,
) -> Found:
    """Test all units of a result, and the groups that they form.

    Parameters
    ----------
    result
        Whose units they are.
    units
        NaN for units that cannot be tested.
    asked
        The labelings.
    rule
        What ``significant`` controls.
    freedom
        Degrees of freedom of t.
    desc, progress
        Name of the progress bar, and whether there is one.
    """
    ids = family_ids(result.sites, len(result.layers), rule.family).ravel()
    tested = torch.isfinite(units.deviations).all(dim=1)
    some = Weighted(*(part[tested] for part in units))
    chosen = tested.cpu().numpy()
    groups, table = groups_of(result, GROUPS, chosen)
    with progress_bar(total=2 * len(groups), desc=desc, unit="unit", disable=not progress) as bar:
        found = reached(some, asked, groups, ids[chosen], alpha=rule.alpha, progress=bar.update)
        columns, critical = _columns(some, asked, found, ids[chosen], rule, bar.update)
    columns = {"t": _t_of(some, found.observed, asked, freedom), **columns}
    sizes = np.bincount(groups, minlength=len(table))
    counts = found.counts.cpu().numpy()
    together = share_table(counts.sum(axis=0, keepdims=True), sizes.sum(keepdims=True), rule.alpha)
    return Found(
        {name: spread_out(values, tested, result) for name, values in columns.items()},
        table.join(share_table(counts, sizes, rule.alpha)),
        _of_all(together),
        critical,
        tested,
    )


def spread_out(
    values: Tensor, tested: Bool[Tensor, " every"], result: ProbeResult
) -> Float[Tensor, "layer unit"] | Bool[Tensor, "layer unit"]:
    """Lay the values of the tested units out over all units."""
    blank = False if values.dtype == torch.bool else torch.nan
    whole = torch.full(tested.shape, blank, dtype=values.dtype, device=values.device)
    whole[tested] = values
    return whole.reshape(result.status.shape)


def _columns(
    units: Weighted,
    asked: Asked,
    found: Reached,
    ids: Int[np.ndarray, " unit"],
    rule: Rule,
    progress: Progress,
) -> tuple[dict[str, Tensor], float]:
    """Compute the columns of the tested units, and the hardest family's critical value."""
    n = len(asked.labelings)
    p_maxt, q, passed = (torch.full_like(found.observed, torch.nan) for _ in range(3))
    critical = 0.0
    for family in np.unique(ids):
        member = torch.from_numpy(np.flatnonzero(ids == family)).to(found.observed.device)
        rising = member[found.observed[member].argsort(stable=True)]
        some = Weighted(*(part[rising] for part in units))
        counts, largest = stepped_down(some, asked, progress)
        p_maxt[rising] = _never_rising(counts.double() / n)
        critical = max(critical, float(largest.quantile(1 - rule.alpha)))
        observed = found.observed[rising].cpu().numpy()
        tail = found.bins[family].flip(0).cumsum(0).flip(0).cpu().numpy()
        q[rising] = torch.from_numpy(false_rate(observed, tail, n)).to(q)
        if rule.error == "fdx":
            is_found = exceedance(some, asked, observed, rule.gamma, rule.alpha)
            passed[rising] = torch.from_numpy(is_found.astype(float)).to(passed)
    significant = {"fwer": p_maxt <= rule.alpha, "fdr": q <= rule.alpha, "fdx": passed == 1}
    return {
        "p": found.single.double() / n,
        "p_maxt": p_maxt,
        "q": q,
        "significant": significant[rule.error],
    }, critical


def _t_of(units: Weighted, observed: Tensor, asked: Asked, freedom: int) -> Float[Tensor, " unit"]:
    """Turn the share of the sum of squares into the t statistic, with its sign."""
    one = torch.from_numpy(asked.labelings[0].astype(np.float64)).to(observed.device)
    share = observed.abs()
    rest = 1 - share
    rest = torch.where(rest <= ROUNDING, 0.0, rest)
    t = torch.sqrt(share * freedom / rest)
    return torch.where(units.deviations @ one < 0, -t, t)


def _never_rising(p: Tensor) -> Tensor:
    """Raise each p value to that of the units of larger statistic, which come later."""
    return p.flip(0).cummax(dim=0).values.flip(0)


def _of_all(table: pd.DataFrame) -> dict[str, float]:
    """What the test of groups says of all units as one group."""
    names = ("units", "share", "share_expected", "share_high", "p", "at_least")
    return {name: float(table[name].iloc[0]) for name in names}
