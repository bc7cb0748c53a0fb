"""What a row of the table of units opens: the unit by word, and how to see any other."""

from typing import NamedTuple

import pandas as pd
from markupsafe import Markup

from .. import plots
from ..models import UNIT, head_number, numbered, unit_name
from ..probing import ProbeResult
from .figures import FIGURE_INCHES, inline_svg
from .picture import Picture, drawn

#: Units of the table that are drawn, if the result still holds activations.
DRAWN = 6


class UnitRow(NamedTuple):
    """What one row opens.

    Attributes
    ----------
    svg
        The unit by word; None where it is not drawn.
    call, text_call
        What draws it by word, and shows it in text.
    layer, in_text
        Where the page's own heat maps have it: its layer, and its name there, empty if they do not.
    """

    svg: Markup | None
    call: str
    text_call: str
    layer: int
    in_text: str


def unit_rows(result: ProbeResult, top: pd.DataFrame) -> list[UnitRow]:
    """Say for each row of the table what it opens."""
    display = result.display
    known = set() if display is None else set(_addresses(display))
    rows = top[UNIT].to_dict("records")
    return [
        _row(result, row, number, address in known)
        for number, (row, address) in enumerate(zip(rows, _addresses(top), strict=True))
    ]


def _addresses(units: pd.DataFrame) -> list[tuple[str, ...]]:
    """Name every unit in a way that can be compared."""
    return list(map(tuple, numbered(units)[UNIT].astype(str).to_numpy()))


def _row(result: ProbeResult, unit: dict, number: int, in_text: bool) -> UnitRow:
    layer, site, index = (unit[name] for name in ("layer", "site", "index"))
    head = head_number(unit["head"])
    address = f'({layer}, "{site}", {head}, {index})'
    name = unit_name(str(site), head, int(index))
    svg = None
    if number < DRAWN and result.activations is not None:
        title = f"Layer {layer}, {name}"
        caption = "Each mark is a context, by word and class."
        picture = Picture(f"row-{number}", title, caption, drawn(plots.unit, result, unit))
        svg = inline_svg(picture, FIGURE_INCHES)
    of_head = f" and head == {head}" if unit["head"] is not pd.NA else ""
    where = f"layer == {layer} and site == '{site}'{of_head} and index == {index}"
    chosen = f'result.select("{where}")'
    text_call = f"tln.views.text_heatmap(model, contexts, {chosen})"
    call = f"tln.plots.unit(result, {address})"
    return UnitRow(svg, call, text_call, int(layer), name if in_text else "")
