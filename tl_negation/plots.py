"""Figures (matplotlib): profiles over depth, one layer's units, one unit's activations.

Every function takes a result or a table and draws what is in it; none computes a statistic,
and none calls ``show``. The background is opaque, so figures read in dark notebooks too.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from ._families import family_ids
from ._newton import STATUSES
from .profiles import profile
from .results import ProbeResult, unit_of
from .sites import locate

__all__ = ["laminar", "unit", "volcano"]

#: One style for all figures. The palette is Okabe and Ito's (2008), with a darker purple: labels
#: are set in these colours.
STYLE = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": "#595959",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.labelcolor": "#1a1a1a",
    "text.color": "#1a1a1a",
    "text.parse_math": False,  # a word may hold dollar signs
    "grid.color": "#e6e6e6",
    "xtick.color": "#404040",
    "ytick.color": "#404040",
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "font.size": 9,
    "legend.frameon": False,
    "lines.markersize": 4.2,
}
#: Site -> colour, marker, line style; sites of other names take the spare ones in turn.
SITES = {
    "q": ("#0072B2", "o", "-"),
    "k": ("#D55E00", "s", "--"),
    "v": ("#009E73", "^", "-."),
    "mlp_pre": ("#AA4499", "D", ":"),
}
SPARE = (
    ("#0072B2", "P", "-"),
    ("#AA4499", "X", "--"),
    ("#8A6D00", "v", "-."),
    ("#000000", "*", ":"),
)
#: Class 0, class 1: colour and marker.
CLASSES = (("#0072B2", "o"), ("#D55E00", "^"))
GREY = "#595959"

#: Profile column -> axis label. Columns that begin with "share" or hold "accuracy" are in per cent.
Y_LABELS = {
    "share_significant": "significant units (%)",
    "share_significant_positive": "significant units\nwith beta > 0 (%)",
    "accuracy": "in-sample accuracy,\nmean over units (%)",
    "accuracy_significant_positive": "in-sample accuracy, mean over\nsignificant, beta > 0 (%)",
    "accuracy_significant_negative": "in-sample accuracy, mean over\nsignificant, beta < 0 (%)",
    "share_significant_words": "units significant\nover words (%)",
    "held_out_accuracy": "accuracy on unseen words,\nmean over units (%)",
    "abs_beta_per_sd": "mean |effect|\n(log-odds per SD)",
}
#: Accuracies that weigh the two classes alike: guessing gets half of them right.
BALANCED = ("held_out_accuracy", "balanced_accuracy", "fold_accuracy", "block_accuracy")
#: From this many points on a scatter is drawn as an image inside a vector figure.
RASTER_POINTS = 2000
#: Effects are drawn to scale up to here, by their logarithm beyond: they explode near separation.
LINEAR_EFFECT = 4
EFFECT_TICKS = (-100, -20, -4, -2, 0, 2, 4, 20, 100)
#: Height of the curve above the words of a unit, in words.
CURVE_ROWS = 5


def laminar(
    result: Any,  # ProbeResult | DataFrame: checked below, with a message of our own
    *,
    y: str | Sequence[str] = ("share_significant", "accuracy"),
    ax: Axes | Sequence[Axes] | np.ndarray | None = None,
) -> Axes | np.ndarray:
    """Draw columns of a profile over depth, one labelled line per site.

    Parameters
    ----------
    result : ProbeResult or DataFrame
        A result, which goes through :func:`tl_negation.profile`; or the table that returned,
        drawn as it is (``profile(result, preset="notebook")``, ``by="module"`` ...).
    y
        Numeric columns of the profile. One name gives one Axes, several a stack of Axes that
        share the layers.
    ax
        Axes to draw on, as many as ``y`` has names; a new figure if not given.

    Returns
    -------
    Axes or array of Axes

    Raises
    ------
    TypeError
        Neither a result nor a table.
    ValueError
        The table is empty or lacks a column; ``ax`` and ``y`` differ in number.

    Notes
    -----
    Where accuracy is drawn, so is what guessing the larger class gets right (the base rate; half
    where the classes are weighed alike).
    A line says how much is decodable from single units at a depth; not that the model uses it,
    and not that it is the category rather than the word.
    """
    names = (y,) if isinstance(y, str) else tuple(y)
    table, n_contexts = _profile_table(result, names)
    with mpl.rc_context(STYLE):
        axes = _axes_for(ax, len(names))
        for one, name in zip(axes, names, strict=True):
            _profile_panel(one, table, name)
        axes[0].set_title(_profile_title(table, n_contexts))
        axes[-1].set_xlabel("layer")
    return axes[0] if isinstance(y, str) else axes


def volcano(result: Any, layer: int, *, ax: Axes | None = None) -> Axes:
    """Draw effect per SD against -log10 p for every unit of one layer.

    Parameters
    ----------
    result : ProbeResult
        From :func:`tl_negation.probe` or :func:`tl_negation.load_result`.
    layer
        Number of the layer.
    ax
        Axes to draw on; a new figure if not given.

    Returns
    -------
    Axes
        Units that pass the result's correction are drawn darker; under Bonferroni its
        threshold is drawn. The title says how many units have no valid fit and are not shown.

    Raises
    ------
    TypeError
        Not a result.
    ValueError
        The result has no such layer.

    Notes
    -----
    Wald's p falls back for very strong effects (Hauck & Donner 1977): the arms bend down
    there, and the strongest units of all are separated and have none.
    """
    _require_result(result)
    if layer not in result.layers:
        raise ValueError(f"the result has the layers {list(result.layers)}; got {layer!r}")
    frame = result.to_frame()
    units = frame[frame["layer"] == layer]
    with mpl.rc_context(STYLE):
        ax = _axes_for(ax, 1, height=4.2)[0]
        _volcano_points(ax, result, units)
        ax.set_ylim(bottom=0)
        ax.set_xscale("symlog", linthresh=LINEAR_EFFECT, linscale=1.5)
        ax.xaxis.set_major_locator(FixedLocator(EFFECT_TICKS))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_locator(NullLocator())
        _thresholds(ax, result, layer)
        ax.axvline(0, color=GREY, linewidth=0.8, zorder=1)
        ax.set_xlabel(f"effect (log-odds of {_class_name(result, 1)} per SD of the unit)")
        ax.set_ylabel("evidence (-log10 of the Wald p)")
        ax.set_title(_volcano_title(result, units))
        _volcano_legend(ax, [site.name for site in result.sites])
    return ax


def unit(result: Any, where: Any, *, ax: Axes | None = None) -> Axes:
    """Draw one unit's activation in every context, by word, under its fitted curve.

    Parameters
    ----------
    result : ProbeResult
        From :func:`tl_negation.probe`: it must still hold its activations.
    where
        A row of ``result.top()`` or ``result.to_frame()``, or (layer, site, head, index).
    ax
        Axes to draw on; a new figure if not given.

    Returns
    -------
    Axes
        The strip plot: a row per word with its n, class 1 on top, frequent words first.
        The curve, P(class 1) against activation, is in ``ax.child_axes[0]`` above it.

    Raises
    ------
    TypeError
        Not a result.
    ValueError
        No such unit; or the result was read from disk and holds no activations.

    Notes
    -----
    If the words of a class differ among each other as much as the classes do, the unit knows
    words rather than the category. The vertical scatter within a row means nothing.
    """
    _require_result(result)
    row, column = unit_of(result, where)
    if result.activations is None:
        raise ValueError(
            "this figure needs the activations, and a result read from disk has none: run "
            "collect(model, contexts) and probe(acts) again"
        )
    x = result.activations.values[row, :, column].cpu().double().numpy()
    words = _word_order(result)
    with mpl.rc_context(STYLE):
        rows = CURVE_ROWS + len(words)
        ax = _axes_for(ax, 1, height=0.8 + 0.27 * rows)[0]
        _strips(ax, result, x, words)
        ax.set_ylim(len(words) - 0.4, -0.6 - CURVE_ROWS)
        ax.spines["left"].set_bounds(-0.6, len(words) - 0.4)
        ax.set_xlabel("activation at the target word (model's units)")
        ax.set_title(_unit_title(result, row, column))
        lowest = (len(words) + 0.6) / rows
        _curve(ax.inset_axes((0, lowest, 1, 1 - lowest), sharex=ax), result, row, column, x)
    return ax


def _require_result(result: Any) -> None:
    if not isinstance(result, ProbeResult):
        raise TypeError(
            f"a ProbeResult is needed (probe(acts) or load_result(path)); got "
            f"{type(result).__name__}"
        )


def _axes_for(ax: Any, n: int, height: float = 2.4) -> np.ndarray:
    """Give the ``n`` Axes to draw on: those handed in, or those of a new figure."""
    if ax is None:
        _, axes = plt.subplots(
            n, sharex=True, squeeze=False, figsize=(7, height * n), layout="constrained"
        )
        return axes[:, 0]
    axes = np.ravel(np.asarray(ax, dtype=object))
    if len(axes) != n:
        raise ValueError(f"as many Axes as columns are needed: {n} columns, got {len(axes)} Axes")
    return axes


def _profile_table(source: Any, names: Sequence[str]) -> tuple[pd.DataFrame, int | None]:
    n_contexts = len(source.contexts) if isinstance(source, ProbeResult) else None
    table = profile(source) if isinstance(source, ProbeResult) else source
    if not isinstance(table, pd.DataFrame):
        raise TypeError(
            f"a ProbeResult or the table of profile(result) is needed; got {type(source).__name__}"
        )
    missing = [name for name in ("layer", "site", *names) if name not in table]
    if missing or table.empty or not names:
        raise ValueError(
            f"the profile needs rows and the columns layer, site and {', '.join(names)}; it has "
            f"{len(table)} rows and lacks {', '.join(missing) or 'no column'}"
        )
    return table, n_contexts


def _profile_panel(ax: Axes, table: pd.DataFrame, name: str) -> None:
    percent = name.startswith("share") or "accuracy" in name
    scale = 100 if percent else 1
    ends = []
    for site, part in table.groupby("site", sort=False, observed=True):
        colour, marker, line = site_style(str(site), table["site"].unique().tolist())
        values = scale * part[name].to_numpy(float)
        ax.plot(part["layer"], values, color=colour, marker=marker, linestyle=line, label=site)
        ends.append((_last_known(values), _line_label(str(site), part), colour))
    if (guess := _guess(table, name)) is not None:
        rate, text = guess
        ax.axhline(rate, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        ends.append((rate, f"{text} {rate:.1f}%", GREY))
    _panel_scale(ax, name, percent)
    _end_labels(ax, ends)


def _guess(table: pd.DataFrame, name: str) -> tuple[float, str] | None:
    """What guessing gets right, in per cent, and its name."""
    if name in BALANCED:
        return 50.0, "guessing"
    if name.startswith("accuracy") and "base_rate" in table:
        return 100 * float(table["base_rate"].iloc[0]), "base rate"
    return None


def _panel_scale(ax: Axes, name: str, percent: bool) -> None:
    ax.set_ylabel(Y_LABELS.get(name, name.replace("_", " ") + (" (%)" if percent else "")))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if name.startswith("share"):
        ax.set_ylim(-2, 102)
    else:
        ax.margins(y=0.12)
    ax.set_ylim(ax.get_ylim())


def _line_label(site: str, part: pd.DataFrame) -> str:
    return f"{site} ({int(part['units'].max()):,} units)" if "units" in part else site


def _last_known(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known[-1]) if known.size else float("nan")


def _end_labels(ax: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Name the lines in the right margin, at the height of their ends, pushed apart."""
    low, high = ax.get_ylim()
    height = ax.get_position().height * ax.figure.get_size_inches()[1]
    gap = 0.165 / max(height, 0.2)  # inches of a line of text, as a share of the axes
    known = sorted(
        (((value - low) / (high - low)), text, c) for value, text, c in ends if not np.isnan(value)
    )
    for place, (_, text, colour) in zip(_apart([k[0] for k in known], gap), known, strict=True):
        _beside(ax, place, text, colour, va="center", fontsize=8.5)


