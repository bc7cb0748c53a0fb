"""Units: all of one layer, or a single one word by word."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from .._shared import validated
from ..fitting import STATUSES
from ..models import locate, unit_name, unit_of
from ..probing import ProbeResult, example_test, family_ids
from .style import (
    CLASSES,
    GREY,
    WIDTH,
    beside,
    end_labels,
    headline,
    label_of,
    legend,
    narrow,
    single_axes,
    site_style,
    size_of,
    styled,
)

#: A scatter of more points than this is an image inside a vector figure.
RASTER_POINTS = 2000
#: The axis of effects is linear up to here and logarithmic beyond: effects explode near separation.
LINEAR_EFFECT = 4
#: Ticks of that axis, in a wide and in a narrow figure.
EFFECT_TICKS = ((-100, -20, -4, -2, 0, 2, 4, 20, 100), (-200, -20, -2, 0, 2, 20, 200))
#: Height of the curve above the words of a unit, in words.
CURVE_ROWS = 5


@validated
def volcano(
    result: ProbeResult, layer: int, *, ax: Axes | None = None, width: float = WIDTH
) -> Axes:
    """Draw effect per SD against -log10 p for every unit of one layer.

    Parameters
    ----------
    result : ProbeResult
        From :func:`tl_negation.probe` or :func:`tl_negation.load_result`.
    layer
        Number of the layer.
    ax
        Axes to draw on; a new figure if not given.
    width
        Of the new figure, in inches: 3.3 for a column of a paper.

    Returns
    -------
    Axes
        Units that pass the result's correction are darker; under Bonferroni a dashed line shows
        the threshold. The title says how many units have no valid fit and are not shown.

    Raises
    ------
    TypeError
        ``result`` is not a result, or ``layer`` is not an integer.
    ValueError
        The result does not have this layer.

    Notes
    -----
    The evidence is that of the test by which the result's units are ``significant``. Wald's p
    becomes less extreme again for very strong effects (Hauck & Donner 1977): its arms bend down;
    the likelihood ratio's do not. The strongest units of all are separated: they have no finite
    effect, and are only counted.

    Examples
    --------
    >>> ax = tln.plots.volcano(result, 1)
    >>> print(ax.get_title(loc="left"))
    layer 1: 140 of 140 units; n = 203 contexts
    not shown: none
    """
    if layer not in result.layers:
        raise ValueError(f"the result has the layers {list(result.layers)}; got {layer!r}")
    frame = result.to_frame()
    units = frame[frame["layer"] == layer]
    with styled():
        ax = single_axes(ax, 4.2, width)
        _volcano_points(ax, result, units)
        ax.set_ylim(bottom=0)
        ax.set_xscale("symlog", linthresh=LINEAR_EFFECT, linscale=1.5)
        known = FixedLocator(EFFECT_TICKS[1 if narrow(ax) else 0])
        small = np.abs(ax.get_xlim()).max() < 2  # all within the linear part
        ax.xaxis.set_major_locator(MaxNLocator(5, symmetric=True) if small else known)
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_locator(NullLocator())
        _thresholds(ax, result, layer)
        ax.axvline(0, color=GREY, linewidth=0.8, zorder=1)
        effect = f"effect (log-odds of {_class_name(result, 1)} per SD of the unit)"
        ax.set_xlabel(effect.replace(" per SD", "\nper SD") if narrow(ax) else effect)
        test = example_test(result.provenance["test"])
        ax.set_ylabel(f"evidence (-log10 of the {test.name} p)")
        headline(ax, _volcano_title(result, units))
        _volcano_legend(ax, [site.name for site in result.sites])
    return ax


@validated
def unit(
    result: ProbeResult,
    where: pd.DataFrame | pd.Series | Mapping[str, Any] | Sequence[Any],
    *,
    ax: Axes | None = None,
    width: float = WIDTH,
) -> Axes:
    """Draw one unit's activation in every context, by word, under its fitted curve.

    Parameters
    ----------
    result : ProbeResult
        From :func:`tl_negation.probe`: it must still hold its activations.
    where
        A row of ``result.top()`` or ``result.to_frame()``, or (layer, site, head, index).
    ax
        Axes to draw on; a new figure if not given.
    width
        Of the new figure, in inches: 3.3 for a column of a paper.

    Returns
    -------
    Axes
        A mark per context; a row per word with its number of contexts, class 1 on top, frequent
        words first. The curve, P(class 1) against activation, is above it, in
        ``ax.child_axes[0]``.

    Raises
    ------
    TypeError
        ``result`` is not a result.
    ValueError
        There is no such unit, or the result was read from disk and holds no activations.

    Notes
    -----
    If the words of a class differ from each other as much as the classes do, the unit knows words
    rather than the category. Marks are spread vertically only so that they do not hide each other.

    Examples
    --------
    >>> ax = tln.plots.unit(result, result.top(1))
    >>> ax.get_xlabel()
    "activation at the target word (model's units)"
    >>> len(ax.get_yticklabels())  # words
    13
    """
    row, column = unit_of(result.sites, result.layers, where)
    if result.activations is None:
        raise ValueError(
            "this figure needs the activations, and a result read from disk has none: run "
            "collect(model, contexts) and probe(acts) again"
        )
    x = result.activations.values[row, :, column].cpu().double().numpy()
    words = _word_order(result)
    with styled():
        rows = CURVE_ROWS + len(words)
        ax = single_axes(ax, 0.8 + 0.27 * rows, width)
        label = "activation at the target word (model's units)"
        ax.set_xlabel(label.replace(" (", "\n(") if narrow(ax) else label)
        _strips(ax, result, x, words)
        ax.set_ylim(len(words) - 0.4, -0.6 - CURVE_ROWS)
        ax.spines["left"].set_bounds(-0.6, len(words) - 0.4)
        room = 0.62 * size_of(ax)[0]  # long words are left of the axes
        headline(ax, _unit_title(result, row, column), room=room)
        lowest = (len(words) + 0.6) / rows
        _curve(ax.inset_axes((0, lowest, 1, 1 - lowest), sharex=ax), result, row, column, x)
    return ax


def _volcano_points(ax: Axes, result: ProbeResult, units: pd.DataFrame) -> None:
    names = [site.name for site in result.sites]
    evidence = example_test(result.provenance["test"]).log10_p
    # A site with few units is drawn on top of those with many.
    for name in sorted(names, key=lambda site: -(units["site"] == site).sum()):
        part = units[units["site"] == name]
        colour, marker, _ = site_style(name, names)
        style: dict[str, Any] = {"color": colour, "marker": marker, "s": 15, "linewidths": 0}
        style["rasterized"] = len(part) > RASTER_POINTS
        for passed, alpha in ((False, 0.2), (True, 0.6)):
            these = part[part["significant"] == passed]
            ax.scatter(these["beta_per_sd"], -these[evidence], alpha=alpha, **style)
        shown = part["beta_per_sd"].notna().sum()
        ax.scatter([], [], label=f"{label_of(name)} ({shown:,})", **style)


def _volcano_legend(ax: Axes, names: Sequence[str]) -> None:
    """Name the sites in the right margin, away from the labels of the thresholds."""
    lines, labels = ax.get_legend_handles_labels()
    known = {label.rsplit(" (")[0]: i for i, label in enumerate(labels)}
    order = [known[label_of(name)] for name in names]
    order += [i for i in range(len(labels)) if i not in order]  # thresholds
    high = any(text.xy[1] > 0.5 for text in ax.texts if isinstance(text, Annotation))
    place = {"loc": "lower left", "bbox_to_anchor": (1, 0)} if high else {}
    legend(ax, [lines[i] for i in order], [labels[i] for i in order], handletextpad=0.2, **place)


def _thresholds(ax: Axes, result: ProbeResult, layer: int) -> None:
    test = result.provenance["test"]
    if test["correction"] != "bonferroni":
        return
    row = result.layers.index(layer)
    ids = family_ids(result.sites, len(result.layers), test["family"])
    starts = np.cumsum([0, *(site.width for site in result.sites)])
    drawn: dict[int, list[str]] = {}
    for site, start in zip(result.sites, starts, strict=False):
        drawn.setdefault(int((ids == ids[row, start]).sum()), []).append(label_of(site.name))
    ends = [
        (-np.log10(test["alpha"] / size), f"{test['alpha']:g}/{size:,} ({', '.join(names)})", GREY)
        for size, names in drawn.items()
    ]
    dashes = ((0, (4, 3)), (0, (1, 1.5)), (0, (4, 2, 1, 2)), (0, (8, 3)))
    for (height, text, _), dash in zip(ends, dashes * len(ends), strict=False):
        # A narrow figure names the thresholds in the legend, so they need to differ.
        look: dict[str, Any] = {"linestyle": dashes[0]}
        if narrow(ax):
            look = {"linestyle": dash, "label": text}
        ax.axhline(height, color=GREY, linewidth=1, zorder=1, **look)
    ax.set_ylim(top=max(ax.get_ylim()[1], *(1.1 * height for height, _, _ in ends)))
    if not narrow(ax):
        end_labels(ax, ends)


def _volcano_title(result: ProbeResult, units: pd.DataFrame) -> str:
    counts = units["status"].value_counts()
    hidden = [f"{n:,} {status}" for status, n in counts.items() if n and status != "ok"]
    passed = int(units.loc[units["status"] != "ok", "significant"].sum())
    return (
        f"layer {units['layer'].iloc[0]}: {counts['ok']:,} of {len(units):,} units; "
        f"n = {len(result.contexts):,} contexts\nnot shown: {', '.join(hidden) or 'none'}"
        + (f" ({passed:,} of them significant)" if passed else "")
    )


def _class_name(result: ProbeResult, label: int) -> str:
    return result.contexts.contrast.groups[label]


def _word_order(result: ProbeResult) -> list[tuple[int, str, int]]:
    """Return label, word and number of contexts: class 1 first, frequent words first."""
    by_word = result.contexts.examples.groupby(["label", "word"], observed=True)
    counts = by_word.size().reset_index(name="n")
    columns = (counts[name].tolist() for name in ("label", "word", "n"))
    words = [(int(label), str(word), int(n)) for label, word, n in zip(*columns, strict=True)]
    return sorted(words, key=lambda word: (-word[0], -word[2], word[1]))


def _strips(
    ax: Axes, result: ProbeResult, x: np.ndarray, words: Sequence[tuple[int, str, int]]
) -> None:
    examples = result.contexts.examples
    rng = np.random.default_rng(0)  # for the vertical spread: the same picture every time
    for place, (label, word, n) in enumerate(words):
        these = ((examples["label"] == label) & (examples["word"] == word)).to_numpy()
        colour, marker = CLASSES[label]
        height = place + rng.uniform(-0.28, 0.28, n)
        ax.scatter(x[these], height, color=colour, marker=marker, s=16, alpha=0.6, linewidths=0)
    n_first = sum(label == 1 for label, _, _ in words)
    ax.axhline(n_first - 0.5, color=GREY, linewidth=0.8)
    ax.set_yticks(range(len(words)), [f"{word} (n = {n})" for _, word, n in words])
    ax.grid(visible=False, axis="y")
    if narrow(ax):
        looks: dict[str, Any] = {"linestyle": "", "markersize": 4.5}
        kinds = [
            Line2D([], [], color=colour, marker=marker, **looks) for colour, marker in CLASSES[::-1]
        ]
        legend(ax, kinds, [_class_name(result, label) for label in (1, 0)])
        return
    for first, label in ((0, 1), (n_first, 0)):
        beside(ax, first - 0.45, _class_name(result, label), CLASSES[label][0], y="data", va="top")


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
        space = "\n" if narrow(panel) else " "
        text = f"no curve: the unit{space}is {status}"
        panel.text(0.5, 0.5, text, ha="center", va="center", transform=panel.transAxes)
    panel.set_ylim(-0.12, 1.12)
    panel.set_yticks([0, 0.5, 1])
    panel.set_ylabel(f"P({_class_name(result, 1)})")
    panel.tick_params(labelbottom=False)


def _unit_title(result: ProbeResult, row: int, column: int) -> str:
    site, head, index = locate(result.sites, column)
    lr, accuracy = (float(result.columns[name][row, column]) for name in ("lr", "accuracy"))
    return (
        f"layer {result.layers[row]}, {unit_name(site.name, head, index)}\n"
        f"LR = {lr:.1f}, in-sample accuracy {accuracy:.0%}, n = {len(result.contexts):,}"
    )
