"""Both kinds of intervention beside the columns and tables of a result."""

import numpy as np
import torch

from .._shared import Count, Seed, validated
from ..models import TransformerLensModel
from ..probing import ESTIMATE_COLUMNS, ProbeResult
from .ablation import DRAWS
from .attribution import CHECKED, attribute
from .comparison import UNITS, ablate_selections, one_table
from .replacements import How
from .selections import Selections
from .setting import PER_CLASS


@validated
def add_effects(
    model: TransformerLensModel,
    result: ProbeResult,
    *,
    n: Count = UNITS,
    selections: Selections | None = None,
    how: How = "mean",
    per_class: Count | None = PER_CLASS,
    follow: int | None = None,
    draws: int = DRAWS,
    checked: int = CHECKED,
    seed: Seed = 0,
    batch_size: Count | None = None,
    keep: bool = True,
    progress: bool = True,
) -> ProbeResult:
    """Add to a result what its units do: ablations of selections, and every unit's estimate.

    Parameters
    ----------
    model, result, n, selections, how, per_class, follow, draws, seed, batch_size, keep, progress
        As in :func:`tl_negation.compare_ablations`.
    checked
        As in :func:`tl_negation.attribute`.

    Returns
    -------
    ProbeResult
        With the tables ``ablation`` (of :func:`tl_negation.compare_ablations`) and ``attribution``
        (the checked units of :func:`tl_negation.attribute`), the columns ``attribution_1`` and
        ``attribution_0`` (estimated change in nats, in contexts of the first and of the second
        class), and how they were made in ``provenance["interventions"]``.

    Raises
    ------
    TypeError, ValueError
        As :func:`tl_negation.compare_ablations` and :func:`tl_negation.attribute`.

    Notes
    -----
    What the numbers do not show is said in :func:`tl_negation.ablate` and
    :func:`tl_negation.attribute`: a set that the model needs may serve anything, and an estimate
    is of first order.

    Examples
    --------
    >>> few = {"n": 5, "per_class": 6, "draws": 19, "checked": 8, "progress": False}
    >>> result = tln.add_effects(model, result, selections=("examples", "words"), **few)
    >>> result.tables["ablation"].groupby("selection")["units"].first().to_dict()
    {'examples': 5, 'words': 5}
    >>> result.attribution_1.shape == result.z.shape  # an estimate for every unit
    True
    """
    options = {
        "how": how, "per_class": per_class, "follow": follow, "seed": seed,
        "batch_size": batch_size, "keep": keep, "progress": progress,
    }  # fmt: skip
    found = ablate_selections(model, result, n=n, selections=selections, draws=draws, **options)
    gradient = attribute(
        model, result.contexts, acts=result.activations, checked=checked, **options
    )
    shape = tuple(result.columns["status"].shape)
    estimates = {
        name: torch.from_numpy(gradient.table[f"estimate_{label}"].to_numpy(np.float64, copy=True))
        for name, label in zip(ESTIMATE_COLUMNS, (1, 0), strict=True)
    }
    columns = {name: column.reshape(shape) for name, column in estimates.items()}
    ratios = {name: ablation.about["variance_ratio"] for name, ablation in found.items()}
    about = {**gradient.about, "draws": draws, "variance_ratio": ratios}
    result = result.with_columns({**result.columns, **columns}, interventions=about)
    return result.with_table("ablation", one_table(found)).with_table(
        "attribution", gradient.checked
    )
