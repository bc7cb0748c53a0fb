"""Heat maps of heads: a row per layer, a column per head or per unit sorted within its head."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator

from .._shared import validated
from ..models import Site
from ..probing import ProbeResult, head_table
from .style import (
    NARROW_FIGURE,
    WIDTH,
    axes_for,
    headline,
    inches,
    label_of,
    narrow,
    new_figure,
    size_of,
    styled,
    wrapped,
)
from .tables import names_in

#: Column -> label of its colours; by default, those that the result has are drawn.
HEAD_LABELS = {
    "held_out_accuracy": "accuracy on unseen words (%)",
    "share_significant": "significant by example (%)",
}
#: Blue, white, orange: every reader can tell the sign (Okabe and Ito's palette).
SIGNED = LinearSegmentedColormap.from_list("signed", ["#0072B2", "#ffffff", "#D55E00"])
#: Unit column -> label of its colour bar, value in the middle, distance from there to the ends
#: (None: the 99th percentile of the distances).
UNIT_LABELS: dict[str, tuple[str, float, float | None]] = {
    "beta_per_sd": ("effect (log-odds per SD)", 0.0, None),
    "z": ("Wald z", 0.0, None),
    "words_t": ("t over words", 0.0, None),
    "auc": ("area under the ROC curve", 0.5, 0.5),
    "held_out_accuracy": ("accuracy on unseen words", 0.5, 0.5),
}
#: Cells as they are, the first layer at the bottom.
LOOK: dict[str, Any] = {"aspect": "auto", "interpolation": "none", "origin": "lower"}


@validated
def heads(
    source: ProbeResult | pd.DataFrame,
    *,
    site: str | None = None,
    y: Sequence[str] | None = None,
    ax: Axes | Sequence[Axes] | np.ndarray | None = None,
    width: float | None = None,
) -> np.ndarray:
    """Draw a heat map of the heads, a row per layer: how much is decodable from their units.

    Parameters
    ----------
    source : ProbeResult or DataFrame
        A result, from which :func:`tl_negation.head_table` is computed; or that table, or the one
        of :func:`tl_negation.head_probe`: ``layer, site, head`` and the columns of ``y``.
    site
        The site whose heads are drawn; the first of the table if not given.
    y
        Columns, a heat map each: shares and accuracies between 0 and 1. By default
        ``share_significant`` and ``held_out_accuracy``, or the one that is there.
    ax
        Axes to draw on, as many as ``y`` has names; a new figure if not given.
    width
        Of the new figure, in inches: 3.3 for a column of a paper.

    Returns
    -------
    array of Axes
        Colours of shares run from 0 to 100 %, those of accuracies from 50 %. What a head scores
        where the classes mean nothing is not 50 %: see :func:`tl_negation.head_probe`.

    Raises
    ------
    TypeError
        ``source`` is neither a result nor a table.
    ValueError
        There is no attention site or none of that name, a column is missing, or ``ax`` has another
        length than ``y``.

    Notes
    -----
    Nothing in the architecture singles out the basis of queries and keys, so the share of their
    units that is significant depends on the basis; the table of :func:`tl_negation.head_probe`
    does not. Heads of different layers with the same number have nothing in common.

    Examples
    --------
    >>> share, accuracy = tln.plots.heads(result, site="k")
    >>> share.get_title(loc="left")
    'k: 5 heads a layer, 4 units each'
    """
    table = head_table(source) if isinstance(source, ProbeResult) else source
    names = tuple(y) if y is not None else tuple(n for n in HEAD_LABELS if n in table)
    missing = [name for name in ("layer", "site", "head", *names) if name not in table]
    if missing or not names:
        raise ValueError(
            "the table of heads needs layer, site, head and a column to draw; it lacks "
            f"{', '.join(missing) or ' and '.join(HEAD_LABELS)}"
        )
    site = str(table["site"].iloc[0]) if site is None else site
    part = table[table["site"] == site]
    if part.empty:
        raise ValueError(
            f"there are heads of the sites {', '.join(names_in(table['site']))}; got {site!r}"
        )
    with styled(grid=False):
        axes = _side_by_side(ax, len(names), part, width)
        for panel, name in zip(axes, names, strict=True):
            _head_map(panel, part, name)
        axes[0].set_ylabel("layer")
        room = 0.85 * size_of(axes[0])[0] - 0.1
        axes[0].set_title(wrapped(_heads_title(part, site), room, 10.0))
    return axes


@validated
def units_by_head(
    result: ProbeResult,
    *,
    site: str | None = None,
    value: str = "beta_per_sd",
    ax: Axes | None = None,
    width: float = WIDTH,
) -> Axes:
    """Draw every unit of a site, a row per layer, sorted within its head.

    Parameters
    ----------
    result : ProbeResult
        Any result.
    site
        Name of the site; the first if not given.
    value
        A column: ``beta_per_sd``, ``z``, ``auc``, ``words_t`` or ``held_out_accuracy``.
    ax
        Axes to draw on; a new figure if not given.
    width
        Of the new figure, in inches: 3.3 for a column of a paper.

    Returns
    -------
    Axes
        Units run from the smallest to the largest value of their head; those without a valid value
        are grey. Colours end at the 99th percentile of effects and statistics.

    Raises
    ------
    TypeError
        ``result`` is not a result.
    ValueError
        The site is unknown, or the column cannot be drawn or is not in the result.

    Notes
    -----
    Because units are sorted, a place in a row is not the same unit in every layer.

    Examples
    --------
    >>> tln.plots.units_by_head(result, site="v").get_title(loc="left")
    'v: 20 units a layer, sorted within their head'
    """
    chosen = _site(result, site)
    known = [name for name in UNIT_LABELS if name in result.columns]
    if value not in known:
        raise ValueError(f"units are drawn by one of {', '.join(known)}; got {value!r}")
    values = result.split()[chosen.name].columns[value].cpu().double().numpy()
    by_head = values.reshape(len(values), chosen.heads, chosen.d_head)
    image = np.sort(by_head, axis=2).reshape(len(values), -1)  # NaN comes last
    with styled(grid=False):
        if ax is None:
            height = 1.2 + 0.16 * max(len(values), 10)
            ax = new_figure(width, 0.75 * height if width < NARROW_FIGURE else height).subplots()
        _unit_map(ax, image, result.layers, chosen, value)
        size = f"{chosen.width:,} units a layer"
        headline(ax, f"{label_of(chosen.name)}: {size}, sorted within their head")
    return ax


def _site(result: ProbeResult, name: str | None) -> Site:
    named = {site.name: site for site in result.sites}
    if name is not None and name not in named:
        raise ValueError(f"the result has the sites {', '.join(named)}; got {name!r}")
    return named[name] if name else result.sites[0]


def _side_by_side(ax: Any, n: int, part: pd.DataFrame, width: float | None) -> np.ndarray:
    if ax is None:
        height = 1.4 + 0.16 * max(part["layer"].nunique(), 8)
        width = (WIDTH if n > 1 else 4.2) if width is None else width
        return np.atleast_1d(new_figure(width, height).subplots(1, n, sharey=True))
    return axes_for(ax, n)


def _head_map(ax: Axes, part: pd.DataFrame, name: str) -> None:
    cells = part.pivot(index="layer", columns="head", values=name)  # noqa: PD010 - no doubles
    image = 100 * cells.to_numpy(float)
    low, high = _limits(image, name)
    drawn = ax.imshow(image, cmap="cividis", vmin=low, vmax=high, **LOOK)
    label = HEAD_LABELS.get(name, f"{name.replace('_', ' ')} (%)")
    ends = "min" if np.nanmin(image, initial=100) < low else "neither"
    _colours(ax, drawn, label, extend=ends, small=inches(ax) < 2)
    _layers(ax, cells.index.tolist())
    ax.set_xlabel("head")
    bins = int(np.clip(inches(ax) / 0.2, 3, 13))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=bins))


def _colours(ax: Axes, drawn: Any, label: str, *, small: bool, extend: str = "neither") -> None:
    """Explain the colours beside the map, or below it if there is no room beside it."""
    if not small:
        ax.figure.colorbar(drawn, ax=ax, label=label, extend=extend, aspect=30, pad=0.03)
        return
    bar = ax.figure.colorbar(drawn, ax=ax, location="bottom", extend=extend, aspect=20, pad=0.02)
    bar.set_label(wrapped(label, inches(ax), 8.5), fontsize=8.5)
    bar.locator = MaxNLocator(nbins=max(2, int(inches(ax) / 0.4)))


def _limits(image: np.ndarray, name: str) -> tuple[float, float]:
    """Return the ends of the colours: 0 and 100 % for shares, 50 % and more for accuracies.

    The upper end of accuracies is the best one, rounded up to 5 %; at least 60 %.
    """
    if "accuracy" not in name:
        return 0.0, 100.0
    return 50.0, max(60.0, 5.0 * float(np.ceil(np.nanmax(image, initial=50) / 5)))


def _unit_map(ax: Axes, image: np.ndarray, layers: Sequence[int], site: Site, value: str) -> None:
    label, middle, spread = UNIT_LABELS[value]
    if spread is None:
        known = np.abs(image[np.isfinite(image)])
        spread = float(np.quantile(known, 0.99)) if known.size else 1.0
    ax.set_facecolor("#bdbdbd")  # seen where there is no value
    low, high = middle - spread, middle + spread
    drawn = ax.imshow(image, cmap=SIGNED, vmin=low, vmax=high, **LOOK)
    _colours(ax, drawn, label, small=narrow(ax))
    for edge in range(1, site.heads):
        ax.axvline(edge * site.d_head - 0.5, color="#1a1a1a", linewidth=0.6)
    step = -(-site.heads // min(20, int(inches(ax) / 0.2)))
    heads_shown = np.arange(0, site.heads, step)
    ax.set_xticks((heads_shown + 0.5) * site.d_head - 0.5, [f"{head}" for head in heads_shown])
    ax.tick_params(axis="x", length=0)
    ax.set_xlabel(f"head ({site.d_head} units each)")
    _layers(ax, layers)
    ax.set_ylabel("layer")


def _layers(ax: Axes, layers: Sequence[int]) -> None:
    """Name the rows by the layers that were scanned, which need not be all of the model's."""
    step = -(-len(layers) // 16)  # at most 16 labels
    rows = range(0, len(layers), step)
    ax.set_yticks(rows, [f"{layers[row]}" for row in rows])


def _heads_title(part: pd.DataFrame, site: str) -> str:
    n = f", {int(part['units'].iloc[0]):,} units each" if "units" in part else ""
    return f"{label_of(site)}: {part['head'].nunique()} heads a layer{n}"
