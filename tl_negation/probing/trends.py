"""Whether a column of a profile rises or falls over depth."""

from typing import Annotated

import numpy as np
import pandas as pd

from .._shared import table, validated

#: Profile columns whose trend over depth is reported.
TRENDS = (
    "share_pairs",
    "share_words",
    "share_significant",
    "accuracy",
    "abs_beta_per_sd",
    "held_out_accuracy",
)


@validated
def trend(
    table: Annotated[pd.DataFrame, table("layer", "site")],
    *,
    null: Annotated[pd.DataFrame, table("layer", "site")] | None = None,
) -> pd.DataFrame:
    """Correlate the main columns of a profile with depth, per site (Spearman).

    Parameters
    ----------
    table
        From :func:`tl_negation.profile`.
    null
        The same columns under other labelings of the words: the table of
        :func:`tl_negation.lexical_null`, whose shuffles label the words' means anew.

    Returns
    -------
    DataFrame
        ``site, column, rho, layers``; rho is NaN with fewer than three layers or no variation. With
        ``null`` also ``rho_low`` and ``rho_high``, between which 90 % of its replicates lie, and
        ``p``, two-sided: the share of the replicates, this one among them, whose rho is as far
        from their median; NaN for a column that it does not have.

    Raises
    ------
    TypeError
        Not a table.
    ValueError
        The table is empty or lacks the layer or the site.

    Notes
    -----
    There is no p value without ``null``. The usual one takes layers for independent, which they are
    not, since each reads what the last one wrote: of random walks over 30 layers it calls three in
    four a trend. And a curve that falls because words are decodable early falls under every
    labeling of the words: the place of rho among them says whether it falls more than that.

    Examples
    --------
    >>> trends = tln.trend(tln.profile(result))
    >>> trends.query("site == 'q'")["column"].tolist()
    ['share_words', 'share_significant', 'accuracy', 'abs_beta_per_sd', 'held_out_accuracy']
    >>> null = tln.lexical_null(result, replicates=3, progress=False)
    >>> list(tln.trend(tln.profile(result), null=null))
    ['site', 'column', 'rho', 'layers', 'rho_low', 'rho_high', 'p']
    """
    rows = []
    for site, part in table.groupby("site", sort=False, observed=True):
        for column in (name for name in TRENDS if name in table):
            rho, layers = _rho(part, column)
            row = {"site": site, "column": column, "rho": rho, "layers": layers}
            if null is not None:
                row |= _place_of_rho(rho, null[null["site"] == site], column)
            rows.append(row)
    return pd.DataFrame(rows)


def _rho(part: pd.DataFrame, column: str) -> tuple[float, int]:
    """Spearman's correlation of a column with depth, and of how many layers."""
    known = part[["layer", column]].dropna()
    if len(known) < 3 or known[column].nunique() < 2:
        return np.nan, len(known)
    ranks = known.rank()
    return float(ranks["layer"].corr(ranks[column])), len(known)


def _place_of_rho(rho: float, null: pd.DataFrame, column: str) -> dict[str, float]:
    """Where rho lies among those of the replicates."""
    rhos = np.array(
        [_rho(part, column)[0] for _, part in null.groupby("replicate")] if column in null else []
    )
    rhos = rhos[~np.isnan(rhos)]
    if np.isnan(rho) or not rhos.size:
        return dict.fromkeys(("rho_low", "rho_high", "p"), np.nan)
    low, high = np.quantile(rhos, (0.05, 0.95))
    every = np.append(rhos, rho)
    distance = np.abs(every - np.median(every))
    p = float((distance >= distance[-1] - 1e-12).mean())
    return {"rho_low": float(low), "rho_high": float(high), "p": p}
