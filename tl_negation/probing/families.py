"""Families of tests and the corrections over them."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from statsmodels.stats.multitest import multipletests
from torch import Tensor

from .._shared import validated
from ..models import Site
from .results import ProbeResult

FAMILIES = ("layer", "site", "all")
#: our name -> statsmodels' name
CORRECTIONS = {"bonferroni": "bonferroni", "holm": "holm", "bh": "fdr_bh", "by": "fdr_by"}


def check_test(alpha: float, family: str, correction: str) -> None:
    """Refuse a test that does not exist.

    Raises
    ------
    ValueError
        ``alpha`` outside (0, 1); an unknown family or correction.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1; got {alpha}")
    check_family(family)
    if correction not in CORRECTIONS:
        raise ValueError(f"correction must be one of {', '.join(CORRECTIONS)}; got {correction!r}")


def check_family(family: str) -> None:
    """Refuse an unknown family.

    Raises
    ------
    ValueError
        Says which there are.
    """
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}; got {family!r}")


def family_ids(sites: Sequence[Site], n_layers: int, family: str) -> Int[np.ndarray, "layer unit"]:
    """Number the family that every unit belongs to.

    Parameters
    ----------
    sites
        The sites laid side by side.
    n_layers
        Number of layers.
    family
        ``"layer"``: the units of one layer and module (Q, K and V together: the reference's
        .05 / 3840; the MLP's by themselves, the residual stream's too). ``"site"``: the units of
        one site over all layers. ``"all"``: every unit.

    Raises
    ------
    ValueError
        An unknown family.
    """
    check_family(family)
    modules = sorted({site.module for site in sites})
    kinds = {"layer": [modules.index(site.module) for site in sites], "site": range(len(sites))}
    kind = kinds.get(family, [0] * len(sites))
    row = np.repeat(np.asarray(list(kind), dtype=np.int64), [site.width for site in sites])
    layer = np.arange(n_layers)[:, None] if family == "layer" else np.zeros((n_layers, 1), int)
    return layer * len(modules) + row


def adjust(
    p: Float[np.ndarray, "layer unit"],
    ids: Int[np.ndarray, "layer unit"],
    correction: str,
) -> Float[np.ndarray, "layer unit"]:
    """Adjusted p values (statsmodels ``multipletests``) within each family.

    A unit without a valid test keeps its place in the size of its family (as in the reference's
    .05 / 3840) and stays NaN.

    Raises
    ------
    ValueError
        An unknown correction.
    """
    if correction not in CORRECTIONS:
        raise ValueError(f"correction must be one of {', '.join(CORRECTIONS)}; got {correction!r}")
    adjusted = np.full(p.shape, np.nan)
    filled = np.where(np.isnan(p), 1.0, p)
    for one in np.unique(ids):
        member = ids == one
        adjusted[member] = multipletests(filled[member], method=CORRECTIONS[correction])[1]
    adjusted[np.isnan(p)] = np.nan
    return adjusted


@validated
def adjusted(
    result: ProbeResult, column: str = "p", *, family: str = "layer", correction: str = "bonferroni"
) -> Float[Tensor, "layer unit"]:
    """Adjusted p values of a column of p values (statsmodels ``multipletests``).

    Parameters
    ----------
    result
        Any result.
    column
        ``p``, ``lr_p``, ``words_p``, ``cluster_p``, ``firth_p`` ...
    family
        ``layer`` (attention and MLP units of a layer apart), ``site`` (over layers) or ``all``.
    correction
        ``bonferroni``, ``holm``, ``bh`` (Benjamini-Hochberg), ``by`` (Benjamini-Yekutieli).

    Returns
    -------
    Tensor
        NaN for units without a test; they keep their place in the size of the family.

    Raises
    ------
    ValueError
        Not a column of p values; an unknown family or correction.
    """
    known = [name for name in result.columns if name == "p" or name.endswith(("_p", "_maxt"))]
    if column not in known:
        raise ValueError(f"{column!r} is no column of p values; there are {', '.join(known)}")
    p = result.columns[column]
    ids = family_ids(result.sites, len(result.layers), family)
    return torch.from_numpy(adjust(p.cpu().numpy(), ids, correction)).to(p.device)
