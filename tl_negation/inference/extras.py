"""What a scan computes beyond its default, by name.

A new extra is one entry of :data:`EXTRAS`; what scan refuses and what its help lists follow.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import pandas as pd

from .._shared import Seed, sequence, validated
from ..corpus import Contexts
from ..probing import ProbeResult, calibration_table, needs_activations, probe, profile
from .clusters import cluster_robust
from .heads import head_probe, rotate
from .heldout import document_folds, held_out
from .nulls import null_p_values
from .penalised import penalise


class Extra(NamedTuple):
    """What is computed on request.

    Attributes
    ----------
    meaning
        What it adds, in a few words.
    add
        Takes a result that holds its activations, a seed and whether to show progress bars;
        returns the result with more columns or tables.
    check
        Takes the contexts and raises where they do not allow it, before anything is computed.
    """

    meaning: str
    add: Callable[[ProbeResult, int, bool], ProbeResult]
    check: Callable[[Contexts], object] | None = None


def _heads(result: ProbeResult, _: int, progress: bool) -> ProbeResult:
    acts = needs_activations(result, "heads")
    return result.with_table("heads", head_probe(acts, progress=progress))


def _rotated(result: ProbeResult, seed: int, progress: bool) -> ProbeResult:
    turned = rotate(needs_activations(result, "rotated"), seed=seed)
    found = probe(turned, progress=progress, **result.provenance["test"])
    return result.with_table("rotated", profile(found))


def _clusters(result: ProbeResult, _: int, __: bool) -> ProbeResult:
    return cluster_robust(result)


def _blocks(result: ProbeResult, _: int, progress: bool) -> ProbeResult:
    return held_out(result, by="block", progress=progress)


def _documents(result: ProbeResult, _: int, progress: bool) -> ProbeResult:
    return held_out(result, by="document", progress=progress)


def _firth(result: ProbeResult, _: int, __: bool) -> ProbeResult:
    return penalise(result, units="all")


EXTRAS = {
    "heads": Extra("every head by all of its units together, on words left out", _heads),
    "rotated": Extra("the profile after the units of each head were rotated", _rotated),
    "clusters": Extra("standard errors that allow for words as clusters", _clusters),
    "blocks": Extra("accuracy held out by blocks of the text", _blocks),
    "documents": Extra("accuracy held out by documents", _documents, check=document_folds),
    "firth": Extra("Firth's penalised fit of all units", _firth),
}


def check_extras(names: Iterable[str], contexts: Contexts | None = None) -> tuple[str, ...]:
    """Return the names; refuse one that is unknown, or that these contexts do not allow.

    Raises
    ------
    ValueError
        An unknown name; an extra that needs other contexts (documents, where there is only one).
    TypeError
        The names are not a list.
    """
    sequence("extras", names)
    names = tuple(names)
    for name in names:
        if name not in EXTRAS:
            raise ValueError(f"extras are {', '.join(EXTRAS)}; got {name!r}")
    for check in (EXTRAS[name].check for name in names):
        if contexts is not None and check is not None:
            check(contexts)
    return names


@validated
def add_extras(
    result: ProbeResult, names: Iterable[str], *, seed: Seed = 0, progress: bool = True
) -> ProbeResult:
    """Add what is asked for by name.

    Parameters
    ----------
    result
        With its activations (not one read from disk).
    names
        Names in ``tl_negation.inference.EXTRAS``, which explains each: ``"heads"`` adds the table
        of :func:`head_probe`, ``"clusters"`` the columns of :func:`cluster_robust` ...
    seed
        Of the rotation.
    progress
        Show progress bars.

    Returns
    -------
    ProbeResult
        With the columns, and the tables in ``result.tables``.

    Raises
    ------
    TypeError
        Arguments of another type, named.
    ValueError
        An unknown name; and whatever the functions themselves refuse.

    Examples
    --------
    >>> found = tln.add_extras(result, ["heads", "clusters"], progress=False)
    >>> found.tables["heads"].shape, "cluster_p" in found.columns
    ((45, 5), True)
    """
    for name in check_extras(names):
        result = EXTRAS[name].add(result, seed, progress)
    return result


def add_calibration(result: ProbeResult, *, permutations: int, seed: int = 0) -> ProbeResult:
    """Add the table ``calibration``: how often each test rejects units that only know words.

    Returns
    -------
    ProbeResult
        With :func:`tl_negation.calibration_table` of each column of
        :func:`tl_negation.null_p_values`, its name in ``test``, as a table.

    Raises
    ------
    ValueError
        As :func:`tl_negation.null_p_values`.
    """
    p = null_p_values(result, permutations=permutations, seed=seed)
    tables = [calibration_table(p[name]).assign(test=name) for name in map(str, p)]
    return result.with_table("calibration", pd.concat(tables, ignore_index=True))
