"""A score beside what it comes to under other labelings of the same words: its place, and a p."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:  # results imports the summary, which imports this module
    from .results import ProbeResult

#: Scores that differ by less are equal.
ROUNDING = 1e-9


class Place(NamedTuple):
    """Where the mean over all units lies among the labelings."""

    low: float  # 5 % of the other labelings are below
    high: float  # 95 % of them are below
    at_least: int  # other labelings that reach the score
    labelings: int  # other labelings

    @property
    def p(self) -> float:
        """Share of the labelings that reach the score, the one as it is among them."""
        return (1 + self.at_least) / (1 + self.labelings)


def relabeled_bands(table: pd.DataFrame) -> pd.DataFrame:
    """Summarise ``result.tables["held_out_null"]`` for a profile.

    Returns
    -------
    DataFrame
        ``layer, site``; of the accuracy under the other labelings the 5th, 50th and 95th percentile
        (``null_held_out_low``, ``_middle``, ``_high``); ``held_out_p``, the share of all labelings
        that reach the score of the labels as they are (one-sided; Phipson & Smyth 2010).
    """
    wide = table.pivot_table(  # a row per labeling
        index="labeling", columns=["layer", "site"], values="accuracy", sort=False, dropna=False
    )
    scores = wide.to_numpy()
    low, middle, high = np.quantile(scores[1:], (0.05, 0.5, 0.95), axis=0)
    p = (scores >= scores[0] - ROUNDING).mean(axis=0)
    where = wide.columns.to_frame(index=False)
    return where.assign(
        null_held_out_low=low,
        null_held_out_middle=middle,
        null_held_out_high=high,
        held_out_p=np.where(np.isnan(scores[0]), np.nan, p),
    )


def place_of_mean(result: ProbeResult, name: str) -> Place | None:
    """Place the mean over all units among the labelings of a table, None where it is not there.

    The table is ``held_out_null`` or ``control_tasks``.
    """
    if name not in result.tables:
        return None
    table = result.tables[name]
    widths = {site.name: site.width for site in result.sites}
    known = table[table["accuracy"].notna()]
    weight = known["site"].map(widths).to_numpy(float)
    sums = pd.DataFrame({"sum": weight * known["accuracy"].to_numpy(float), "weight": weight})
    labeling = known[table.columns[0]].to_numpy()
    total = sums.groupby(labeling).sum()
    means = (total["sum"] / total["weight"]).sort_index().to_numpy()
    if len(means) < 2:
        return None
    low, high = np.quantile(means[1:], (0.05, 0.95))
    reached = int((means[1:] >= means[0] - ROUNDING).sum())
    return Place(float(low), float(high), reached, len(means) - 1)