def _beside(
    ax: Axes, place: float, text: str, colour: str, *, y: Any = "axes fraction", **look: Any
) -> None:
    """Write into the right margin at a height."""
    at = {"xycoords": ("axes fraction", y), "textcoords": "offset points", "xytext": (6, 0)}
    ax.annotate(text, (1, place), color=colour, annotation_clip=False, **at, **look)


def _apart(places: Sequence[float], gap: float) -> np.ndarray:
    """Move sorted places as little as needed for each to be ``gap`` away from the next."""
    placed = np.array(places, float)
    for _ in range(200):
        short = gap - np.diff(placed)
        if not (short > 1e-6).any():
            break
        push = np.where(short > 0, short, 0) / 2
        placed[:-1] -= push
        placed[1:] += push
    return placed


def _profile_title(table: pd.DataFrame, n_contexts: int | None) -> str:
    parts = []
    if {"family", "correction", "alpha"} <= set(table):
        rule = dict(table.iloc[0][["family", "correction", "alpha"]])
        parts.append(f"Wald test, {rule_text(rule)}")
    if n_contexts is not None:
        parts.append(f"n = {n_contexts:,} contexts")
    return "; ".join(parts)


def rule_text(test: Any) -> str:
    """Put a test into words: "Bonferroni per layer at 0.05"."""
    names = {"bonferroni": "Bonferroni", "holm": "Holm", "bh": "Benjamini-Hochberg"}
    names["by"] = "Benjamini-Yekutieli"
    scope = {"layer": "per layer", "site": "per site", "all": "over all units"}
    correction, family = test["correction"], test["family"]
    return f"{names.get(correction, correction)} {scope.get(family, family)} at {test['alpha']:g}"


