"""Units picked in different ways, ablated on the same contexts: which of them matter."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import pandas as pd

from .._shared import Count, Seed, sequence, validated
from ..inference import head_probe
from ..models import UNIT, TransformerLensModel, check_units, places
from ..probing import ProbeResult, needs_activations
from .ablation import DRAWS, Ablation, ablations, check_draws
from .setting import PER_CLASS, make_setting

#: Units of each selection.
UNITS = 64


def check_selections(name: str, value: Any) -> None:
    """Refuse what neither lists selections nor gives their tables."""
    if not isinstance(value, Mapping):
        sequence(name, value)


#: What :func:`compare_ablations` and what builds on it take.
Selections = Annotated[Sequence[str] | Mapping[str, pd.DataFrame], check_selections]


@validated
def compare_ablations(
    model: TransformerLensModel,
    result: ProbeResult,
    *,
    n: Count = UNITS,
    selections: Selections | None = None,
    how: str = "mean",
    per_class: Count | None = PER_CLASS,
    follow: int | None = None,
    draws: int = DRAWS,
    seed: Seed = 0,
    batch_size: Count | None = None,
    keep: bool = True,
    progress: bool = True,
) -> pd.DataFrame:
    """Ablate the units that each way of testing puts first, on the same contexts.

    Parameters
    ----------
    model : HookedTransformer or TransformerBridge
        That of the result.
    result : ProbeResult
        With its activations (not one read from disk).
    n
        Units of each selection.
    selections
        Which of ``examples`` (largest Wald |z|: the notebook's test), ``words`` (largest |t| over
        word types) and ``heads`` (units of the heads that :func:`tl_negation.head_probe` scores
        best on words left out; of the last of them those with the largest likelihood ratio); all
        that the result has the columns for if not given. Or tables of units by name.
    how, per_class, follow, draws, seed, batch_size, keep, progress
        As in :func:`tl_negation.ablate`.

    Returns
    -------
    DataFrame
        ``selection``, then the columns of :attr:`tl_negation.Ablation.table`: a row per selection
        and class, and one for the difference of the classes.

    Raises
    ------
    TypeError
        Not a result; arguments of another type, named.
    ValueError
        A result without activations; a selection that is not known or that the result has not the
        columns for; ``n`` below 1 or more than half of a site of a layer; what
        :func:`tl_negation.ablate` refuses.

    Notes
    -----
    Selections share units; the p values are not corrected for their number. The units were picked
    on contexts some of which they are measured on; that makes them no better at changing the words
    that follow, which the selection never saw.
    """
    return one_table(
        ablate_selections(
            model, result, n=n, selections=selections, how=how, per_class=per_class,
            follow=follow, draws=draws, seed=seed, batch_size=batch_size, keep=keep,
            progress=progress,
        )
    )  # fmt: skip


def one_table(found: Mapping[str, Ablation]) -> pd.DataFrame:
    """Tables of several ablations under each other, the name of each in ``selection``."""
    tables = [one.table.assign(selection=name) for name, one in found.items()]
    table = pd.concat(tables, ignore_index=True)
    return table[["selection", *(name for name in table if name != "selection")]]


def ablate_selections(
    model: TransformerLensModel,
    result: ProbeResult,
    *,
    n: int,
    selections: Sequence[str] | Mapping[str, pd.DataFrame] | None,
    draws: int,
    **options: Any,
) -> dict[str, Ablation]:
    """As :func:`compare_ablations`, with all that :class:`Ablation` holds: by selection."""
    check_draws(draws)
    acts = needs_activations(result, "compare_ablations")
    tables = _tables(result, n, selections, progress=options["progress"])
    setting = make_setting(model, acts.contexts, acts, sites=(), layers=None, **options)
    chosen = {name: places(table, acts.sites, acts.layers) for name, table in tables.items()}
    return ablations(setting, chosen, draws)


def _tables(
    result: ProbeResult,
    n: int,
    selections: Sequence[str] | Mapping[str, pd.DataFrame] | None,
    *,
    progress: bool,
) -> dict[str, pd.DataFrame]:
    if isinstance(selections, Mapping):
        return {name: check_units(table) for name, table in selections.items()}
    ways: dict[str, Callable[[], pd.DataFrame]] = {"examples": lambda: _top(result, n, "z")}
    if "words_t" in result.columns:
        ways["words"] = lambda: _top(result, n, "words_t")
    if any(site.module == "attn" for site in result.sites):
        ways["heads"] = lambda: units_of_best_heads(result, n, progress=progress)
    names = tuple(ways) if selections is None else tuple(selections)
    unknown = [name for name in names if name not in ways]
    if unknown or not names:
        raise ValueError(
            f"units of this result can be selected by {', '.join(ways)} (words needs "
            f"infer(result), heads an attention site); got {', '.join(unknown) or 'none'}"
        )
    return {name: ways[name]() for name in names}


def _top(result: ProbeResult, n: int, by: str) -> pd.DataFrame:
    return result.top(n, by=by)[list(UNIT)].reset_index(drop=True)


def units_of_best_heads(result: ProbeResult, n: int, *, progress: bool = True) -> pd.DataFrame:
    """Units of the heads from which the class is best decodable on words left out.

    Of the last head that is needed, the units with the largest likelihood ratio. The heads'
    scores come from the result's table ``heads`` if it has one.
    """
    scores = result.tables.get("heads")
    if scores is None:
        scores = head_probe(needs_activations(result, "heads"), progress=progress)
    order = scores.sort_values("held_out_accuracy", ascending=False, kind="stable")
    order = order.dropna(subset="held_out_accuracy").assign(place=lambda t: np.arange(len(t)))
    frame = result.to_frame().astype({"site": str})
    units = frame.merge(order[["layer", "site", "head", "place"]], on=["layer", "site", "head"])
    units = units.sort_values(["place", "lr"], ascending=[True, False], kind="stable")
    return units[list(UNIT)].head(n).reset_index(drop=True)
