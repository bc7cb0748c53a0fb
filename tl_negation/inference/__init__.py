"""Does the unit know the category, or only the word? Inference that allows for words.

Each function takes a :class:`~tl_negation.ProbeResult` that still holds its activations and
returns one with more columns; :func:`infer` runs those that a claim needs.
"""

from .._checks import INTEGER, SEED, STRING, takes
from .._families import check_family
from ..results import ProbeResult
from ._errors import TooFewWordsError
from .corrections import adjusted, cluster_robust
from .heads import head_probe, rotate
from .heldout import check_tasks, held_out, selectivity
from .nulls import distinct_rows, lexical_null, null_bands, null_p_values
from .penalised import penalise
from .words import check_alternative, exchangeable, word_test

__all__ = [
    "TooFewWordsError",
    "adjusted",
    "cluster_robust",
    "distinct_rows",
    "exchangeable",
    "head_probe",
    "held_out",
    "infer",
    "lexical_null",
    "null_bands",
    "null_p_values",
    "penalise",
    "rotate",
    "selectivity",
    "word_test",
]


def check_infer(*, family: str, alternative: str, tasks: int) -> None:
    """Refuse arguments of :func:`infer` before the work that leads to it.

    Raises
    ------
    ValueError
        An unknown family or alternative; no control task.
    """
    check_family(family)
    check_alternative(alternative)
    check_tasks(tasks)


@takes(
    result=ProbeResult,
    permutations=INTEGER,
    family=STRING,
    alternative=STRING,
    tasks=INTEGER,
    replicates=INTEGER,
    seed=SEED,
)
def infer(
    result: ProbeResult,
    *,
    permutations: int = 10_000,
    family: str = "all",
    alternative: str = "two-sided",
    tasks: int = 10,
    replicates: int = 20,
    seed: int = 0,
    progress: bool = True,
) -> ProbeResult:
    """Run Firth's fit, the word-type permutation test, words left out, selectivity, lexical null.

    Parameters
    ----------
    result
        With its activations (not one read from disk).
    permutations, family, alternative
        Of :func:`word_test`.
    tasks
        Control tasks of :func:`selectivity`.
    replicates
        Of :func:`lexical_null`, whose bands the profile and the figure show.
    seed
        Of all of them.
    progress
        Show progress bars.

    Returns
    -------
    ProbeResult
        With the columns of all four, and the bands of the lexical null in
        ``provenance["lexical_null"]``.

    Raises
    ------
    TooFewWordsError
        (A ValueError.) The contrast has too few words for a test over words.
    """
    result = penalise(result)
    test = {"permutations": permutations, "family": family, "alternative": alternative}
    result = word_test(result, seed=seed, progress=progress, **test)
    result = held_out(result, by="word", progress=progress)
    result = selectivity(result, tasks=tasks, seed=seed, progress=progress)
    null = null_bands(lexical_null(result, replicates=replicates, seed=seed, progress=progress))
    about = {"replicates": replicates, "seed": seed, "bands": null.to_dict(orient="list")}
    return result.with_columns(result.columns, lexical_null=about)