def site_style(site: str, sites: Sequence[str]) -> tuple[str, str, str]:
    """Colour, marker and line style of a site, the same in every figure."""
    if site in SITES:
        return SITES[site]
    others = [name for name in sites if name not in SITES]
    return SPARE[others.index(site) % len(SPARE)]


def _volcano_points(ax: Axes, result: ProbeResult, units: pd.DataFrame) -> None:
    names = [site.name for site in result.sites]
    for name in sorted(names, key=lambda one: -(units["site"] == one).sum()):  # few on top of many
        part = units[units["site"] == name]
        colour, marker, _ = site_style(name, names)
        style = {"color": colour, "marker": marker, "s": 15, "linewidths": 0}
        style["rasterized"] = len(part) > RASTER_POINTS
        for passed, alpha in ((False, 0.2), (True, 0.6)):
            these = part[part["significant"] == passed]
            ax.scatter(these["beta_per_sd"], -these["log10_p"], alpha=alpha, **style)
        ax.scatter([], [], label=f"{name} ({part['p'].notna().sum():,})", **style)


def _volcano_legend(ax: Axes, names: Sequence[str]) -> None:
    """Name the sites in the right margin, away from the labels of the thresholds."""
    lines, labels = ax.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: names.index(labels[i].rsplit(" (")[0]))
    high = any(text.xy[1] > 0.5 for text in ax.texts)
    ax.legend(
        [lines[i] for i in order],
        [labels[i] for i in order],
        loc="lower left" if high else "upper left",
        bbox_to_anchor=(1, 0 if high else 1),
        borderaxespad=0,
        handletextpad=0.2,
    )


