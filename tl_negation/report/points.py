"""Points of a figure that say what they are when a reader points at them, or taps them."""

import html
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

_NAME = "points-"


def name_points(figure: Figure) -> dict[str, list[str]]:
    """Give the marked lines of a figure ids, and say for each what its points are.

    Returns
    -------
    dict
        Id of a line in the SVG -> a text for each of its points that has a value. matplotlib
        writes a mark for each of them, in this order.
    """
    lines = [(ax, line) for ax in figure.axes for line in ax.lines if _is_marked(line)]
    found = {}
    for number, (ax, line) in enumerate(lines):
        line.set_gid(f"{_NAME}{number}")
        found[f"{_NAME}{number}"] = list(_texts(ax, line))
    return found


def with_points(svg: str, points: Mapping[str, Sequence[str]]) -> str:
    """Write the texts into the SVG, as titles of the marks."""
    for name, texts in points.items():
        pattern = rf'<g id="{name}">.*?</g>\s*</g>'
        svg = re.sub(pattern, lambda group, texts=texts: _titled(group[0], texts), svg, flags=re.S)
    return svg


def _titled(group: str, texts: Sequence[str]) -> str:
    marks = re.findall(r"<use [^>]*/>", group)
    if len(marks) != len(texts):  # a mark outside of the axes is not written
        return group
    left = iter(texts)

    def titled(mark: re.Match[str]) -> str:
        return f"{mark[0][:-2].rstrip()}><title>{html.escape(next(left))}</title></use>"

    return re.sub(r"<use [^>]*/>", titled, group)


def _is_marked(line: Line2D) -> bool:
    """Whether these are points in data coordinates, and not a line for the eye."""
    ax = line.axes
    own = ax is not None and line.get_transform() == ax.transData
    return (
        own and line.get_marker() not in ("None", None, "", " ") and np.size(line.get_xdata()) > 0
    )


def _texts(ax: Axes, line: Line2D) -> Iterator[str]:
    label = str(line.get_label()).split(" (")[0]
    panel = ax.get_title(loc="left").split("\n")[0].split(" (")[0]
    parts = [panel if len(panel) < 16 else "", "" if label.startswith("_") else label]
    name = ", ".join(filter(None, parts))
    x_name = ax.get_xlabel() or _shared_label(ax)
    for x, y in zip(*map(np.asarray, line.get_data()), strict=True):
        if np.isfinite(float(x)) and np.isfinite(float(y)):
            at = f"layer {x:g}" if x_name == "layer" else f"{x:.3g}"
            yield f"{name + ': ' * bool(name)}{at}, {y:.3g}"


def _shared_label(ax: Axes) -> str:
    """The x label of the panel below that shares the axis."""
    return next((other.get_xlabel() for other in ax.get_shared_x_axes().get_siblings(ax)
                 if other.get_xlabel()), "")  # fmt: skip
