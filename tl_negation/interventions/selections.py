"""Ways of picking units to replace. A new one is one entry in :data:`SELECTIONS`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd

from .._shared import nearest, sequence
from ..inference import head_probe
from ..models import UNIT, check_units
from ..probing import ProbeResult, needs_activations


class Selection(NamedTuple):
    """A way of picking units: those that a way of testing puts first.

    Attributes
    ----------
    units
        Takes a result, the number of units and whether to show a progress bar; returns the units'
        ``layer, site, head, index``.
    meaning
        Which units these are, in plain text for help texts and docstrings.
    possible
        Whether a result has what this needs.
    needs
        What a result needs that ``possible`` turns down; empty if every result will do.
    by_head
        Whether heads are picked, so that they are compared with other heads.
    """

    units: Callable[[ProbeResult, int, bool], pd.DataFrame]
    meaning: str
    possible: Callable[[ProbeResult], bool] = lambda _: True
    needs: str = ""
    by_head: bool = False


def _largest(column: str) -> Callable[[ProbeResult, int, bool], pd.DataFrame]:
    """Build the selection of the units with the largest values, by size, in a column."""

    def units(result: ProbeResult, n: int, progress: bool) -> pd.DataFrame:  # noqa: ARG001
        return result.top(n, by=column)[UNIT].reset_index(drop=True)

    return units


def units_of_best_heads(result: ProbeResult, n: int, progress: bool = True) -> pd.DataFrame:
    """Units of the heads from which the class is best decodable on words left out.

    Of the last head that is needed, the units with the largest likelihood ratio. The heads'
    scores are those in the result's table ``heads``, or computed if it does not have one.
    """
    scores = result.tables.get("heads")
    if scores is None:
        scores = head_probe(needs_activations(result, "heads"), progress=progress)
    order = scores.sort_values("held_out_accuracy", ascending=False, kind="stable")
    order = order.dropna(subset="held_out_accuracy")
    order = order.assign(place=np.arange(len(order)))
    frame = result.to_frame().astype({"site": str})
    units = frame.merge(order[["layer", "site", "head", "place"]], on=["layer", "site", "head"])
    units = units.sort_values(["place", "lr"], ascending=[True, False], kind="stable")
    return units[UNIT].head(n).reset_index(drop=True)


#: Every way of picking units, by the name that the parameter ``selections`` takes.
SELECTIONS: dict[str, Selection] = {
    "examples": Selection(_largest("z"), "largest Wald |z|, the notebook's test"),
    "words": Selection(
        _largest("words_t"),
        "largest |t| over word types",
        lambda result: "words_t" in result.columns,
        "infer(result)",
    ),
    "heads": Selection(
        units_of_best_heads,
        "units of the heads that best predict words left out",
        lambda result: any(site.module == "attn" for site in result.sites),
        "an attention site",
        by_head=True,
    ),
}


def _check_selections(name: str, value: Any) -> None:
    """Raise TypeError unless the value lists selections or maps names to tables of units."""
    if not isinstance(value, Mapping):
        sequence(name, value)


#: What the parameter ``selections`` takes: names in :data:`SELECTIONS`, or tables of units by name.
Selections = Annotated[Sequence[str] | Mapping[str, pd.DataFrame], _check_selections]


def selected_units(
    result: ProbeResult, n: int, selections: Selections | None, *, progress: bool
) -> dict[str, pd.DataFrame]:
    """Pick ``n`` units in each of the named ways; tables of units are only checked.

    Parameters
    ----------
    result
        Whose units.
    n
        Units of each selection.
    selections
        Names in :data:`SELECTIONS`, by default all that the result has what they need for; or
        tables of units by name.
    progress
        Show a progress bar where a selection takes long.

    Raises
    ------
    TypeError
        A table that :func:`tl_negation.models.check_units` refuses.
    ValueError
        A selection that does not exist or that the result lacks something for; no selection.
    """
    if isinstance(selections, Mapping):
        return {name: check_units(table) for name, table in selections.items()}
    ways = {name: way for name, way in SELECTIONS.items() if way.possible(result)}
    names = tuple(ways) if selections is None else tuple(selections)
    unknown = [str(name) for name in names if name not in ways]
    if unknown or not names:
        needs = [f"{name} needs {way.needs}" for name, way in SELECTIONS.items() if way.needs]
        raise ValueError(
            f"units of this result can be selected by {', '.join(ways)} ({', '.join(needs)}); "
            f"got {', '.join(unknown) or 'none'}{nearest(unknown[0], ways) if unknown else ''}"
        )
    return {name: ways[name].units(result, n, progress) for name in names}


def of_heads(names: Iterable[str], selections: Selections | None) -> set[str]:
    """Which of the selections of these names picked heads; not those that are a user's tables."""
    if isinstance(selections, Mapping):
        return set()
    return {name for name in names if SELECTIONS[name].by_head}
