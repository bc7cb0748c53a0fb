"""Test units over words: whether they tell the categories apart, or only a few frequent words.

The examples are tokens, but what was sampled from the category are words. The test here takes the
mean of a unit per word type as its datum, weighs it by its precision, and permutes the labels of
the word types.
"""

import math
import warnings
from itertools import combinations
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from .._shared import Seed, real, validated
from ..corpus import Contexts
from ..probing import ProbeResult, check_family, check_level, needs_activations
from .error_rates import check_error
from .labelings import SIDES, Asked
from .over_labelings import Rule, found_under, spread_out
from .power import cautions, shifts, smallest_p, spread_of
from .precision import weigh, word_means

ALTERNATIVES = tuple(SIDES)
#: How words are weighed: by the precision of their means, or alike.
STATISTICS = ("weighted", "pooled")
#: Fewest labelings with which a p value of 5 % exists.
FEWEST_LABELINGS = 20


@validated
def exchangeable(contexts: Contexts) -> pd.DataFrame:
    """List the word types that a test over words permutes, and the tokens merged into each.

    Parameters
    ----------
    contexts
        From :func:`tl_negation.find_contexts`.

    Returns
    -------
    DataFrame
        A row per word type, class 1 first: ``word, label, group, examples, tokens``. Types are
        merged over case and tokenisation: ``" Not"`` and ``" not"`` are one word.

    Examples
    --------
    >>> tln.exchangeable(contexts).head(3)
        word  label     group  examples     tokens
    0    n't      1  negation        36      ('t,)
    1    not      1  negation        23    ( not,)
    2  never      1  negation        12  ( never,)
    """
    table = (
        contexts.examples.groupby(["label", "group", "word"], sort=False)
        .agg(examples=("token", "size"), tokens=("token", lambda t: tuple(dict.fromkeys(t))))
        .reset_index()
        .sort_values(["label", "examples"], ascending=False, kind="stable", ignore_index=True)
    )
    return table[["word", "label", "group", "examples", "tokens"]]


@validated
def word_test(
    result: ProbeResult,
    *,
    permutations: int = 10_000,
    family: str = "all",
    alternative: str = "two-sided",
    statistic: str = "weighted",
    error: str = "fwer",
    gamma: Annotated[float, real] = 0.1,
    alpha: Annotated[float, real] = 0.05,
    seed: Seed = 0,
    progress: bool = True,
) -> ProbeResult:
    """Test every unit, and every layer's site, over word types.

    The datum is a unit's mean per word type; the null distribution comes from permuting the labels
    of the word types (in every way where there are no more than ``permutations`` labelings, in a
    random sample of the ways otherwise).

    Parameters
    ----------
    result
        With its activations (not one read from disk).
    permutations
        Labelings to draw, unless there are no more than this many in all.
    family
        The units over which the error is controlled: a name in ``tl_negation.probing.FAMILIES``.
    alternative
        ``"two-sided"``; ``"greater"``: larger activations mean class 1; ``"less"``: smaller ones
        do.
    statistic
        ``"weighted"``: the t between the classes' means over words, each word weighed by the
        precision of its mean. ``"pooled"``: every word counts alike. That test finds too much
        where one class has the rarer words.
    error
        What ``significant_words`` controls at ``alpha``. ``"fwer"``: the probability of any false
        unit (``words_p_maxt``); ``"fdx"``: the probability that more than ``gamma`` of the units
        found are false; ``"fdr"``: the expected share of false units (``words_q``).
    gamma
        Of ``"fdx"``; with 0 it is max-T in a single step.
    alpha
        Level of ``significant_words``, of a unit by itself in the table ``groups``, and of that
        table's tests.
    seed
        Of the random labelings.
    progress
        Show a progress bar.

    Returns
    -------
    ProbeResult
        With the columns ``words_t`` (infinite where the type means have one value per class),
        ``words_p`` (one unit by itself), ``words_p_maxt``, ``words_q``, ``words_icc`` and
        ``significant_words``; NaN for units that are constant over word types or not finite. The
        table ``groups`` is that of :func:`group_test` by layer and site.
        ``provenance["word_test"]`` says what was permuted, how much of the units' variance lies
        between words, what shift the test would have found, and what casts doubt on it.

    Raises
    ------
    TooFewWordsError
        (A ValueError.) A class has only one word type, so that no permutation test over words
        exists; there are fewer labelings than 20; a word has both labels.
    ValueError
        An unknown family, alternative, statistic or error; ``gamma`` is not from 0 to below 1;
        ``alpha`` is outside (0, 1); the result was read from disk.

    Warns
    -----
    UserWarning
        No p value can be as small as ``alpha`` with these words.

    Notes
    -----
    Sources: DerSimonian & Laird 1986 (the words' weights, which do not depend on the labels), Knapp
    & Hartung 2003 (the scale of t); Westfall & Young 1993, algorithm 2.8 (step-down max-T); Hemerik
    2025 (false discovery exceedance); Tusher, Tibshirani & Chu 2001 (false discovery rate, pooled
    over units); Phipson & Smyth 2010 (one is added to numerator and denominator where labelings are
    sampled; where all are enumerated the observed one is among them). The test assumes that word
    types are exchangeable between the classes under the null. Nothing repairs classes whose words
    differ in how much they vary, where there are few. A unit that passes is one from which the
    category is decodable over these words; that does not show that the model uses it.

    Examples
    --------
    >>> found = tln.word_test(result, permutations=100, progress=False)
    >>> about = found.provenance["word_test"]
    >>> about["labelings"], about["exact"], about["family"], about["error"]
    (100, False, 'all', 'fwer')
    >>> bool((found.words_p_maxt >= found.words_p).all())
    True
    >>> "groups" in found.tables
    True
    """
    check_alternative(alternative)
    check_level(alpha)
    check_family(family)
    check_error(error, gamma)
    if statistic not in STATISTICS:
        raise ValueError(f"statistic must be one of {', '.join(STATISTICS)}; got {statistic!r}")
    acts = needs_activations(result, "word_test")
    types = exchangeable(acts.contexts)
    labelings, exact = labelings_of(types, permutations, seed)
    asked = Asked(labelings.numpy().astype(np.int64), SIDES[alternative])
    means = word_means(acts.values, acts.contexts.words, tuple(types["word"]))
    units = weigh(means, equal=statistic == "pooled")
    rule = Rule(family, error, gamma, alpha)
    found = found_under(result, units, asked, rule, len(types) - 2, "word test", progress)
    smallest, spread = smallest_p(asked), spread_of(means, types, found.tested)
    about = {
        "family": family,
        "alternative": alternative,
        "statistic": statistic,
        "error": error,
        **({"gamma": gamma} if error == "fdx" else {}),
        "alpha": alpha,
        "labelings": len(labelings) - (not exact),
        "exact": exact,
        "seed": None if exact else seed,
        "smallest_p": smallest,
        "all_units": found.all_units,
        **spread,
        **shifts(types, spread["icc"], asked, found.critical, alpha),
        "word_types": {
            str(group): dict(zip(rows["word"], map(list, rows["tokens"]), strict=True))
            for group, rows in types.groupby("group", sort=False)
        },
    }
    about["cautions"] = cautions(types, about)
    if smallest > alpha:
        warnings.warn(about["cautions"][0], stacklevel=2)
    columns = found.named("words")
    columns["words_icc"] = spread_out(units.icc[found.tested], found.tested, result)
    result = result.with_columns({**result.columns, **columns}, word_test=about)
    return result.with_table("groups", found.groups)


