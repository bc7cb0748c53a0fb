"""What a scan computes beyond its default, by name."""

from collections.abc import Iterable

import pandas as pd

from .._shared import Seed, sequence, validated
from ..corpus import Contexts
from ..probing import ProbeResult, calibration_table, needs_activations, probe, profile
from .clusters import cluster_robust
from .heads import head_probe, rotate
from .heldout import document_folds, held_out
from .nulls import null_p_values
from .penalised import penalise

EXTRAS = ("heads", "rotated", "clusters", "blocks", "documents", "firth")


def check_extras(names: Iterable[str], contexts: Contexts | None = None) -> tuple[str, ...]:
    """Return the names, or say which of them is none, or cannot be had from these contexts.

    Raises
    ------
    ValueError
        An unknown name; documents to be left out where there is one.
    TypeError
        No list of names.
    """
    sequence("extras", names)
    names = tuple(names)
    for name in names:
        if name not in EXTRAS:
            raise ValueError(f"extras are {', '.join(EXTRAS)}; got {name!r}")
    if contexts is not None and "documents" in names:
        document_folds(contexts)
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
        ``heads``: :func:`head_probe`, a table. ``rotated``: the profile after :func:`rotate`, a
        table. ``clusters``: :func:`cluster_robust`. ``blocks``: :func:`held_out` by blocks of the
        text. ``documents``: by documents. ``firth``: :func:`penalise` for all units.
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
    ValueError
        An unknown name; whatever the functions refuse.
    """
    for name in check_extras(names):
        result = _add(result, name, seed, progress)
    return result


def add_calibration(result: ProbeResult, *, permutations: int, seed: int = 0) -> ProbeResult:
    """Add the table ``calibration``: how often each test rejects units that only know words.

    Returns
    -------
    ProbeResult
        With :func:`tl_negation.profiles.calibration_table` of each column of
        :func:`tl_negation.null_p_values`, its name in ``test``, as a table.

    Raises
    ------
    ValueError
        As :func:`tl_negation.null_p_values`.
    """
    p = null_p_values(result, permutations=permutations, seed=seed)
    tables = [calibration_table(p[name]).assign(test=name) for name in p]
    return result.with_table("calibration", pd.concat(tables, ignore_index=True))


def _add(result: ProbeResult, name: str, seed: int, progress: bool) -> ProbeResult:
    acts = needs_activations(result, name)
    match name:
        case "heads":
            return result.with_table(name, head_probe(acts, progress=progress))
        case "rotated":
            turned = rotate(acts, seed=seed)
            turned = probe(turned, progress=progress, **result.provenance["test"])
            return result.with_table(name, profile(turned))
        case "clusters":
            return cluster_robust(result)
        case "blocks":
            return held_out(result, by="block", progress=progress)
        case "documents":
            return held_out(result, by="document", progress=progress)
    return penalise(result, units="all")
