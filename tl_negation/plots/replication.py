"""How far the units of two results agree, over depth."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from .._shared import validated
from ..probing import ALL, Replication
from .style import (
    GREY,
    WIDTH,
    axes_for,
    end_labels,
    headline,
    label_of,
    layer_ticks,
    legend,
    narrow,
    site_style,
    styled,
)
from .tables import names_in

#: Tables of a replication, one drawn in each panel.
PANELS = ("ranks", "signs", "overlap")


@validated
def replication(
    source: Replication,
    *,
    test: str | None = None,
    found: str = "significant",
    ax: Axes | Sequence[Axes] | np.ndarray | None = None,
    width: float = WIDTH,
) -> np.ndarray:
    """Draw how far two results agree in each layer, one labelled line per site.

    Parameters
    ----------
    source : Replication
        From :func:`tl_negation.replicate`.
    test
        ``examples`` or ``words``; the first one that was compared if not given.
    found
        Which units of the first result are looked for in the second: ``significant``, or
        ``strongest N`` as the tables call them.
    ax
        Three Axes to draw on; a new figure if not given.
    width
        Of the new figure, in inches: 3.3 for a column of a paper.

    Returns
    -------
    array of Axes
        First, the rank correlation of the effects of all units. Second, the share of the first
        result's units that keep their sign in the second. Third,
        the share of them that the second result finds too (dotted: the share of all units that it
        finds).

    Raises
    ------
    TypeError
        ``source`` is not a Replication.
    ValueError
        The test, or the way of finding units, was not compared; or the number of Axes is not
        three.

    Notes
    -----
    A layer in which the first result found no unit has no mark in the lower two panels. Units that
    are found again may still know words rather than the category, if both texts have the same
    words.

    Examples
    --------
    >>> again = tln.infer(tln.probe(acts, alpha=0.1, progress=False), permutations=200, tasks=2,
    ...                   replicates=3, progress=False)
    >>> axes = tln.plots.replication(tln.replicate(result, again), test="words")
    >>> [ax.get_ylabel() for ax in axes[1:]]
    ['same sign (%)', 'found again (%)']
    """
    tests: list[str] = list(source.provenance["tests"])
    test = tests[0] if test is None else test
    ways = names_in(source.overlap["found"])
    if test not in tests or found not in ways:
        raise ValueError(
            f"the tests {', '.join(tests)} were compared, of units found as {', '.join(ways)}; got "
            f"{test!r} and {found!r}"
        )
    ranks, signs, overlap = (_rows(getattr(source, name), test, found) for name in PANELS)
    overlap["again"] = 100 * _ratio(overlap["both"], overlap["first"])
    overlap["chance"] = 100 * _ratio(overlap["second"], overlap["units"])
    signs["share"] = 100 * signs["share"]
    with styled():
        axes = axes_for(ax, 3, height=2.0, width=width)
        _lines(axes[0], ranks, "rho", "rank correlation\nof effects", _count(ranks, "units"))
        _lines(axes[1], signs, "share", "same sign (%)", _count(signs, "units"))
        _lines(axes[2], overlap, "again", "found again (%)", _count(overlap, "first"))
        axes[0].axhline(0, color=GREY, lw=1, zorder=1)
        _chance(axes[2], overlap)
        headline(axes[0], _title(source, test, found))
        axes[-1].set_xlabel("layer")
        if narrow(axes[-1]):
            legend(axes, *axes[-1].get_legend_handles_labels())
    return axes


def _rows(table: pd.DataFrame, test: str, found: str) -> pd.DataFrame:
    """Keep the rows of one test that belong to a layer, and of several sites not their sum."""
    rows = table[(table["test"] == test) & table["layer"].notna()]
    rows = rows[rows["site"] != ALL] if table["site"].nunique() > 1 else rows
    rows = rows[rows["found"] == found] if "found" in rows else rows
    return rows.astype({"layer": int})


def _ratio(part: pd.Series, whole: pd.Series) -> pd.Series:
    return (part / whole.where(whole > 0)).astype(float)


def _count(table: pd.DataFrame, column: str) -> dict[str, int]:
    totals = table.groupby("site", sort=False)[column].sum()
    return {str(site): int(total) for site, total in totals.items()}


def _lines(ax: Axes, table: pd.DataFrame, name: str, label: str, count: dict[str, int]) -> None:
    ends = []
    for site, units in count.items():
        part = table[table["site"] == site]
        colour, marker, line = site_style(site, list(count))
        values = part[name].to_numpy(float)
        text = f"{label_of(site)} ({units:,} units)"
        ax.plot(part["layer"], values, color=colour, marker=marker, ls=line, label=text)
        known = values[~np.isnan(values)]
        end = known[-1] if known.size else np.nan
        ends.append((end, text, colour))
    ax.set_ylabel(label, fontsize=8 if narrow(ax) else None)
    layer_ticks(ax)
    if name == "rho":
        low = min(-0.05, float(np.nanmin(table[name], initial=0)) - 0.05)
        ax.set_ylim(low, 1.02)
    else:
        ax.set_ylim(-3, 103)
    if not narrow(ax):
        end_labels(ax, ends)


def _chance(ax: Axes, table: pd.DataFrame) -> None:
    sites = names_in(table["site"])
    for site in sites:
        part = table[table["site"] == site]
        ax.plot(part["layer"], part["chance"], color=site_style(site, sites)[0], ls=":", lw=1)
    headline(ax, "dotted: share of all units that the second result finds", 8.5)


def _title(source: Replication, test: str, found: str) -> str:
    first, second = source.provenance["first"], source.provenance["second"]
    n = f"n = {first['examples']:,} and {second['examples']:,} contexts"
    return f"by {test}; units {found} in the first; {n}"
