"""Figures as files: vectors with text as text."""

from pathlib import Path
from reprlib import repr as short
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .._shared import Count, validated, whole_file
from .style import settings


@validated
def save(axes: Any, path: str | Path, *, dpi: Count = 200) -> Path:
    """Write the figure of some Axes, so that a paper or a page can take it.

    Parameters
    ----------
    axes : Axes or array of Axes
        What the functions of this module return.
    path
        The file; its ending says the format. PDF and SVG are drawn as vectors, with text as text
        that can be searched and edited; only scatters of more than 2,000 points, and the cells of
        heat maps, are images in them.
    dpi
        Of images.

    Returns
    -------
    Path
        The file, the same bytes from the same figure.

    Raises
    ------
    TypeError
        Not Axes; no path.
    ValueError
        No name of a file; a format that matplotlib does not write.
    """
    drawn = np.ravel(np.asarray(axes, dtype=object))
    if not len(drawn) or not isinstance(drawn[0], Axes):
        raise TypeError(f"Axes are needed, as the functions of plots return; got {short(axes)}")
    figure, path = drawn[0].figure, Path(path)
    kinds = figure.canvas.get_supported_filetypes()
    kind = path.suffix.removeprefix(".").lower()
    if kind not in kinds:
        raise ValueError(f"a figure is written as {', '.join(kinds)}; got {path.name!r}")
    with whole_file(path) as file:
        write(figure, file, kind, salt=path.stem, dpi=dpi)
    return path


def write(figure: Figure, file: Any, kind: str, *, salt: str, dpi: int) -> None:
    """Write a figure with text as text; ``salt`` names the parts of an SVG."""
    look = {"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": salt}
    dated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with settings(look):
        figure.savefig(file, format=kind, dpi=dpi, metadata=dated.get(kind))
