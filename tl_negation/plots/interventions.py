"""What replacing units did: against random units, and against the gradient's estimate."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .._shared import validated
from ..interventions import Ablation, Attribution, Steering
from .style import (
    CLASSES,
    GREY,
    NARROW_FIGURE,
    axes_for,
    headline,
    legend,
    narrow,
    new_figure,
    styled,
    wrapped,
)
from .tables import check_drawable, names_in, records

#: Quantiles of the random sets, in the order in which a bar is drawn from them.
BANDS = ("random_q025", "random_q25", "random_q50", "random_q75", "random_q975")
ABLATION_COLUMNS = ("how", "class", "effect", *BANDS, "p", "draws", "units", "contexts", "follow")
#: How a checked unit was chosen -> colour, marker.
DRAWN = {"largest": ("#D55E00", "^"), "random": ("#0072B2", "o")}
#: Colour and marker of the difference between the classes.
DIFFERENCE = ("#1a1a1a", "D")
#: What ``how`` says where a direction was added.
ADDED = "add"
#: Width in inches of the panels side by side.
WIDE = 7.4


@validated
def ablation(
    source: Ablation | Steering | pd.DataFrame,
    *,
    ax: Axes | Sequence[Axes] | np.ndarray | None = None,
    width: float = WIDE,
) -> np.ndarray:
    """Draw what replacing units did to the words that follow, against random units.

    Parameters
    ----------
    source : Ablation, Steering or DataFrame
        From :func:`tl_negation.ablate` or :func:`tl_negation.steer`, or the table of
        :func:`tl_negation.compare_ablations`.
    ax
        Axes to draw on, one per class and one for their difference; a new figure if not given.
    width
        Of the new figure, in inches; in a narrow one (3.3 for a column of a paper) the panels
        are below each other.

    Returns
    -------
    array of Axes
        A row per selection. The mark is the effect of the chosen units; the bars are the middle
        half and 95 % of the random sets (see :func:`tl_negation.ablate`), the white line their
        median. The p value beside the mark belongs to that row alone.

    Raises
    ------
    TypeError
        ``source`` is neither an Ablation, nor a Steering, nor a table.
    ValueError
        The table is empty or lacks a column, or the number of Axes is another.

    Notes
    -----
    A mark within the grey bar is an effect that random units of the same kind have too. An effect
    says what replacing units at the target does, not how the model uses them elsewhere.

    Examples
    --------
    >>> found = tln.ablate(model, contexts.sample(8), result.top(5), draws=20, progress=False)
    >>> axes = tln.plots.ablation(found)
    >>> [ax.get_title(loc="left").splitlines()[0] for ax in axes]
    ['negation', 'affirmation', 'negation minus']
    """
    table = source if isinstance(source, pd.DataFrame) else source.table
    check_drawable(table, ABLATION_COLUMNS, "the table of compare_ablations(model, result)")
    if "selection" not in table:
        table = table.assign(selection="direction" if _is_added(table) else "chosen units")
    names = names_in(table["class"])
    with styled():
        axes = _side_by_side(ax, names, table["selection"].nunique(), width)
        below = ax is None and width < NARROW_FIGURE
        looks = (CLASSES[1], CLASSES[0], DIFFERENCE)
        for panel, name, look in zip(axes, names, looks, strict=True):
            _panel(panel, table[table["class"] == name], look)
            n = int(table.loc[table["class"] == name, "contexts"].iloc[0])
            head = name if below else name.replace(" minus ", " minus\n")
            panel.set_title(f"{head}\nn = {n:,} contexts", fontsize=8.5 if below else None)
            panel.set_xlim(*_limits(table))
            if below or panel is axes[0]:
                panel.set_yticks(range(len(names_of(table))), names_of(table))
        what, room = _what(table), 0.6 * width
        if below:
            axes[-1].set_xlabel(wrapped(what.replace("\n", " "), room, 9.0), fontsize=9)
        else:
            axes[len(axes) // 2].set_xlabel(what)
    return axes


def names_of(table: pd.DataFrame) -> list[str]:
    """Label each selection, with its number of units."""
    first = table.drop_duplicates("selection")
    return [f"{row['selection']}\n({row['units']:,} units)" for row in records(first)]


def _what(table: pd.DataFrame) -> str:
    row = table.iloc[0]
    done, drawn = f"units replaced ({row['how']})", "random sets"
    if _is_added(table):
        done, drawn = "direction added", "random directions"
    return (
        f"change of the log-probability of the next {row['follow']} tokens (nats), {done};\n"
        f"grey: {row['draws']:,} {drawn}, middle half and 95 %"
    )


def _is_added(table: pd.DataFrame) -> bool:
    """Whether a direction was added, and no units replaced."""
    return table["how"].iloc[0] == ADDED


def _limits(table: pd.DataFrame) -> tuple[float, float]:
    """Return the same limits for all panels, with room for the p value beside the longest bar."""
    values = table[["effect", BANDS[0], BANDS[-1]]].to_numpy(float)
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    room = (high - low) or 1.0
    return low - 0.08 * room, high + 0.48 * room


def _side_by_side(ax: Any, names: list[str], rows: int, width: float) -> np.ndarray:
    """Make an Axes per name, side by side, or below each other in a narrow figure."""
    if ax is None and width < NARROW_FIGURE:
        figure = new_figure(width, 1 + len(names) * (0.6 + 0.5 * rows))
        return np.atleast_1d(figure.subplots(len(names), sharex=True))
    if ax is None:
        figure = new_figure(width, 1.7 + 0.55 * rows)
        return np.atleast_1d(figure.subplots(1, len(names), sharey=True))
    return axes_for(ax, len(names))


def _panel(ax: Axes, rows: pd.DataFrame, look: tuple[str, str]) -> None:
    colour, marker = look
    ax.axvline(0, color=GREY, lw=0.8, zorder=1)
    for place, row in enumerate(records(rows)):
        low, q25, median, q75, high = (row[name] for name in BANDS)
        ax.barh(place, high - low, left=low, height=0.34, color="#d9d9d9", zorder=2)
        ax.barh(place, q75 - q25, left=q25, height=0.34, color="#a6a6a6", zorder=3)
        ax.plot([median] * 2, [place - 0.17, place + 0.17], color="white", lw=1.4, zorder=4)
        ax.plot(row["effect"], place, color=colour, marker=marker, markersize=6, zorder=5)
        at: dict[str, Any] = {"textcoords": "offset points", "xytext": (7, 0)}
        at |= {"va": "center", "fontsize": 8}
        end = max(float(high), float(row["effect"]))
        ax.annotate(f"p = {row['p']:.2g}", (end, place), color=colour, **at)
    ax.set_ylim(len(rows) - 0.4, -0.65)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.grid(visible=False, axis="y")


@validated
def attribution(
    source: Attribution | pd.DataFrame,
    *,
    about: Mapping[str, Any] | None = None,
    ax: Axes | None = None,
    width: float = 5.6,
) -> Axes:
    """Draw the gradient's estimate of single units' effects against the measured ones.

    Parameters
    ----------
    source : Attribution or DataFrame
        From :func:`tl_negation.attribute`, or the table of its checked units.
    about
        The attribution's ``about``, for its correlations; not needed for an Attribution.
    ax
        Axes to draw on; a new figure if not given.
    width
        Of the new figure, in inches: 3.3 for a column of a paper.

    Returns
    -------
    Axes
        A mark per unit: the mean change in contexts of the first class minus that in the second.
        On the dashed line the estimate is right.

    Raises
    ------
    TypeError
        ``source`` is neither an Attribution nor a table.
    ValueError
        The table is empty or lacks a column.

    Notes
    -----
    The correlation of the units drawn at random is what to expect for the others; units with the
    largest estimates were selected by them.

    Examples
    --------
    >>> found = tln.attribute(model, contexts.sample(8), sites=("q",), checked=6, progress=False)
    >>> ax = tln.plots.attribution(found)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['largest estimates (n = 3)', 'random units (n = 3)']
    """
    if isinstance(source, Attribution):
        source, about = source.checked, source.about
    columns = ("estimate", "measured", "drawn")
    check_drawable(source, columns, "the table of attribute(model, contexts).checked")
    with styled():
        ax = new_figure(width, 3.9).subplots() if ax is None else ax
        ends = source[["estimate", "measured"]].to_numpy()
        line = [float(ends.min()), float(ends.max())]
        ax.plot(line, line, color=GREY, lw=1, ls=(0, (4, 3)), zorder=1)
        for drawn, part in source.groupby("drawn", sort=False):
            colour, marker = DRAWN[str(drawn)]
            what = "largest estimates" if drawn == "largest" else "random units"
            label = f"{what} (n = {len(part)})"
            ax.plot(
                part["estimate"], part["measured"], color=colour, marker=marker, ls="", label=label
            )
        ax.set_xlabel("estimated by the gradient (nats)")
        ax.set_ylabel("measured, one unit at a time (nats)")
        headline(ax, _correlations(about))
        ax.xaxis.set_major_locator(MaxNLocator(5))
        if narrow(ax):
            legend(ax, *ax.get_legend_handles_labels())
        else:
            ax.legend(loc="upper left")
    return ax


def _correlations(about: Mapping[str, Any] | None) -> str:
    if about is None:
        return "effect of single units: first class minus second"
    r, ranks = about["correlation"], about["rank_correlation"]
    parts = [f"r = {r['all']:.2f}, by rank {ranks['all']:.2f}"]
    if np.isfinite(r["random"]):  # not with two units
        parts.append(f"random units only {r['random']:.2f}, {ranks['random']:.2f}")
    return "; ".join(parts)
