"""Units picked in different ways, ablated on the same contexts: which of them matter."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from .._shared import Count, Seed, lists, validated
from ..models import TransformerLensModel, places
from ..probing import ProbeResult, needs_activations
from .ablation import DRAWS, Ablation, ablations, check_draws
from .replacements import How
from .selections import SELECTIONS, Selections, of_heads, selected_units
from .setting import PER_CLASS, make_setting

#: Units of each selection.
UNITS = 64


@lists(selections=SELECTIONS)
@validated
def compare_ablations(
    model: TransformerLensModel,
    result: ProbeResult,
    *,
    n: Count = UNITS,
    selections: Selections | None = None,
    how: How = "mean",
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
        The model of the result.
    result : ProbeResult
        With its activations (not read from disk).
    n
        Units of each selection.
    selections
        Names of selections, or tables of units by name. If not given, all of these that the result
        has what they need for:

        {selections}
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
        A result without activations; a selection that does not exist or that the result lacks
        something for; ``n`` below 1; what :func:`tl_negation.ablate` refuses.

    Notes
    -----
    ``words`` needs the columns of :func:`tl_negation.infer`. For ``heads``,
    :func:`tl_negation.head_probe` scores the heads; of the last head that is needed, the units with
    the largest likelihood ratio are taken. Selections share units, and the p values are not
    corrected for their number. The units were picked on contexts some of which they are measured
    on; that makes them no better at changing the words that follow, which the selection never saw.

    Examples
    --------
    >>> few = {"n": 5, "per_class": 6, "draws": 19, "progress": False}
    >>> table = tln.compare_ablations(model, result, selections=("examples", "words"), **few)
    >>> table[["selection", "class", "effect", "p"]].round(2).iloc[:4]
      selection                       class  effect     p
    0  examples                    negation    0.02  0.50
    1  examples                 affirmation    0.04  0.50
    2  examples  negation minus affirmation   -0.03  0.80
    3     words                    negation   -0.03  0.45
    """
    found = ablate_selections(
        model, result, n=n, selections=selections, how=how, per_class=per_class, follow=follow,
        draws=draws, seed=seed, batch_size=batch_size, keep=keep, progress=progress,
    )  # fmt: skip
    return one_table(found)


def one_table(found: Mapping[str, Ablation]) -> pd.DataFrame:
    """Tables of several ablations under each other, the name of each in ``selection``."""
    tables = [ablation.table.assign(selection=name) for name, ablation in found.items()]
    table = pd.concat(tables, ignore_index=True)
    return table[["selection", *(name for name in table if name != "selection")]]


def ablate_selections(
    model: TransformerLensModel,
    result: ProbeResult,
    *,
    n: int,
    selections: Selections | None,
    draws: int,
    **options: Any,
) -> dict[str, Ablation]:
    """Run :func:`compare_ablations`, and return everything that an Ablation holds: by selection."""
    check_draws(draws)
    acts = needs_activations(result, "compare_ablations")
    tables = selected_units(result, n, selections, progress=options["progress"])
    setting = make_setting(model, acts.contexts, acts, sites=(), layers=None, **options)
    chosen = {name: places(table, acts.sites, acts.layers) for name, table in tables.items()}
    return ablations(setting, chosen, draws, by_head=of_heads(tables, selections))
