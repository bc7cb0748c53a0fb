"""Profiles over depth."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .._shared import validated
from ..probing import ProbeResult, example_test, profile
from .style import (
    GREY,
    WIDTH,
    axes_for,
    depth_area,
    depth_line,
    end_labels,
    headline,
    inches,
    label_of,
    layer_ticks,
    legend,
    narrow,
    new_figure,
    rule_text,
    site_style,
    size_of,
    styled,
    wrapped,
)
from .tables import check_drawable, names_in

#: Profile column -> axis label. Columns that begin with "share" or contain "accuracy" are in per
#: cent.
Y_LABELS = {
    "share_significant": "units significant\nby example (%)",
    "share_significant_positive": "significant by example,\nspeaks for class 1 (%)",
    "accuracy": "in-sample accuracy,\nmean over units (%)",
    "accuracy_significant_positive": "in-sample accuracy, mean over\nsignificant, for class 1 (%)",
    "accuracy_significant_negative": "in-sample accuracy, mean over\nsignificant, for class 0 (%)",
    "share_words": "units significant over words,\neach by itself (%)",
    "share_pairs": "units significant over pairs,\neach by itself (%)",
    "share_significant_words": "units significant\nover words (max-T) (%)",
    "held_out_accuracy": "accuracy on unseen words,\nmean over units (%)",
    "abs_beta_per_sd": "mean |effect|\n(log-odds per SD)",
}
#: Shares in per cent that are smaller have an axis of their own, not one up to 100.
SMALL_SHARE = 40
#: Profile column -> the columns between which it lies under other labelings of the words.
NULLS = {"held_out_accuracy": ("null_held_out_low", "null_held_out_high")}


@validated
def laminar(
    result: ProbeResult | pd.DataFrame,
    *,
    y: str | Sequence[str] = ("share_significant", "accuracy"),
    ax: Axes | Sequence[Axes] | np.ndarray | None = None,
    width: float = WIDTH,
) -> Axes | np.ndarray:
    """Draw columns of a profile layer by layer, a labelled line per site.

    ``by_layer`` is another name of this function; the published notebook calls it the laminar
    profile.

    Parameters
    ----------
    result : ProbeResult or DataFrame
        A result, from which :func:`tl_negation.profile` is computed; or that table, which is drawn
        as it is (``profile(result, preset="notebook")``, ``by="module"`` ...).
    y
        Numeric columns of the profile. A name gives one Axes; several names give Axes above each
        other with the same layers.
    ax
        Axes to draw on, as many as ``y`` has names; a new figure if not given.
    width
        Of the new figure, in inches: 3.3 for a column of a paper.

    Returns
    -------
    Axes or array of Axes
        One Axes if ``y`` is a string.

    Raises
    ------
    TypeError
        ``result`` is neither a result nor a table.
    ValueError
        ``y`` is empty, the table is empty or lacks a column, or ``ax`` has another length than
        ``y``.

    Notes
    -----
    If the table has ``NAME_low`` and ``NAME_high`` beside a column, a band is drawn between them:
    for ``held_out_accuracy``, 90 % of the means over words resampled within each class
    (:func:`tl_negation.word_bands`). Attention and MLP in the same Axes:
    ``laminar(profile(result, by="module"))``.
    The grey bands beside ``held_out_accuracy`` are, site by site, the 5 to 95 % of the same measure
    after the labels of the words were dealt anew. A dashed line beside in-sample accuracies is the
    base rate of the larger class.
    A line shows how much can be decoded from single units of a layer. It does not show that the
    model uses it, nor that it is the category rather than the word.

    Examples
    --------
    >>> share, accuracy = tln.plots.laminar(result)
    >>> share.get_title(loc="left")
    'likelihood-ratio test, Bonferroni per layer at 0.05; n = 203 contexts'
    >>> table = tln.profile(result, by="module")
    >>> tln.plots.laminar(table, y="abs_beta_per_sd").get_xlabel()
    'layer'
    """
    names = (y,) if isinstance(y, str) else tuple(y)
    if not names:
        raise ValueError("y must name at least one column of the profile; got none")
    table, n_contexts = _profile_table(result, names)
    with styled():
        axes = axes_for(ax, len(names), width=width)
        for panel, name in zip(axes, names, strict=True):
            _profile_panel(panel, table, name)
            about = _profile_title(table, names, n_contexts) if panel is axes[0] else ""
            text = "\n".join(filter(None, (about, _bands(table, name))))
            headline(panel, text, 10.0 if about else 8.5)
        axes[-1].set_xlabel("layer")
        if narrow(axes[-1]):
            legend(axes, *_handles(axes))
    return axes[0] if isinstance(y, str) else axes


#: The plain name of the same figure.
by_layer = laminar


def _profile_table(
    source: ProbeResult | pd.DataFrame, names: Sequence[str]
) -> tuple[pd.DataFrame, int | None]:
    """Return the profile to draw and, if the source is a result, its number of contexts."""
    if isinstance(source, ProbeResult):
        table, n_contexts = profile(source), len(source.contexts)
    else:
        table, n_contexts = source, None
    check_drawable(table, ("layer", "site", *names), "the profile")
    return table, n_contexts


def _profile_panel(ax: Axes, table: pd.DataFrame, name: str) -> None:
    percent = name.startswith("share") or "accuracy" in name
    scale = 100 if percent else 1
    ends = []
    size: dict[str, Any] = {"markersize": 2.6, "linewidth": 1.1} if narrow(ax) else {}
    for site, part in table.groupby("site", sort=False, observed=True):
        colour, marker, line = site_style(str(site), names_in(table["site"]))
        values = scale * part[name].to_numpy(float)
        size["label"] = label_of(str(site))
        depth_line(ax, part["layer"], values, color=colour, marker=marker, ls=line, **size)
        if {f"{name}_low", f"{name}_high"} <= set(part):
            low, high = (scale * part[f"{name}_{end}"] for end in ("low", "high"))
            depth_area(ax, part["layer"], low, high, color=colour, alpha=0.12, lw=0, zorder=1)
        if {*NULLS.get(name, "?")} <= set(part):
            low, high = (scale * part[end] for end in NULLS[name])
            depth_area(ax, part["layer"], low, high, color=GREY, alpha=0.12, lw=0, zorder=0)
        ends.append((_last_known(values), _line_label(str(site), part), colour))
    if (base := _base_rate(table, name)) is not None:
        rate, text = base
        ax.axhline(rate, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        ends.append((rate, f"{text} {rate:.1f}%", GREY))
    _panel_scale(ax, name, percent)
    if narrow(ax):
        for line, (_, text, _) in zip(ax.lines, ends, strict=True):
            line.set_label(text)
    else:
        end_labels(ax, ends)


def _handles(axes: Iterable[Axes]) -> tuple[list[Any], list[str]]:
    """Return handles and names for a legend of several Axes, each name once."""
    named: dict[str, Any] = {}
    for ax in axes:
        handles, names = ax.get_legend_handles_labels()
        named |= {name: handle for handle, name in zip(handles, names, strict=True)}
    return list(named.values()), list(named)


def _bands(table: pd.DataFrame, name: str) -> str:
    """Say what the bands of a panel are."""
    parts = []
    if f"{name}_low" in table:
        parts.append("coloured bands: 5 to 95 % over words resampled in each class")
    if {*NULLS.get(name, "?")} <= set(table):
        parts.append("grey: the same measure, words relabelled")
    return "; ".join(parts)


def _base_rate(table: pd.DataFrame, name: str) -> tuple[float, str] | None:
    """Return what guessing the larger class gets right, in per cent, and its name."""
    if name.startswith("accuracy") and "base_rate" in table:
        return 100 * float(table["base_rate"].iloc[0]), "base rate"
    return None


def _panel_scale(ax: Axes, name: str, percent: bool) -> None:
    label = Y_LABELS.get(name, name.replace("_", " ") + (" (%)" if percent else ""))
    ax.set_ylabel(label, fontsize=8 if narrow(ax) else None)
    layer_ticks(ax)
    if name.startswith("share"):
        values = np.concatenate([np.asarray(line.get_ydata(), float) for line in ax.lines])
        top = float(np.max(values, initial=0, where=np.isfinite(values)))
        top = 102.0 if top > SMALL_SHARE else max(10.0, 1.25 * top)
        ax.set_ylim(-0.02 * top, top)
    else:
        ax.margins(y=0.12)
    ax.set_ylim(ax.get_ylim())  # fixed, because labels are placed by it


def _line_label(site: str, part: pd.DataFrame) -> str:
    name = label_of(site)
    return f"{name} ({int(part['units'].max()):,} units)" if "units" in part else name


def _last_known(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known[-1]) if known.size else float("nan")


def _profile_title(table: pd.DataFrame, names: Sequence[str], n_contexts: int | None) -> str:
    """Give the number of contexts and, if a drawn column depends on it, the test."""
    parts = []
    depends = any("significant" in name and "words" not in name for name in names)
    if depends and {"family", "correction", "alpha"} <= set(table):
        parts.append(rule_text(table.iloc[0].to_dict()))
    if n_contexts is not None:
        parts.append(f"n = {n_contexts:,} contexts")
    return "; ".join(parts)


#: Upper and lower panel of :func:`word_or_category`: column, label, colour, marker, line style.
_ACCURACY = (
    ("held_out_accuracy", "words left out", "#0072B2", "o", "-"),
    ("accuracy", "in sample", "#D55E00", "s", "-"),
)
_SHARE = (
    ("share_words", "over words", "#0072B2", "o", "-"),
    ("share_significant", "by example", "#D55E00", "s", "-"),
)
#: In a run of an earlier version, which has no test of groups.
_EARLIER_SHARE = (
    ("share_significant_words", "over words (max-T)", "#0072B2", "o", "-"),
    _SHARE[1],
)


@validated
def word_or_category(
    result: ProbeResult | pd.DataFrame,
    *,
    axes: np.ndarray | None = None,
    width: float | None = None,
) -> np.ndarray:
    """Draw what holds over words beside what is decodable by example, site by site.

    Parameters
    ----------
    result : ProbeResult or DataFrame
        A result with the columns of :func:`tl_negation.infer`, or its profile.
    axes
        Two rows of Axes, a column per site; a new figure if not given.
    width
        Of the new figure, in inches; by default wide enough for the sites side by side. In a
        narrow figure (3.3 for a column of a paper) the sites are below each other, and the two
        rows of the returned array are columns of the figure.

    Returns
    -------
    array of Axes
        ``[2, site]``. First row: accuracy on words left out of the fit and in sample, means over
        units. Second row: the share of units significant over words, each by itself
        (``share_words``), and by example (the profile's ``test``). The grey band is the lexical
        null: the same accuracy in sample, or share by example, after shuffling which word has which
        mean activation (5 to 95 % of the replicates). The blue bands are the accuracy on words left
        out (5 to 95 %), and the share over words (up to 95 %), under other labelings of the words.

    Raises
    ------
    TypeError
        ``result`` is neither a result nor a table.
    ValueError
        The columns of :func:`tl_negation.infer` are missing, or ``axes`` have another shape.

    Notes
    -----
    Compare accuracy in sample with the base rate, and accuracy on words left out (in which both
    classes, and all words of a class, have the same weight) with one half. Units that know nothing
    but words reach the grey band, which belongs to the orange line. Nothing here shows that the
    model uses what is decodable.

    Examples
    --------
    >>> axes = tln.plots.word_or_category(result)
    >>> axes.shape
    (2, 4)
    >>> [ax.get_title(loc="left") for ax in axes[0, :2]]
    ['q (20 units a layer)', 'k (20 units a layer)']
    """
    table, n_contexts = _profile_table(result, ())
    earlier = "share_words" not in table and "share_significant_words" in table
    shares = _EARLIER_SHARE if earlier else _SHARE
    check_drawable(table, [column for column, *_ in (*_ACCURACY, *shares)], "the profile")
    sites = names_in(table["site"])
    with styled():
        axes = _site_grid(len(sites), width) if axes is None else axes
        if np.shape(axes) != (2, len(sites)):
            raise ValueError(f"axes must have shape (2, {len(sites)}); got {np.shape(axes)}")
        for column, site in zip(axes.T, sites, strict=True):
            part = table[table["site"] == site]
            _compared(column[0], part, _ACCURACY, "null_accuracy")
            _compared(column[1], part, shares, "null_share_significant")
            column[0].axhline(100 * part["base_rate"].iloc[0], color="#1a1a1a", lw=1, ls="--")
            _relabelled(column, part)
            column[0].set_title(f"{label_of(site)} ({int(part['units'].max()):,} units a layer)")
            layer_ticks(column[1])
            column[1].set_ylim(-3, 103)
        n = "" if n_contexts is None else f"; n = {n_contexts:,} contexts"
        rule = f"{example_test(table.iloc[0].to_dict()).name} test"
        _describe(axes, f"Decodable over words, and by example ({rule}){n}")
        _shared_legends(axes, float(table["base_rate"].iloc[0]))
    return axes


def _site_grid(sites: int, width: float | None) -> np.ndarray:
    """Make Axes ``[2, site]``: the sites side by side, or below each other in a narrow figure."""
    room = 1.2 + 2.1 * sites
    width = room if width is None else width
    if width > 0.75 * room:
        figure = new_figure(width, 5.2)
        return figure.subplots(2, sites, sharex=True, sharey="row", squeeze=False)
    figure = new_figure(width, 1.4 + 1.3 * sites)
    return figure.subplots(sites, 2, sharex=True, sharey="col", squeeze=False).T


def _below_each_other(axes: np.ndarray) -> bool:
    """Whether the sites are, as :func:`_site_grid` puts them in a narrow figure."""
    first, last = axes[0, 0].get_subplotspec(), axes[0, -1].get_subplotspec()
    if first is None or last is None:  # Axes of the user's, not from subplots
        return False
    return axes.shape[1] > 1 and first.rowspan.start != last.rowspan.start


def _relabelled(axes: np.ndarray, part: pd.DataFrame) -> None:
    """Draw what the blue lines come to under other labelings of the words."""
    look = {"color": "#0072B2", "alpha": 0.2, "lw": 0}
    ends = NULLS["held_out_accuracy"]
    if {*ends} <= set(part):
        low, high = (100 * part[end] for end in ends)
        depth_area(axes[0], part["layer"], low, high, label="relabelled, 5-95 %", **look)
    if "share_words_high" in part:
        high = 100 * part["share_words_high"]
        depth_area(axes[1], part["layer"], 0, high, label="relabelled, to 95 %", **look)


def _compared(ax: Axes, part: pd.DataFrame, lines: Any, null: str) -> None:
    if f"{null}_low" in part:
        low, high = (100 * part[f"{null}_{end}"] for end in ("low", "high"))
        band = {"color": "#bdbdbd", "lw": 0, "label": "lexical null, 5-95 %"}
        depth_area(ax, part["layer"], low, high, **band)
    size = {"markersize": 2.2, "linewidth": 1} if inches(ax) < 1.2 else {}
    for column, name, colour, marker, line in lines:
        look = {"color": colour, "marker": marker, "ls": line, "label": name, **size}
        depth_line(ax, part["layer"], 100 * part[column], **look)


def _describe(axes: np.ndarray, text: str) -> None:
    """Label the axes and the figure."""
    labels = ("accuracy, mean over units (%)", "significant units (%)")
    if _below_each_other(axes):
        for column in axes.T:
            column[0].set_title(column[0].get_title(loc="left"), fontsize=8.5)
        for row, label in zip(axes, ("accuracy (%)", "significant (%)"), strict=True):
            for ax in row:
                ax.set_ylabel(label, fontsize=8.5)
        ends = axes[:, -1]
    else:
        for row, label in zip(axes, labels, strict=True):
            row[0].set_ylabel(label)
        ends = axes[1]
    for ax in ends:
        ax.set_xlabel("layer")
    room = 0.95 * size_of(axes[0, 0])[0]
    axes[0, 0].figure.suptitle(wrapped(text, room, 10.0), fontsize=10)


def _shared_legends(axes: np.ndarray, base_rate: float) -> None:
    guesses = {f"base rate {base_rate:.1%}": "--"}
    lines = [Line2D([], [], color="#1a1a1a", lw=1, ls=dashes) for dashes in guesses.values()]
    if _below_each_other(axes):
        handles, names = _handles(axes[:, 0])
        look = {"loc": "outside lower center", "ncols": 2, "fontsize": 8}
        axes[0, 0].figure.legend([*handles, *lines], [*names, *guesses], **look)
        return
    for row, (more, words) in zip(axes, ((lines, guesses), ((), ())), strict=True):
        handles, names = row[0].get_legend_handles_labels()
        look = {"loc": "upper left", "bbox_to_anchor": (1, 1)}
        row[-1].legend([*handles, *more], [*names, *words], **look)
