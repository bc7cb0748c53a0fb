"""What all figures share: one look, colours of sites and classes, labels beside lines."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, cast

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from ..models import SITES, site_label
from ..probing import CORRECTIONS, example_test

#: One style for all figures. The palette is Okabe and Ito's (2008) with a darker purple, because
#: labels are written in these colours.
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
    "text.parse_math": False,  # a word may contain dollar signs
    "grid.color": "#e6e6e6",
    "xtick.color": "#404040",
    "ytick.color": "#404040",
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "font.size": 9,
    "legend.frameon": False,
    "lines.markersize": 4.2,
}
#: Looks of sites whose record in ``models.SITES`` has no colour, in turn.
SPARE = (
    ("#0072B2", "P", "-"),
    ("#AA4499", "X", "--"),
    ("#8A6D00", "v", "-."),
    ("#000000", "*", ":"),
)
#: Class 0, class 1: colour and marker.
CLASSES = (("#0072B2", "o"), ("#D55E00", "^"))
GREY = "#595959"
#: Width in inches of a new figure (a notebook's column; a paper's is about 3.3), and the smallest.
WIDTH, LEAST_WIDTH = 7.0, 2.5
#: Width and height in inches of a site's panel, where several are side by side.
PANEL = (2.15, 2.6)
#: Labels go below a figure, or an Axes, that is narrower than this many inches.
NARROW_FIGURE, NARROW_AXES = 5.0, 3.6
#: Height of a narrow Axes, as a share of the height of a wide one.
NARROW_HEIGHT = 0.75
#: Width of a letter of the default font, as a share of its height; height in inches of a line of
#: text, and of the ticks below an Axes.
LETTER, LINE, BELOW_TICKS = 0.53, 0.165, 0.28


@contextmanager
def styled(*, grid: bool = True) -> Iterator[None]:
    """Draw in our style, then restore the settings that it changed, and no others.

    ``mpl.rc_context`` would also restore ``interactive``, which the first figure of a notebook
    turns on; later figures would not be shown.
    """
    with settings({**STYLE, "axes.grid": grid}):
        yield


@contextmanager
def settings(look: Mapping[str, Any]) -> Iterator[None]:
    """Change these settings of matplotlib, then restore them."""
    current = cast(dict[str, Any], mpl.rcParams)  # its own keys are a type of 300 literals
    before = {name: current[name] for name in look}
    current.update(look)
    try:
        yield
    finally:
        current.update(before)


def axes_for(ax: Any, n: int, height: float = 2.4, width: float = WIDTH) -> np.ndarray:
    """Return ``n`` Axes to draw on: the ones given, or those of a new figure.

    Raises
    ------
    TypeError
        Something other than Axes was given.
    ValueError
        The number of Axes is not ``n``, or the figure would be too narrow.
    """
    if ax is None:
        shape = (height * n, 0) if width >= NARROW_FIGURE else (NARROW_HEIGHT * height * n, 0.6)
        return np.atleast_1d(new_figure(width, sum(shape)).subplots(n, sharex=True))
    axes = np.ravel(np.asarray(ax, dtype=object))
    others = [type(given).__name__ for given in axes if not isinstance(given, Axes)]
    if others:
        raise TypeError(f"matplotlib Axes are needed to draw on; got {', '.join(others)}")
    if len(axes) != n:
        raise ValueError(f"as many Axes as panels are needed: {n}, got {len(axes)}")
    return axes


def single_axes(ax: Axes | None, height: float, width: float) -> Axes:
    """Return the Axes given, or that of a new figure."""
    return axes_for(ax, 1, height, width)[0]


def new_figure(width: float, height: float) -> Figure:
    """Make a figure whose layout is found when it is drawn.

    Raises
    ------
    ValueError
        The figure would be too narrow for its labels.
    """
    if not width >= LEAST_WIDTH:
        raise ValueError(
            f"a figure needs at least {LEAST_WIDTH} inches for its labels; got width={width!r}"
        )
    return plt.figure(figsize=(width, height), layout="constrained")


def panels_of_sites(sites: int, width: float | None) -> np.ndarray:
    """Make an Axes for each site, side by side, or below each other in a narrow figure."""
    room = max(4.4, 0.7 + PANEL[0] * sites)
    width = room if width is None else width
    if width > 0.75 * room:
        figure = new_figure(width, PANEL[1] + 0.75)
        return figure.subplots(1, sites, sharex=True, sharey=True, squeeze=False)[0]
    figure = new_figure(width, 1.5 + 1.5 * sites)
    return figure.subplots(sites, 1, sharex=True, sharey=True, squeeze=False)[:, 0]


def axes_of_sites(axes: Any, sites: int) -> np.ndarray:
    """Return the Axes given, one for each site.

    Raises
    ------
    ValueError
        There are not as many as sites.
    """
    panels = np.ravel(np.asarray(axes, object))
    if len(panels) != sites:
        raise ValueError(f"an Axes is needed for each site, {sites}; got {len(panels)}")
    return panels


def are_stacked(panels: np.ndarray) -> bool:
    """Whether the Axes are below each other."""
    left = [ax.get_position().x0 for ax in panels[:2]]
    return len(left) > 1 and bool(left[0] == left[1])


def size_of(ax: Axes) -> tuple[float, float]:
    """Width and height in inches of the figure, or of the part of one, that the Axes are in."""
    figure = ax.figure
    if isinstance(figure, SubFigure):
        return figure.bbox.width / figure.dpi, figure.bbox.height / figure.dpi
    width, height = figure.get_size_inches()
    return float(width), float(height)


def inches(ax: Axes) -> float:
    """Width of the Axes in inches, as it is before the layout is computed."""
    return float(ax.get_position().width * size_of(ax)[0])


def narrow(ax: Axes) -> bool:
    """Whether labels and legends go below the Axes, not beside it."""
    return bool(inches(ax) < NARROW_AXES)


def headline(ax: Axes, text: str, size: float = 10.0, *, room: float | None = None) -> None:
    """Set the title; it is smaller and wrapped if the Axes is narrow."""
    if narrow(ax):
        size, room = min(size, 8.5), room or inches(ax)
    else:
        room = max(inches(ax), 0.8 * size_of(ax)[0])
    ax.set_title(wrapped(text, room, size), fontsize=size)


def wrapped(text: str, room: float, size: float = 9.5) -> str:
    """Break lines that are longer than ``room`` inches, but not within "x = y"."""
    letters = int(room * 72 / (LETTER * size))
    lines = text.replace(" = ", "\u00a0=\u00a0").split("\n")
    return "\n".join(textwrap.fill(line, letters) for line in lines).replace("\u00a0", " ")


def stretches(layers: Sequence[int] | np.ndarray) -> list[slice]:
    """Cut a depth axis where layers were not scanned: a line is drawn within each stretch.

    Layers as far apart as the nearest two belong together, so that every third layer is one line.
    """
    steps = np.diff(np.asarray(layers, float))
    ends = np.flatnonzero(steps > steps.min(initial=np.inf)) + 1
    edges = [0, *ends.tolist(), len(steps) + 1]
    return [slice(start, end) for start, end in pairwise(edges)]


def depth_line(ax: Axes, layers: Any, values: Any, **look: Any) -> None:
    """Draw values over depth as one line, not over layers that were not scanned."""
    x, gap = np.asarray(layers, float), np.array([np.nan])
    cut = stretches(x)
    broken = (
        np.concatenate([piece for part in cut for piece in (whole[part], gap)][:-1])
        for whole in (x, np.asarray(values, float))
    )
    ax.plot(*broken, **look)


def depth_area(ax: Axes, layers: Any, low: Any, high: Any, **look: Any) -> None:
    """Fill between values over depth, not over layers that were not scanned."""
    x = np.asarray(layers, float)
    low, high = (np.broadcast_to(np.asarray(end, float), x.shape) for end in (low, high))
    for part in stretches(x):
        at, bottom, top = _widened(x[part], 0.3), _widened(low[part]), _widened(high[part])
        ax.fill_between(at, bottom, top, **look)
        look.pop("label", None)  # one entry in a legend


def depth_level(ax: Axes, layers: Any, values: Any, **look: Any) -> None:
    """Draw a level without marks over depth, not over layers that were not scanned."""
    x, y = np.asarray(layers, float), np.asarray(values, float)
    for part in stretches(x):
        ax.plot(_widened(x[part], 0.3), _widened(y[part]), **look)


def _widened(values: np.ndarray, by: float = 0.0) -> np.ndarray:
    """Give a layer by itself a width of its own."""
    return values[0] + np.array([-by, by]) if len(values) == 1 else values


def layer_ticks(ax: Axes) -> None:
    """Put ticks at whole layers, as many as there is room for."""
    bins = int(np.clip(inches(ax) / 0.4, 2, 9))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=bins, min_n_ticks=1))


def legend(
    axes: Axes | np.ndarray, handles: Sequence[Any], names: Sequence[str], **look: Any
) -> None:
    """Put a legend beside the Axes; below the figure, or the last Axes, if they are narrow."""
    panels: list[Axes] = list(np.ravel(np.asarray(axes, dtype=object)))
    ax, figure = panels[-1], panels[-1].figure
    look = {"borderaxespad": 0, **look}
    if not narrow(ax):
        look = {"loc": "upper left", "bbox_to_anchor": (1.02, 1), **look}
        ax.legend(handles, names, **look)
        return
    longest = max((len(name) for name in names), default=0)
    room = size_of(ax)[0] * 72 / (LETTER * 8) - 2 * (longest + 5)
    look |= {"ncols": 2 if room > 0 else 1, "fontsize": 8, "columnspacing": 1, "handlelength": 1.6}
    # The layout makes room for a figure's legend; a user's own figure may have no layout, or
    # other Axes that the legend does not belong to.
    if root_figure(ax).get_layout_engine() is not None and set(figure.axes) <= set(panels):
        figure.legend(handles, names, **{**look, "loc": "outside lower center"})
        return
    lines = 1 + ax.get_xlabel().count("\n")
    below = ScaledTranslation(0, -BELOW_TICKS - LINE * lines, figure.dpi_scale_trans)
    look |= {"loc": "upper center", "bbox_to_anchor": (0.5, 0)}
    ax.legend(handles, names, bbox_transform=ax.transAxes + below, **look)


def root_figure(ax: Axes) -> Figure:
    """Return the whole figure that the Axes are in."""
    figure = ax.figure
    return figure.figure if isinstance(figure, SubFigure) else figure


def end_labels(ax: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Name the lines in the right margin, at the height of their ends, pushed apart.

    Parameters
    ----------
    ax
        Whose lines; its limits must not change any more.
    ends
        Value, text and colour of each; a line that ends in NaN is not named.
    """
    low, high = ax.get_ylim()
    height = ax.get_position().height * size_of(ax)[1]
    gap = LINE / max(height, 0.2)  # as a share of the axes
    known = sorted(
        (((value - low) / (high - low)), text, colour)
        for value, text, colour in ends
        if not np.isnan(value)
    )
    places = apart([place for place, _, _ in known], gap)
    for place, (_, text, colour) in zip(places, known, strict=True):
        beside(ax, place, text, colour, va="center", fontsize=8.5)


