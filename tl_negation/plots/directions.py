"""How well the class is decodable along directions, beside single units, by depth."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from .._shared import instance, validated
from ..inference import Directions
from ..probing import ProbeResult, profile
from .style import (
    are_stacked,
    axes_of_sites,
    depth_area,
    depth_line,
    label_of,
    layer_ticks,
    panels_of_sites,
    root_figure,
    size_of,
    styled,
    wrapped,
)
from .tables import names_in

#: Looks of the lines in turn: colour, marker, line style. Single units have the last.
_LOOKS = (("#0072B2", "o", "-"), ("#D55E00", "s", "-"), ("#AA4499", "v", "-"))
_UNITS = ("#595959", "", "--")


@validated
def directions(
    found: Directions | Sequence[Directions],
    *,
    result: ProbeResult | None = None,
    axes: np.ndarray | None = None,
    width: float | None = None,
) -> np.ndarray:
    """Draw how well unseen words are told along directions, layer by layer, beside single units.

    Parameters
    ----------
    found : Directions, or several
        From :func:`tl_negation.layer_probe` and :func:`tl_negation.mean_difference`, of the same
        activations.
    result : ProbeResult, optional
        Of the same activations, with the column ``held_out_accuracy`` of
        :func:`tl_negation.held_out` or ``infer``: single units are drawn, too.
    axes
        As many Axes as there are sites; a new figure if not given.
    width
        Of the new figure, in inches; by default wide enough for the sites side by side.

    Returns
    -------
    array of Axes
        One for each site. A line is the accuracy on what was left out of the fit; the area of its
        colour lies between the 5 and 95 % of the same score under other labelings. The broken line
        is the mean over single units.

    Raises
    ------
    TypeError
        Something else than directions.
    ValueError
        No directions, or of different sites; a result without the column; the number of ``axes``
        is not that of the sites.

    Notes
    -----
    A direction has as many parameters as the site has units, and a single unit two: that a
    direction tells more is expected. Compare each with the area of its own colour.

    Examples
    --------
    >>> fits = [make(acts, relabelings=19, progress=False) for make in (tln.layer_probe,
    ...                                                                 tln.mean_difference)]
    >>> axes = tln.plots.directions(fits, result=result)
    >>> [ax.get_title(loc="left") for ax in axes[:2]]
    ['q (20 units)', 'k (20 units)']
    """
    several = [found] if isinstance(found, Directions) else list(found)
    for each in several:
        instance(Directions)("found", each)
    tables = [each.table for each in several]
    if not tables:
        raise ValueError("no directions to draw; layer_probe and mean_difference find some")
    sites = names_in(tables[0]["site"])
    if any(names_in(table["site"]) != sites for table in tables):
        raise ValueError(
            "directions in one figure must be of the same sites; got "
            + " and ".join(", ".join(names_in(table["site"])) for table in tables)
        )
    singles = None if result is None else _of_units(result)
    with styled():
        panels = (
            panels_of_sites(len(sites), width) if axes is None else axes_of_sites(axes, len(sites))
        )
        for ax, site in zip(panels, sites, strict=True):
            for table, look in zip(tables, _looks(len(tables)), strict=True):
                _line(ax, table[table["site"] == site], look)
            if singles is not None:
                _line(ax, singles[singles["site"] == site], _UNITS)
            units = int(tables[0].loc[tables[0]["site"] == site, "units"].iloc[0])
            ax.set_title(f"{label_of(site)} ({units:,} units)", fontsize=9)
            layer_ticks(ax)
        if axes is None:
            _describe(panels, several, singles is not None)
    return panels


def _looks(n: int) -> list[tuple[str, str, str]]:
    return [_LOOKS[i % len(_LOOKS)] for i in range(n)]


def _of_units(result: ProbeResult) -> pd.DataFrame:
    if "held_out_accuracy" not in result.columns:
        raise ValueError(
            "single units are drawn by their held_out_accuracy, which this result does not have; "
            "tl_negation.held_out or infer adds it"
        )
    return profile(result)


def _line(ax: Axes, part: pd.DataFrame, look: tuple[str, str, str]) -> None:
    colour, marker, line = look
    low, high = "null_held_out_low", "null_held_out_high"
    if {low, high} <= set(part):
        band: dict[str, Any] = {"color": colour, "alpha": 0.14, "lw": 0, "zorder": 1}
        depth_area(ax, part["layer"], 100 * part[low], 100 * part[high], **band)
    values = 100 * part["held_out_accuracy"]
    size = {"lw": 1.3, "markersize": 3.4}
    depth_line(ax, part["layer"], values, color=colour, marker=marker, ls=line, **size)


def _describe(panels: np.ndarray, found: Sequence[Directions], singles: bool) -> None:
    figure, stacked = root_figure(panels[0]), are_stacked(panels)
    by = found[0].about["by"]
    for ax in panels if stacked else panels[:1]:
        ax.set_ylabel(f"accuracy on unseen\n{by}s (%)")
    for ax in panels[-1:] if stacked else panels:
        ax.set_xlabel("layer")
    text = f"Decodable along directions, on {found[0].about['left_out']} left out of the fit"
    figure.suptitle(wrapped(text, 0.95 * size_of(panels[0])[0], 10.0), fontsize=10)
    handles: list[Any] = [
        Line2D([], [], color=colour, marker=marker, ls=line, markersize=4)
        for colour, marker, line in _looks(len(found))
    ]
    names = [each.about["method"] for each in found]
    if singles:
        handles.append(Line2D([], [], color=_UNITS[0], ls=_UNITS[2]))
        names.append("single units, mean")
    handles.append(Patch(color="#1a1a1a", alpha=0.14, lw=0))
    names.append("the same, other labelings (5 to 95 %)")
    columns = 1 if stacked or len(panels) == 1 else 2
    figure.legend(handles, names, loc="outside lower center", ncols=columns, fontsize=8)
