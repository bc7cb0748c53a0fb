"""Figures as files: vectors with text as text."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from reprlib import repr as short
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .._shared import Count, expanded, validated, whole_file
from .style import root_figure, settings

#: The formats in which a run keeps its figures: one to look at, one for a paper.
FIGURE_KINDS = ("png", "svg")


@validated
def save(axes: Any, path: str | Path, *, dpi: Count = 200) -> Path:
    """Write the figure of some Axes to a file that a paper or a web page can use.

    Parameters
    ----------
    axes : Axes or array of Axes
        What the functions of this module return.
    path
        The file; its ending gives the format. PDF and SVG are drawn as vectors, with text that
        can be searched and edited; only scatters of more than 2,000 points, and the cells of heat
        maps, are images in them.
    dpi
        Resolution of images, in dots per inch.

    Returns
    -------
    Path
        The file; the same figure gives the same bytes.

    Raises
    ------
    TypeError
        ``axes`` are not Axes, or ``path`` is not a path.
    ValueError
        ``path`` cannot name a file, or matplotlib does not write its format.

    See Also
    --------
    save_kinds : The same figure in several formats.

    Examples
    --------
    >>> axes = tln.plots.laminar(result)
    >>> tln.plots.save(axes, "figures/laminar.pdf").name
    'laminar.pdf'
    """
    figure, path = _figure_of(axes), expanded(path)
    _check_kind(figure, path)
    _write_whole(figure, path, dpi)
    return path


@validated
def save_kinds(
    axes: Any, path: str | Path, *, kinds: Sequence[str] = FIGURE_KINDS, dpi: Count = 200
) -> list[Path]:
    """Write the figure of some Axes in several formats; its layout is computed once.

    Parameters
    ----------
    axes : Axes or array of Axes
        What the functions of this module return.
    path
        The files, without their endings.
    kinds
        The endings.
    dpi
        Resolution of images, in dots per inch.

    Returns
    -------
    list of Path
        The files, in the order of ``kinds``; see :func:`save`.

    Raises
    ------
    TypeError
        ``axes`` are not Axes, or ``path`` is not a path.
    ValueError
        ``path`` cannot name a file, or matplotlib does not write one of the formats.

    Examples
    --------
    >>> axes = tln.plots.effects(result)
    >>> [path.name for path in tln.plots.save_kinds(axes, "figures/effects")]
    ['effects.png', 'effects.svg']
    """
    figure, path = _figure_of(axes), expanded(path)
    files = [path.with_name(f"{path.name}.{kind}") for kind in kinds]
    for file in files:
        _check_kind(figure, file)
    with _layout_kept(figure) as keep:
        for file in files:
            _write_whole(figure, file, dpi)
            keep()  # everything is in its place after the first file
    return files


def write(figure: Figure, file: Any, kind: str, *, salt: str, dpi: int) -> None:
    """Write a figure, with text as text, into an open file.

    Parameters
    ----------
    figure
        The figure.
    file
        A path, or a file open for bytes.
    kind
        The format, as matplotlib calls it: ``"svg"``, ``"png"`` ...
    salt
        What the ids of the parts of an SVG are computed from: the same salt, the same ids.
    dpi
        Resolution of images, in dots per inch.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> tln.plots.write(tln.plots.effects(result).figure, file, "svg", salt="effects", dpi=150)
    >>> b"effect sizes of units" in file.getvalue()
    True
    """
    look = {"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": salt}
    # Without a date the same figure gives the same bytes.
    undated: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with settings(look):
        figure.savefig(file, format=kind, dpi=dpi, metadata=undated.get(kind))


def _figure_of(axes: Any) -> Figure:
    drawn = np.ravel(np.asarray(axes, dtype=object))
    if not len(drawn) or not isinstance(drawn[0], Axes):
        raise TypeError(f"Axes are needed, as the functions of plots return; got {short(axes)}")
    return root_figure(drawn[0])


def _kind_of(path: Path) -> str:
    return path.suffix.removeprefix(".").lower()


def _check_kind(figure: Figure, path: Path) -> None:
    kinds = figure.canvas.get_supported_filetypes()
    if _kind_of(path) not in kinds:
        raise ValueError(f"a figure is written as {', '.join(kinds)}; got {path.name!r}")


def _write_whole(figure: Figure, path: Path, dpi: int) -> None:
    with whole_file(path) as file:
        write(figure, file, _kind_of(path), salt=path.stem, dpi=dpi)


@contextmanager
def _layout_kept(figure: Figure) -> Iterator[Callable[[], None]]:
    """Give a function that turns the layout off, and turn it on again at the end."""
    engine = figure.get_layout_engine()
    # With these settings None means no layout; otherwise it means what the user's settings say.
    with settings({"figure.autolayout": False, "figure.constrained_layout.use": False}):
        try:
            yield lambda: figure.set_layout_engine(None)
        finally:
            figure.set_layout_engine(engine)