def beside(
    ax: Axes, place: float, text: str, colour: str, *, y: Any = "axes fraction", **look: Any
) -> None:
    """Write into the right margin at a height."""
    at = {"xycoords": ("axes fraction", y), "textcoords": "offset points", "xytext": (6, 0)}
    ax.annotate(text, (1, place), color=colour, annotation_clip=False, **at, **look)


def apart(places: Sequence[float], gap: float) -> np.ndarray:
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


def rule_text(test: Mapping[Any, Any]) -> str:
    """Put a test into words.

    Parameters
    ----------
    test
        ``test``, ``correction``, ``family`` and ``alpha``, as in ``result.provenance["test"]``; a
        row of a profile has them too. Without ``test``, as in runs of earlier versions, it is
        Wald's.

    Returns
    -------
    str
        A correction that ``tl_negation.probing.CORRECTIONS`` does not have is called by its own
        name.

    Examples
    --------
    >>> tln.plots.rule_text(result.provenance["test"])
    'likelihood-ratio test, Bonferroni per layer at 0.05'
    """
    correction, family = test["correction"], test["family"]
    name = CORRECTIONS[correction].name if correction in CORRECTIONS else correction
    scope = "over all units" if family == "all" else f"per {family}"
    return f"{example_test(test).name} test, {name} {scope} at {test['alpha']:g}"


def label_of(site: str) -> str:
    """Return what figures call a site, or the sites of a module joined by plus signs."""
    return "+".join(map(site_label, site.split("+")))


def site_style(site: str, sites: Sequence[str]) -> tuple[str, str, str]:
    """Return the look of a site, which is the same in every figure.

    Parameters
    ----------
    site
        Name of the site.
    sites
        Names of all sites that are drawn together; it tells sites without a look of their own
        apart.

    Returns
    -------
    tuple of str
        Colour, marker and line style, as matplotlib takes them.

    Examples
    --------
    >>> tln.plots.site_style("q", ["q", "k"])
    ('#0072B2', 'o', '-')
    >>> tln.plots.site_style("mine", ["q", "mine"])
    ('#0072B2', 'P', '-')
    """
    record = SITES.get(site)
    if record is not None and record.colour is not None:
        return record.colour, record.marker, record.line
    others = [name for name in sites if name not in SITES or SITES[name].colour is None]
    return SPARE[others.index(site) % len(SPARE)]
