"""The inference that a claim needs, in one call."""

from typing import Any

from .._shared import Seed, validated
from ..probing import ProbeResult, check_family
from .heldout import check_tasks, held_out, selectivity
from .nulls import lexical_null, null_bands
from .pairs import has_pairs, pair_test
from .penalised import penalise
from .words import TooFewWordsError, check_alternative, word_test


def check_infer(*, family: str, alternative: str, tasks: int) -> None:
    """Refuse arguments of :func:`infer` before the work that leads to it.

    Raises
    ------
    ValueError
        The family or the alternative is unknown; ``tasks`` is below 1.
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
    """Test over words: the inference that a claim about the category needs.

    Runs :func:`penalise`, :func:`word_test`, :func:`held_out` by word, :func:`selectivity` and
    :func:`lexical_null`.

    Parameters
    ----------
    result
        With its activations (not one read from disk).
    permutations, family, alternative
        As in :func:`word_test`.
    tasks
        Control tasks of :func:`selectivity`.
    replicates
        Replicates of :func:`lexical_null`, whose bands the profile and its figure show.
    seed
        Of everything that is drawn at random.
    progress
        Show progress bars.

    Returns
    -------
    ProbeResult
        With the columns of the first four, and in ``result.tables`` what they leave there:
        ``groups`` (the answer: how many units of each layer and site are tuned, over words),
        ``held_out_by_word``, ``held_out_null``, ``control_tasks`` and ``lexical_null`` (of
        :func:`null_bands`).

    Raises
    ------
    TooFewWordsError
        (A ValueError.) The contrast has too few words for a test over words.
    ValueError
        The result was read from disk; and whatever the functions themselves refuse.

    Notes
    -----
    A unit that passes is one from which the category is decodable over these words. That does not
    show that the model uses it: see :func:`tl_negation.ablate`.

    Examples
    --------
    >>> plain = tln.probe(acts, progress=False)
    >>> found = tln.infer(plain, permutations=100, tasks=2, replicates=2, progress=False)
    >>> sorted(set(found.columns) - set(plain.columns))[:4]
    ['control_accuracy', 'firth_accuracy', 'firth_balanced_accuracy', 'firth_beta']
    >>> list(found.tables)
    ['groups', 'held_out_by_word', 'held_out_null', 'control_tasks', 'lexical_null']
    """
    result = penalise(result)
    test = {"permutations": permutations, "family": family, "alternative": alternative}
    result = _tested(result, {**test, "seed": seed, "progress": progress})
    result = held_out(result, by="word", progress=progress)
    result = selectivity(result, tasks=tasks, seed=seed, progress=progress)
    null = lexical_null(result, replicates=replicates, seed=seed, progress=progress)
    about = {"replicates": replicates, "seed": seed}
    result = result.with_columns(result.columns, lexical_null=about)
    return result.with_table("lexical_null", null_bands(null))


def _tested(result: ProbeResult, test: dict[str, Any]) -> ProbeResult:
    """Test over words; where the examples carry pairs over these, and over words if they allow it.

    The table ``groups`` is then that of the pairs.
    """
    if not has_pairs(result.contexts):
        return word_test(result, **test)
    try:
        result = word_test(result, **test)
    except TooFewWordsError as error:
        result = result.with_columns(result.columns, words_left_out=str(error))
    return pair_test(result, **test)
