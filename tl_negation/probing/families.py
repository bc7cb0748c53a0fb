"""Families of tests and the corrections over them.

A new family is one entry of :data:`FAMILIES`, a new correction one entry of :data:`CORRECTIONS`.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .._shared import validated
from ..models import Site
from .columns import p_values
from .example_tests import EXAMPLE_TESTS, example_test
from .results import ProbeResult


class Family(NamedTuple):
    """Which tests are corrected together.

    Attributes
    ----------
    meaning
        The units of one family, in words.
    key
        Layer number and site of a unit -> what the units of its family have in common.
    """

    meaning: str
    key: Callable[[int, Site], Hashable]


class Correction(NamedTuple):
    """How the p values of one family are adjusted.

    Attributes
    ----------
    name
        The correction in a sentence.
    meaning
        What it controls.
    method
        A method of statsmodels' ``multipletests``; or a function that takes the p values of one
        family, without NaN, and returns the adjusted ones.
    """

    name: str
    meaning: str
    method: str | Callable[[Float[np.ndarray, " unit"]], Float[np.ndarray, " unit"]]


def _holm(p: Float[np.ndarray, " unit"]) -> Float[np.ndarray, " unit"]:
    """Holm's step-down adjustment; statsmodels' own collects garbage, 0.2 s for every family."""
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


FAMILIES = {
    # The reference divides .05 by the 3,840 units of Q, K and V of a layer.
    "layer": Family(
        "the units of one layer, attention and MLP apart", lambda layer, site: (layer, site.module)
    ),
    "site": Family("the units of one site over all layers", lambda _, site: site.name),
    "all": Family("all units", lambda _, __: None),
}
CORRECTIONS = {
    "bonferroni": Correction("Bonferroni", "family-wise error rate", "bonferroni"),
    "holm": Correction("Holm", "family-wise error rate, step-down", _holm),
    "bh": Correction("Benjamini-Hochberg", "false discovery rate", "fdr_bh"),
    "by": Correction(
        "Benjamini-Yekutieli", "false discovery rate, whatever the tests' dependence", "fdr_by"
    ),
}


def check_test(*, test: str, alpha: float, family: str, correction: str) -> None:
    """Refuse a test that does not exist.

    Raises
    ------
    ValueError
        ``alpha`` is outside (0, 1); the test, the family or the correction is unknown.
    """
    _check_name("test", test, EXAMPLE_TESTS)
    check_level(alpha)
    check_family(family)
    check_correction(correction)


def check_level(alpha: float) -> None:
    """Refuse a level that no test can have.

    Raises
    ------
    ValueError
        ``alpha`` is outside (0, 1).
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1; got {alpha}")


def check_family(family: str) -> None:
    """Refuse an unknown family.

    Raises
    ------
    ValueError
        The family is not in :data:`FAMILIES`.
    """
    _check_name("family", family, FAMILIES)


def check_correction(correction: str) -> None:
    """Refuse an unknown correction.

    Raises
    ------
    ValueError
        The correction is not in :data:`CORRECTIONS`.
    """
    _check_name("correction", correction, CORRECTIONS)


def _check_name(argument: str, name: str, table: Mapping[str, Any]) -> None:
    if name not in table:
        raise ValueError(f"{argument} must be one of {', '.join(table)}; got {name!r}")


def family_ids(sites: Sequence[Site], n_layers: int, family: str) -> Int[np.ndarray, "layer unit"]:
    """Number the family that every unit belongs to.

    Parameters
    ----------
    sites
        The sites side by side, in order.
    n_layers
        Number of layers.
    family
        A name in :data:`FAMILIES`.

    Raises
    ------
    ValueError
        An unknown family.
    """
    check_family(family)
    key = FAMILIES[family].key
    numbers: dict[Hashable, int] = {}
    by_site = [
        [numbers.setdefault(key(layer, site), len(numbers)) for site in sites]
        for layer in range(n_layers)
    ]
    return np.repeat(np.array(by_site, dtype=np.int64), [site.width for site in sites], axis=1)