def check_alternative(alternative: str) -> None:
    """Refuse an unknown alternative.

    Raises
    ------
    ValueError
        The alternative is not in :data:`ALTERNATIVES`.
    """
    if alternative not in ALTERNATIVES:
        raise ValueError(
            f"alternative must be one of {', '.join(ALTERNATIVES)}; got {alternative!r}"
        )


def labelings_of(
    types: pd.DataFrame, permutations: int, seed: int
) -> tuple[Float[Tensor, "permutation word"], bool]:
    """List labelings of the word types, the observed one first; say whether these are all.

    Raises
    ------
    TooFewWordsError
        See :func:`word_test`.
    """
    label = types["label"].to_numpy()
    n_types, n1 = len(label), int(label.sum())
    twice = types["word"][types["word"].duplicated()]
    if len(twice):
        raise TooFewWordsError(
            f"a word type belongs to one class in a test over words; {twice.iloc[0]!r} has both"
        )
    if min(n1, n_types - n1) < 2:
        raise TooFewWordsError(
            "a permutation test over words needs two word types in each class; got "
            f"{n1} of class 1 and {n_types - n1} of class 0: {', '.join(types['word'])}. "
            "Use a contrast with more words"
        )
    possible = math.comb(n_types, n1)
    if min(possible, permutations) < FEWEST_LABELINGS:
        raise TooFewWordsError(
            f"{min(possible, permutations)} labelings cannot give a p value of .05 (fewest: "
            f"{FEWEST_LABELINGS}); use a contrast with more words, or more permutations"
        )
    exact = possible <= permutations
    if exact:
        rows = _all_labelings(label, n1)
    else:
        rng = np.random.default_rng(seed)
        rows = np.stack([label, *(rng.permutation(label) for _ in range(permutations))])
    return torch.from_numpy(rows.astype(np.float64)), exact


def _all_labelings(label: np.ndarray, n1: int) -> np.ndarray:
    chosen = np.array(list(combinations(range(len(label)), n1)))
    rows = np.zeros((len(chosen), len(label)))
    np.put_along_axis(rows, chosen, 1, axis=1)
    observed = (rows == label).all(axis=1)
    return np.concatenate([rows[observed], rows[~observed]])


class TooFewWordsError(ValueError):
    """The examples hold too few word types, or too unequal ones, for inference over words."""
