"""Distributions: effect sizes by site and depth, and p values against what they should be."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullLocator

from .._shared import validated
from ..probing import ProbeResult, calibration_table, effect_table
from .style import (
    GREY,
    SPARE,
    WIDTH,
    headline,
    label_of,
    legend,
    narrow,
    single_axes,
    site_style,
    styled,
)
from .tables import check_drawable, names_in, records

EFFECT_COLUMNS = ("part", "site", "units", "q5", "q25", "q50", "q75", "q95")
#: Lines of a calibration figure in turn: colour, marker, line style.
LINES = (("#D55E00", "s", "-"), ("#0072B2", "o", "-"), ("#009E73", "^", "--"), SPARE[1], SPARE[2])
LEVEL_COLUMNS = ("n", "level", "share", "low", "high")
P_TICKS = (0.0001, 0.001, 0.01, 0.05, 0.2, 1)


@validated
def effects(
    source: ProbeResult | pd.DataFrame, *, ax: Axes | None = None, width: float = WIDTH
) -> Axes:
    """Draw how large the units' effects are, site against site, in each third of the depth.

    Parameters
    ----------
    source : ProbeResult or DataFrame
        A result, or the table of :func:`tl_negation.effect_table`.
    ax
        Axes to draw on; a new figure if not given.
    width
        Of the new figure, in inches: 3.3 for a column of a paper.

    Returns
    -------
    Axes
        Boxes: the middle half of the units' ``|beta_per_sd|`` and the median; whiskers: 5 to
        95 %. The axis is logarithmic.

    Raises
    ------
    TypeError
        ``source`` is neither a result nor a table.
    ValueError
        The table is empty or lacks a column.

    Notes
    -----
    Separated units, the strongest of all, have no finite effect and are not in the boxes. Nothing
    in the architecture singles out the basis of queries and keys: a difference between them is a
    difference between the bases that training happened to give (:func:`tl_negation.rotate` gives
    another).

    Examples
    --------
    >>> ax = tln.plots.effects(result)
    >>> ax.get_yscale()
    'log'
    >>> [text.get_text() for text in ax.get_legend().get_texts()][:2]
    ['q (60 units)', 'k (60 units)']
    """
    table = effect_table(source) if isinstance(source, ProbeResult) else source
    check_drawable(table, EFFECT_COLUMNS, "the table of effects")
    parts, sites = names_in(table["part"]), names_in(table["site"])
    with styled():
        ax = single_axes(ax, 3.4, width)
        step = 0.8 / len(sites)
        for row in records(table):
            place = (
                parts.index(row["part"]) + (sites.index(row["site"]) - len(sites) / 2 + 0.5) * step
            )
            _box(ax, row, place, 0.75 * step, site_style(row["site"], sites)[0])
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_locator(NullLocator())
        ax.set_xticks(range(len(parts)), [part.replace(" ", "\n", 1) for part in parts])
        ax.set_xlim(-0.55, len(parts) - 0.45)
        ax.grid(visible=False, axis="x")
        label = "|effect| (log-odds per SD of the unit)"
        ax.set_ylabel(label.replace(" (", "\n(") if narrow(ax) else label)
        headline(ax, "effect sizes of units: median, middle half, 5 to 95 %")
        patches = [Patch(color=site_style(site, sites)[0]) for site in sites]
        legend(ax, patches, [_counted(table, site) for site in sites])
    return ax


def _box(ax: Axes, row: Mapping[str, Any], place: float, width: float, colour: str) -> None:
    """Draw one box from the quantiles that the table gives."""
    if not row["units"]:
        return
    names = {"whislo": "q5", "q1": "q25", "med": "q50", "q3": "q75", "whishi": "q95"}
    line = {"color": colour, "linewidth": 1.3}
    ax.bxp(
        [{**{name: row[column] for name, column in names.items()}, "fliers": []}],
        positions=[place],
        widths=width,
        showfliers=False,
        patch_artist=True,
        manage_ticks=False,
        boxprops={"facecolor": to_rgba(colour, 0.25), "edgecolor": colour},
        medianprops={"color": "#1a1a1a", "linewidth": 1.6},
        whiskerprops=line,
        capprops=line,
    )


def _counted(table: pd.DataFrame, site: str) -> str:
    rows = table[table["site"] == site]
    return f"{label_of(site)} ({int(rows['units'].sum()):,} units)"


@validated
def calibration(
    p: pd.DataFrame | pd.Series | np.ndarray | Sequence[float] | Mapping[str, Any],
    *,
    ax: Axes | None = None,
    title: str = "tests of hypotheses that are true",
    width: float = WIDTH,
) -> Axes:
    """Draw the share of p values below each level against the level itself.

    Parameters
    ----------
    p : array, mapping or DataFrame
        p values of units in which there is nothing to find, for instance those of
        :func:`tl_negation.null_p_values`; several kinds by name, or a column each. Or the tables
        of :func:`tl_negation.calibration_table` below each other, with a column ``test``
        (``result.tables["calibration"]`` of a scan).
    ax
        Axes to draw on; a new figure if not given.
    title
        Which units these are.
    width
        Of the new figure, in inches: 3.3 for a column of a paper.

    Returns
    -------
    Axes
        Both axes are logarithmic. On the diagonal a test rejects as often as its level says, above
        it too often. At each level, the band holds 95 % of the shares that calibrated and
        independent tests give.

    Raises
    ------
    ValueError
        There is no p value, or one is below 0 or above 1.

    Notes
    -----
    Units of one model are correlated, so that their line may leave the band by chance alone.

    Examples
    --------
    >>> p = tln.null_p_values(result, permutations=50, units=20)
    >>> ax = tln.plots.calibration(p)
    >>> [text.get_text() for text in ax.get_legend().get_texts()][1:]
    ['by example (likelihood-ratio test) (n = ...)', 'over words (permutation) (n = ...)']
    """
    tables = _calibration_tables(p)
    widest = max(tables.values(), key=lambda table: -table["level"].iloc[0])
    with styled():
        ax = single_axes(ax, 3.6, width)
        band: dict[str, Any] = {"color": "#d9d9d9", "lw": 0}
        band["label"] = "95 % if calibrated and independent"
        floor = float(widest["level"].iloc[0])
        ax.fill_between(
            widest["level"], widest["low"].clip(lower=floor / 10), widest["high"], **band
        )
        ax.plot([floor, 1], [floor, 1], color=GREY, lw=1, ls=(0, (4, 3)))
        for (name, table), look in zip(tables.items(), LINES * len(tables), strict=False):
            _observed(ax, table, name, look)
        _level_axes(ax, floor)
        headline(ax, title)
        legend(ax, *ax.get_legend_handles_labels())
    return ax


def _calibration_tables(p: Any) -> dict[str, pd.DataFrame]:
    if isinstance(p, pd.DataFrame) and {"test", *LEVEL_COLUMNS} <= set(p):
        return {str(name): table for name, table in p.groupby("test", sort=False)}
    named = dict(p.items()) if isinstance(p, (Mapping, pd.DataFrame)) else {"": p}
    return {str(name): calibration_table(values) for name, values in named.items()}


def _observed(ax: Axes, table: pd.DataFrame, name: str, look: tuple[str, str, Any]) -> None:
    colour, marker, line = look
    label = f"{name} (n = {int(table['n'].iloc[0]):,})".strip()
    known = table[table["share"] > 0]
    ax.plot(known["level"], known["share"], color=colour, ls=line, label=label)
    at = known[known["level"] <= 0.05].tail(1)
    ax.plot(at["level"], at["share"], color=colour, marker=marker, ls="")


def _level_axes(ax: Axes, floor: float) -> None:
    ticks = [tick for tick in P_TICKS if tick >= floor]
    for axis, scale, limits in (
        (ax.xaxis, ax.set_xscale, ax.set_xlim),
        (ax.yaxis, ax.set_yscale, ax.set_ylim),
    ):
        scale("log")
        limits(floor, 1.1)
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_minor_locator(NullLocator())
    ax.set_xlabel("nominal level")
    ax.set_ylabel("share of p values at or below it")
