"""What all figures share: one look, colours of sites and classes, labels beside lines."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from ..models import SITES

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
#: Width in inches of a new figure (a notebook's column; a paper's is about 3.3), and the least.
WIDTH, LEAST_WIDTH = 7.0, 2.5
#: Below these many inches, of the figure or of one Axes, labels go below.
NARROW_FIGURE, NARROW_AXES = 5.0, 3.6
#: Height of a narrow Axes, as a share of a wide one's.
NARROW_HEIGHT = 0.75
#: Width of a letter of the default font, as a share of its height; inches of a line of text, and
#: of the ticks below an Axes.
LETTER, LINE, BELOW_TICKS = 0.53, 0.165, 0.28


@contextmanager
def styled(*, grid: bool = True) -> Iterator[None]:
    """Draw in our style, then put back what was set and nothing else.

    ``mpl.rc_context`` puts back ``interactive`` too, which the first figure of a notebook turns
    on: no later figure would be shown.
    """
    with settings({**STYLE, "axes.grid": grid}):
        yield


@contextmanager
def settings(look: Mapping[str, Any]) -> Iterator[None]:
    """Set what is named, then put back what was set there."""
    before = {name: mpl.rcParams[name] for name in look}
    mpl.rcParams.update(look)
    try:
        yield
    finally:
        mpl.rcParams.update(before)


def axes_for(ax: Any, n: int, height: float = 2.4, width: float = WIDTH) -> np.ndarray:
    """Give the ``n`` Axes to draw on: those handed in, or those of a new figure.

    Raises
    ------
    TypeError
        What was handed in is no Axes.
    ValueError
        Another number of Axes; too narrow a figure.
    """
    if ax is None:
        shape = (height * n, 0) if width >= NARROW_FIGURE else (NARROW_HEIGHT * height * n, 0.6)
        return np.atleast_1d(new_figure(width, sum(shape)).subplots(n, sharex=True))
    axes = np.ravel(np.asarray(ax, dtype=object))
    others = [type(one).__name__ for one in axes if not isinstance(one, Axes)]
    if others:
        raise TypeError(f"matplotlib Axes are needed to draw on; got {', '.join(others)}")
    if len(axes) != n:
        raise ValueError(f"as many Axes as panels are needed: {n}, got {len(axes)}")
    return axes


def new_figure(width: float, height: float) -> Figure:
    """Make a figure whose parts find their places by themselves.

    Raises
    ------
    ValueError
        Too narrow to write on.
    """
    if not width >= LEAST_WIDTH:
        raise ValueError(
            f"a figure needs at least {LEAST_WIDTH} inches for its labels; got width={width!r}"
        )
    return plt.figure(figsize=(width, height), layout="constrained")


def inches(ax: Axes) -> float:
    """Width of the Axes, before the layout finds its last place."""
    return float(ax.get_position().width * ax.figure.get_figwidth())


def narrow(ax: Axes) -> bool:
    """Whether labels and legends go below the Axes, not beside it."""
    return bool(inches(ax) < NARROW_AXES)


def headline(ax: Axes, text: str, size: float = 10.0, *, room: float | None = None) -> None:
    """Set the title, smaller and wrapped where the Axes is narrow."""
    if narrow(ax):
        size, room = min(size, 8.5), room or inches(ax)
    else:
        room = max(inches(ax), 0.8 * ax.figure.get_figwidth())
    ax.set_title(wrapped(text, room, size), fontsize=size)


def wrapped(text: str, room: float, size: float = 9.5) -> str:
    """Break lines that are longer than ``room`` inches, but no equation."""
    letters = int(room * 72 / (LETTER * size))
    lines = text.replace(" = ", "\u00a0=\u00a0").split("\n")
    return "\n".join(textwrap.fill(line, letters) for line in lines).replace("\u00a0", " ")


def layer_ticks(ax: Axes) -> None:
    """Whole layers, as many as there is room for."""
    bins = int(np.clip(inches(ax) / 0.4, 2, 9))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=bins))


def legend(
    axes: Axes | np.ndarray, signs: Sequence[Any], names: Sequence[str], **look: Any
) -> None:
    """Explain signs beside the Axes; below the figure, or below the last Axes, where narrow."""
    axes = np.atleast_1d(axes)
    ax, figure = axes[-1], axes[-1].figure
    look = {"borderaxespad": 0, **look}
    if not narrow(ax):
        look = {"loc": "upper left", "bbox_to_anchor": (1.02, 1), **look}
        ax.legend(signs, names, **look)
        return
    longest = max((len(name) for name in names), default=0)
    room = figure.get_figwidth() * 72 / (LETTER * 8) - 2 * (longest + 5)
    look |= {"ncols": 2 if room > 0 else 1, "fontsize": 8, "columnspacing": 1, "handlelength": 1.6}
    if figure.get_layout_engine() is not None and set(figure.axes) <= set(axes):
        figure.legend(signs, names, **{**look, "loc": "outside lower center"})
        return
    lines = 1 + ax.get_xlabel().count("\n")
    below = ScaledTranslation(0, -BELOW_TICKS - LINE * lines, figure.dpi_scale_trans)
    look |= {"loc": "upper center", "bbox_to_anchor": (0.5, 0)}
    ax.legend(signs, names, bbox_transform=ax.transAxes + below, **look)


def end_labels(ax: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Name the lines in the right margin, at the height of their ends, pushed apart."""
    low, high = ax.get_ylim()
    height = ax.get_position().height * ax.figure.get_size_inches()[1]
    gap = LINE / max(height, 0.2)  # as a share of the axes
    known = sorted(
        (((value - low) / (high - low)), text, c) for value, text, c in ends if not np.isnan(value)
    )
    for place, (_, text, colour) in zip(apart([k[0] for k in known], gap), known, strict=True):
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


def rule_text(test: Any) -> str:
    """Put a test into words: "Bonferroni per layer at 0.05"."""
    names = {"bonferroni": "Bonferroni", "holm": "Holm", "bh": "Benjamini-Hochberg"}
    names["by"] = "Benjamini-Yekutieli"
    scope = {"layer": "per layer", "site": "per site", "all": "over all units"}
    correction, family = test["correction"], test["family"]
    return f"{names.get(correction, correction)} {scope.get(family, family)} at {test['alpha']:g}"


def site_style(site: str, sites: Sequence[str]) -> tuple[str, str, str]:
    """Colour, marker and line style of a site, the same in every figure."""
    record = SITES.get(site)
    if record is not None and record.colour is not None:
        return record.colour, record.marker, record.line
    others = [name for name in sites if name not in SITES or SITES[name].colour is None]
    return SPARE[others.index(site) % len(SPARE)]
