"""What all figures share: one look, colours of sites and classes, labels beside lines."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

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
    # A colour per family of sites, its members told apart by marker and line.
    "rot_q": ("#2F86BD", "p", "-"),
    "rot_k": ("#882255", "h", "--"),
    "z": ("#117733", "v", ":"),
    "mlp_pre_linear": ("#CC6677", "d", "-."),
    "mlp_post": ("#332288", "X", "--"),
    "resid_pre": ("#8A6D00", "<", "-"),
    "resid_mid": ("#8A6D00", "*", "--"),
    "resid_post": ("#8A6D00", ">", ":"),
    "attn_out": ("#004488", "P", "-."),
    "mlp_out": ("#000000", "8", "-"),
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


@contextmanager
def styled(*, grid: bool = True) -> Iterator[None]:
    """Draw in our style, then put back what was set and nothing else.

    ``mpl.rc_context`` puts back ``interactive`` too, which the first figure of a notebook turns
    on: no later figure would be shown.
    """
    look = {**STYLE, "axes.grid": grid}
    before = {name: mpl.rcParams[name] for name in look}
    mpl.rcParams.update(look)
    try:
        yield
    finally:
        mpl.rcParams.update(before)


def axes_for(ax: Any, n: int, height: float = 2.4) -> np.ndarray:
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


def end_labels(ax: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Name the lines in the right margin, at the height of their ends, pushed apart."""
    low, high = ax.get_ylim()
    height = ax.get_position().height * ax.figure.get_size_inches()[1]
    gap = 0.165 / max(height, 0.2)  # inches of a line of text, as a share of the axes
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
    if site in SITES:
        return SITES[site]
    others = [name for name in sites if name not in SITES]
    return SPARE[others.index(site) % len(SPARE)]
