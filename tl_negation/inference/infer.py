"""The inference that a claim needs, in one call."""

from typing import Any

from .._shared import Seed, validated
from ..probing import ProbeResult, check_family
from .heldout import check_tasks, held_out, selectivity
from .nulls import lexical_null, null_bands
from .pairs import TooFewPairsError, has_pairs, pair_test
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
    """Test over words, or over pairs: the inference that a claim about the category needs.

    Runs :func:`penalise`, :func:`word_test`, :func:`held_out` by word, :func:`selectivity` and
    :func:`lexical_null`. Of examples that carry pairs it runs :func:`pair_test` and
    :func:`held_out` by pair (by item, where they carry items), and the tests over words only if
    the words allow them.

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
        ``groups`` (the answer: how many units of each layer and site are tuned, over words, or
        over pairs where there are any), ``held_out_by_word``, ``held_out_null``,
        ``control_tasks`` and ``lexical_null`` (of :func:`null_bands`). Why a part was left out is
        in ``result.provenance``, under ``words_left_out`` or ``pairs_left_out``.

    Raises
    ------
    TooFewWordsError
        (A ValueError.) The examples have too few words for a test over words, and no pairs, or
        too few of them.
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
    test |= {"seed": seed, "progress": progress}
    left_out = {}
    try:
        result = _over_words(result, test, tasks, replicates)
    except TooFewWordsError as error:
        if not has_pairs(result.contexts):
            raise
        left_out["words_left_out"] = str(error)
    if has_pairs(result.contexts):
        try:
            result = _over_pairs(result, test)
        except TooFewPairsError as error:
            if left_out:
                raise TooFewWordsError(f"{error}; and {left_out['words_left_out']}") from error
            left_out["pairs_left_out"] = str(error)
    return result.with_columns(result.columns, **left_out)


def _over_words(
    result: ProbeResult, test: dict[str, Any], tasks: int, replicates: int
) -> ProbeResult:
    """Everything that permutes, leaves out or relabels words."""
    drawn = {name: test[name] for name in ("seed", "progress")}
    result = word_test(result, **test)
    result = held_out(result, by="word", progress=test["progress"])
    result = selectivity(result, tasks=tasks, **drawn)
    null = lexical_null(result, replicates=replicates, **drawn)
    about = {"replicates": replicates, "seed": test["seed"]}
    result = result.with_columns(result.columns, lexical_null=about)
    return result.with_table("lexical_null", null_bands(null))


def _over_pairs(result: ProbeResult, test: dict[str, Any]) -> ProbeResult:
    """Everything that flips pairs or leaves them out; ``groups`` is then the table of pairs."""
    result = pair_test(result, **test)
    by = "item" if "item" in result.contexts.examples else "pair"
    return held_out(result, by=by, progress=test["progress"])