def _thresholds(ax: Axes, result: ProbeResult, layer: int) -> None:
    test = result.provenance["test"]
    if test["correction"] != "bonferroni":
        return
    row = result.layers.index(layer)
    ids = family_ids(result.sites, len(result.layers), test["family"])
    starts = np.cumsum([0, *(site.width for site in result.sites)])
    drawn: dict[int, list[str]] = {}
    for site, start in zip(result.sites, starts, strict=False):
        drawn.setdefault(int((ids == ids[row, start]).sum()), []).append(site.name)
    ends = [
        (-np.log10(test["alpha"] / size), f"{test['alpha']:g}/{size:,} ({', '.join(names)})", GREY)
        for size, names in drawn.items()
    ]
    for height, _, _ in ends:
        ax.axhline(height, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    ax.set_ylim(top=max(ax.get_ylim()[1], *(1.1 * height for height, _, _ in ends)))
    _end_labels(ax, ends)


def _volcano_title(result: ProbeResult, units: pd.DataFrame) -> str:
    counts = units["status"].value_counts()
    hidden = [f"{n:,} {status}" for status, n in counts.items() if n and status != "ok"]
    return (
        f"layer {units['layer'].iloc[0]}: {counts['ok']:,} of {len(units):,} units; "
        f"n = {len(result.contexts):,} contexts\nnot shown: {', '.join(hidden) or 'none'}"
    )


def _class_name(result: ProbeResult, label: int) -> str:
    return result.contexts.contrast.groups[label]


def _word_order(result: ProbeResult) -> list[tuple[int, str, int]]:
    """(label, word, n): class 1 first, frequent words first."""
    counts = result.contexts.examples.groupby(["label", "word"], observed=True).size()
    words = [(int(label), str(word), int(n)) for (label, word), n in counts.items()]
    return sorted(words, key=lambda word: (-word[0], -word[2], word[1]))


def _strips(ax: Axes, result: ProbeResult, x: np.ndarray, words: Any) -> None:
    examples = result.contexts.examples
    rng = np.random.default_rng(0)  # jitter only: the same picture every time
    for place, (label, word, n) in enumerate(words):
        these = ((examples["label"] == label) & (examples["word"] == word)).to_numpy()
        colour, marker = CLASSES[label]
        height = place + rng.uniform(-0.28, 0.28, n)
        ax.scatter(x[these], height, color=colour, marker=marker, s=16, alpha=0.6, linewidths=0)
    n_first = sum(label == 1 for label, _, _ in words)
    ax.axhline(n_first - 0.5, color=GREY, linewidth=0.8)
    ax.set_yticks(range(len(words)), [f"{word} (n = {n})" for _, word, n in words])
    ax.grid(visible=False, axis="y")
    for first, label in ((0, 1), (n_first, 0)):
        _beside(ax, first - 0.45, _class_name(result, label), CLASSES[label][0], y="data", va="top")


def _curve(panel: Axes, result: ProbeResult, row: int, column: int, x: np.ndarray) -> None:
    labels = result.contexts.labels.numpy()
    for label, (colour, _) in enumerate(CLASSES):
        these = x[labels == label]
        panel.plot(these, np.full(len(these), label), "|", color=colour, alpha=0.5, markersize=7)
    intercept, beta = (float(result.columns[name][row, column]) for name in ("intercept", "beta"))
    if np.isfinite(intercept) and np.isfinite(beta):
        grid = np.linspace(x.min(), x.max(), 200)
        panel.plot(grid, 0.5 * (1 + np.tanh((intercept + beta * grid) / 2)), color="#1a1a1a")
    else:
        status = STATUSES[int(result.columns["status"][row, column])].replace("_", "-")
        panel.text(
            0.5,
            0.5,
            f"no curve: the unit is {status}",
            ha="center",
            va="center",
            transform=panel.transAxes,
        )
    panel.set_ylim(-0.12, 1.12)
    panel.set_yticks([0, 0.5, 1])
    panel.set_ylabel(f"P({_class_name(result, 1)})")
    panel.tick_params(labelbottom=False)


def _unit_title(result: ProbeResult, row: int, column: int) -> str:
    site, head, index = locate(result.sites, column)
    lr, accuracy = (float(result.columns[name][row, column]) for name in ("lr", "accuracy"))
    return (
        f"layer {result.layers[row]}, {site.name}, head {head}, unit {index}\n"
        f"LR = {lr:.1f}, in-sample accuracy {accuracy:.0%}, n = {len(result.contexts):,}"
    )
