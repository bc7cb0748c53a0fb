"""From how many units the category is decodable over words, by depth."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from .._shared import validated
from ..probing import ProbeResult, basis_of, level_over_words
from .style import (
    GREY,
    are_stacked,
    axes_of_sites,
    depth_area,
    depth_level,
    depth_line,
    label_of,
    layer_ticks,
    panels_of_sites,
    root_figure,
    site_style,
    size_of,
    styled,
    wrapped,
)
from .tables import check_drawable, names_in

_NEEDED = ("layer", "site", "units", "share", "share_expected", "share_high", "p_maxt", "at_least")
_BAND = "#d4d4d4"


@validated
def over_words(
    result: ProbeResult | pd.DataFrame,
    *,
    axes: np.ndarray | None = None,
    width: float | None = None,
) -> np.ndarray:
    """Draw the share of units from which the category is decodable over words, layer by layer.

    Parameters
    ----------
    result : ProbeResult or DataFrame
        A result with the table ``groups`` (of :func:`tl_negation.word_test`), or a table of
        :func:`tl_negation.group_test` by layer and site.
    axes
        As many Axes as there are sites; a new figure if not given.
    width
        Of the new figure, in inches; by default wide enough for the sites side by side. In a
        narrow figure (3.3 for a column of a paper) the sites are below each other.

    Returns
    -------
    array of Axes
        One for each site. The line is the share of units that are significant over words, each by
        itself; the grey area ends where 95 % of the labelings do, the grey line is their mean: what
        is expected of units that know words and nothing else. The coloured area is the share that
        is tuned at least, with 95 % confidence for each layer by itself. A filled mark passes the
        test over all layers and sites at once (at the level of the test; at .05 for a table).

    Raises
    ------
    TypeError
        ``result`` is neither a result nor a table.
    ValueError
        The result has no table of groups, the table lacks a column, or the number of ``axes`` is
        not that of the sites.

    Notes
    -----
    A share above the grey area says that the category is decodable from these units over the words
    of the contrast. It does not show that the model uses them. In layer 0 a unit sees the word
    alone: a share above the grey there is a fact about the embedding.

    Examples
    --------
    >>> axes = tln.plots.over_words(result)
    >>> [ax.get_title(loc="left") for ax in axes[:2]]
    ['q (20 units a layer)', 'k (20 units a layer)']
    """
    table, level, over = _table_of(result)
    check_drawable(table, _NEEDED, "the table of groups")
    sites = names_in(table["site"])
    with styled():
        panels = (
            panels_of_sites(len(sites), width) if axes is None else axes_of_sites(axes, len(sites))
        )
        for ax, site in zip(panels, sites, strict=True):
            _panel(ax, table[table["site"] == site], site, site_style(site, sites)[:2], level)
        top = 100 * float(table[["share", "share_high"]].to_numpy().max())
        for ax in panels:
            ax.set_ylim(0, min(100, max(12, 1.12 * top)))
        if axes is None:
            _describe(panels, table, level, over)
    return panels


def _table_of(source: ProbeResult | pd.DataFrame) -> tuple[pd.DataFrame, float, str]:
    """Return the groups to draw, the level at which they pass, and what was labelled anew."""
    if isinstance(source, pd.DataFrame):
        return source, 0.05, "words"
    if "groups" not in source.tables:
        raise ValueError(
            "the result has no table of groups; tl_negation.word_test, infer or scan make one"
        )
    return source.tables["groups"], level_over_words(source), basis_of(source).name


def _panel(ax: Axes, part: pd.DataFrame, site: str, look: tuple[str, str], level: float) -> None:
    colour, marker = look
    part = part.sort_values("layer")
    layer, share = part["layer"].to_numpy(), 100 * part["share"].to_numpy(float)
    depth_area(ax, layer, 0, 100 * part["share_high"], color=_BAND, lw=0)
    depth_level(ax, layer, 100 * part["share_expected"], color=GREY, lw=0.9, ls=(0, (4, 3)))
    depth_area(ax, layer, 0, 100 * part["at_least"], color=colour, alpha=0.28, lw=0)
    depth_line(ax, layer, share, color=colour, lw=1.3)
    passed = part["p_maxt"].to_numpy() <= level
    size = {"ls": "none", "marker": marker, "markersize": 4, "markeredgecolor": colour}
    ax.plot(layer[~passed], share[~passed], markerfacecolor="white", **size)
    ax.plot(layer[passed], share[passed], markerfacecolor=colour, **size)
    ax.set_title(f"{label_of(site)} ({int(part['units'].max()):,} units a layer)", fontsize=9)
    layer_ticks(ax)


def _describe(panels: np.ndarray, table: pd.DataFrame, level: float, over: str) -> None:
    figure = root_figure(panels[0])
    stacked = are_stacked(panels)
    for ax in panels if stacked else panels[:1]:
        ax.set_ylabel("units (%)")
    for ax in panels[-1:] if stacked else panels:
        ax.set_xlabel("layer")
    passed = int((table["p_maxt"] <= level).sum())
    text = f"Category decodable over {over}: {passed} of {len(table)} groups of units pass (max-T)"
    figure.suptitle(wrapped(text, 0.95 * size_of(panels[0])[0], 10.0), fontsize=10)
    mark = {"color": "#1a1a1a", "marker": "o", "markersize": 4}
    figure.legend(
        [
            Line2D([], [], **mark),
            Line2D([], [], markerfacecolor="white", **mark),
            Patch(color="#1a1a1a", alpha=0.28, lw=0),
            Patch(color=_BAND, lw=0),
            Line2D([], [], color=GREY, lw=0.9, ls=(0, (4, 3))),
        ],
        [
            f"significant over {over}; the group passes",
            "the group does not pass",
            "at least (95 %)",
            "95 % of the labelings",
            "their mean",
        ],
        loc="outside lower center",
        ncols=1 if stacked else 5 if len(panels) > 3 else 2,
        fontsize=8,
        columnspacing=1.2,
        handlelength=1.8,
    )
