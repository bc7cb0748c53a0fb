"""The inference that a claim needs, in one call."""

from .._shared import Seed, validated
from ..probing import ProbeResult, check_family
from .heldout import check_tasks, held_out, selectivity
from .nulls import lexical_null, null_bands
from .penalised import penalise
from .words import check_alternative, word_test


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


@validated
def infer(
    result: ProbeResult,
    *,
    permutations: int = 10_000,
    family: str = "all",
    alternative: str = "two-sided",
    tasks: int = 10,
    replicates: int = 20,
    seed: Seed = 0,
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