def adjust(
    p: Float[np.ndarray, "layer unit"],
    ids: Int[np.ndarray, "layer unit"],
    correction: str,
) -> Float[np.ndarray, "layer unit"]:
    """Adjust p values within each family.

    A unit without a valid test keeps its place in the size of its family (as in the reference's
    .05 / 3840) and stays NaN.

    Raises
    ------
    ValueError
        An unknown correction.
    """
    check_correction(correction)
    adjusted = np.full(p.shape, np.nan)
    filled = np.where(np.isnan(p), 1.0, p)
    for family in np.unique(ids):
        member = ids == family
        adjusted[member] = _corrected(filled[member], CORRECTIONS[correction])
    adjusted[np.isnan(p)] = np.nan
    return adjusted


def significant(
    columns: Mapping[str, Tensor],
    sites: Sequence[Site],
    n_layers: int,
    *,
    test: str,
    alpha: float,
    family: str,
    correction: str,
) -> Bool[Tensor, "layer unit"]:
    """Say which units pass a test by example; one without the test does not.

    Raises
    ------
    ValueError
        The family or the correction is unknown.
    """
    p = columns[EXAMPLE_TESTS[test].p]
    adjusted_p = adjust(p.cpu().numpy(), family_ids(sites, n_layers, family), correction)
    return torch.from_numpy(adjusted_p <= alpha).to(p.device)


def retested(result: ProbeResult, rule: Mapping[str, Any]) -> ProbeResult:
    """Decide by another test which units of a result are significant; nothing is fitted again.

    The lexical null goes with the test that it was made by, and is left out.

    Parameters
    ----------
    result
        Any result.
    rule
        ``test``, ``alpha``, ``family`` and ``correction``.
    """
    passed = significant(result.columns, result.sites, len(result.layers), **rule)
    tables = {name: table for name, table in result.tables.items() if name != "lexical_null"}
    columns = {**result.columns, "significant": passed}
    return replace(result.with_columns(columns, test=dict(rule)), tables=tables)


def _corrected(p: Float[np.ndarray, " unit"], correction: Correction) -> Float[np.ndarray, " unit"]:
    if callable(correction.method):
        return correction.method(p)
    from statsmodels.stats.multitest import multipletests

    return np.asarray(multipletests(p, method=correction.method)[1])


@validated
def adjusted(
    result: ProbeResult,
    column: str | None = None,
    *,
    family: str = "layer",
    correction: str = "bonferroni",
) -> Float[Tensor, "layer unit"]:
    """Adjust a column of p values for the number of tests.

    Parameters
    ----------
    result
        Any result.
    column
        ``lr_p``, ``p`` (Wald), ``words_p``, ``cluster_p``, ``firth_p`` ...; by default that of the
        test by which the result's units are ``significant``.
    family
        Which units are corrected together: a name in ``tl_negation.probing.FAMILIES``. With
        ``"layer"``, attention and MLP units of a layer are two families.
    correction
        A name in ``tl_negation.probing.CORRECTIONS``, such as ``"holm"`` or ``"bh"``
        (Benjamini-Hochberg).

    Returns
    -------
    Tensor
        NaN for units without a test; they keep their place in the size of the family.

    Raises
    ------
    TypeError
        Arguments of another type, named.
    ValueError
        The column does not hold p values; the family or the correction is unknown.

    Notes
    -----
    Source: statsmodels' ``multipletests``. A correction counts tests; it does not know that units
    are correlated, nor that the examples of one word are.

    Examples
    --------
    How many units are significant by example at a false discovery rate of 5 %:

    >>> p = tln.adjusted(result, family="all", correction="bh")
    >>> p.shape == result.lr_p.shape
    True
    >>> f"{int((p <= 0.05).sum())} of {p.numel()} units"
    '... of ... units'
    """
    known = p_values(result.columns)
    column = example_test(result.provenance["test"]).p if column is None else column
    if column not in known:
        raise ValueError(
            f"a column of p values is needed, one of {', '.join(known)}; got {column!r}"
        )
    p = result.columns[column]
    ids = family_ids(result.sites, len(result.layers), family)
    return torch.from_numpy(adjust(p.cpu().numpy(), ids, correction)).to(p.device)
