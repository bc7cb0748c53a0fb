"""Test units over words: whether they tell the categories apart, or only a few frequent words.

The examples are tokens, but what was sampled from the category are words. The test here takes the
mean of a unit per word type as its datum and permutes the labels of the word types.
"""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from .._shared import Seed, validated
from ..corpus import Contexts
from ..probing import ProbeResult, family_ids, needs_activations

ALTERNATIVES = ("two-sided", "greater", "less")
#: Fewest labelings with which a p value of 5 % exists.
FEWEST_LABELINGS = 20
#: Type means of float32 activations that differ by less than this, relatively, are equal.
ROUNDING = 1e-12
#: Elements of a [unit, permutation] block: 64 MB in float64.
BLOCK = 8_000_000


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
    alpha: float = 0.05,
    seed: Seed = 0,
    progress: bool = True,
) -> ProbeResult:
    """Test every unit over word types, family-wise error controlled by max-T.

    The datum is a unit's mean per word type; the statistic is the pooled t between the two
    classes' type means; the null distribution comes from permuting the labels of the word types
    (in every way where there are no more than ``permutations`` labelings, in a random sample of
    the ways otherwise). The p value over the family is Westfall & Young's step-down max-T.

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
    alpha
        Level of ``significant_words``.
    seed
        Of the random labelings.
    progress
        Show a progress bar.

    Returns
    -------
    ProbeResult
        With the columns ``words_t`` (infinite where the type means have one value per class),
        ``words_p`` (one unit by itself), ``words_p_maxt`` and ``significant_words``; NaN for
        units that are constant over word types or not finite. ``provenance["word_test"]`` says
        what was permuted.

    Raises
    ------
    TooFewWordsError
        (A ValueError.) A class has only one word type, so that no permutation test over words
        exists; there are fewer labelings than 20; a word has both labels.
    ValueError
        An unknown family or alternative; the result was read from disk.

    Notes
    -----
    Sources: Westfall & Young 1993, algorithm 2.8 (step-down max-T); Phipson & Smyth 2010 (one is
    added to numerator and denominator where labelings are sampled; where all are enumerated the
    observed one is among them). The test assumes that word types are exchangeable between the
    classes under the null. A unit that passes is one from which the category is decodable over
    these words; that does not show that the model uses it.

    Examples
    --------
    >>> found = tln.word_test(result, permutations=100, progress=False)
    >>> about = found.provenance["word_test"]
    >>> about["labelings"], about["exact"], about["family"]
    (100, False, 'all')
    >>> bool((found.words_p_maxt >= found.words_p).all())
    True
    """
    check_alternative(alternative)
    acts = needs_activations(result, "word_test")
    ids = family_ids(result.sites, len(result.layers), family)
    types = exchangeable(acts.contexts)
    labelings, exact = labelings_of(types, permutations, seed)
    means = type_means(acts.values, acts.contexts.words, tuple(types["word"]))
    t, p, p_maxt = _maxt(means, labelings, torch.from_numpy(ids), alternative, progress)
    columns = {
        **result.columns,
        "words_t": t,
        "words_p": p,
        "words_p_maxt": p_maxt,
        "significant_words": p_maxt <= alpha,
    }
    about = {
        "family": family,
        "alternative": alternative,
        "alpha": alpha,
        "labelings": len(labelings) - (not exact),
        "exact": exact,
        "seed": None if exact else seed,
        "word_types": {
            str(group): dict(zip(rows["word"], map(list, rows["tokens"]), strict=True))
            for group, rows in types.groupby("group", sort=False)
        },
    }
    return result.with_columns(columns, word_test=about)


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


def type_means(
    values: Float[Tensor, "layer example unit"], words: Sequence[str], types: Sequence[str]
) -> Float[Tensor, "layer unit word"]:
    """Average every unit over the examples of each word type, in float64."""
    one_hot = torch.tensor(
        [[float(word == word_type) for word in words] for word_type in types],
        dtype=torch.float64,
        device=values.device,
    )
    weights = one_hot / one_hot.sum(dim=1, keepdim=True)
    means = [weights @ layer.double() for layer in values]
    return rearrange(means, "layer word unit -> layer unit word")


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


def correlations(
    means: Float[Tensor, "unit word"], labelings: Float[Tensor, "permutation word"]
) -> Float[Tensor, "unit permutation"]:
    """Correlate every unit's type means with every labeling of the word types.

    The pooled t rises with the correlation, ``t = r sqrt((n - 2) / (1 - r^2))``, but is infinite
    for a unit that has one value per class. A unit's sum of squares does not depend on the
    labeling, so one matrix product gives all correlations. NaN for a unit whose type means are
    equal up to rounding.
    """
    n = labelings.shape[1]
    n1 = int(labelings[0].sum())
    centred = means - means.mean(dim=1, keepdim=True)
    length = centred.norm(dim=1, keepdim=True)
    constant = length <= ROUNDING * means.abs().amax(dim=1, keepdim=True)
    scaled = (centred / length * math.sqrt(1 / n1 + 1 / (n - n1))).masked_fill(constant, torch.nan)
    return scaled @ labelings.T.to(scaled)


def _t_of(r: Tensor, n: int) -> Tensor:
    rest = 1 - r.square()
    rest = torch.where(rest <= ROUNDING, 0.0, rest)  # keeps NaN
    return r * torch.sqrt((n - 2) / rest)


def _maxt(
    means: Float[Tensor, "layer unit word"],
    labelings: Float[Tensor, "permutation word"],
    ids: Int[Tensor, "layer unit"],
    alternative: str,
    progress: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    shape = means.shape[:2]
    flat = rearrange(means, "layer unit word -> (layer unit) word")
    ids = ids.flatten().to(flat.device)
    r = correlations(flat, labelings[:1]).squeeze(1)
    t = _t_of(r, labelings.shape[1])
    p = torch.full_like(t, torch.nan)
    p_maxt = torch.full_like(t, torch.nan)
    size = _sided(r, alternative)
    with tqdm(total=len(t), desc="word test", unit="unit", disable=not progress) as bar:
        for family in torch.unique(ids):
            member = ((ids == family) & ~torch.isnan(size)).nonzero().squeeze(1)
            rising = member[size[member].argsort(stable=True)]
            single, stepped = _step_down(flat[rising], size[rising], labelings, alternative, bar)
            # The observed labeling is among them: the +1 of Phipson & Smyth.
            p[rising] = single.double() / len(labelings)
            p_maxt[rising] = _never_rising(stepped.double() / len(labelings))
            bar.update(int((ids == family).sum()) - len(member))
    return t.reshape(shape), p.reshape(shape), p_maxt.reshape(shape)


def _sided(r: Tensor, alternative: str) -> Tensor:
    return {"two-sided": r.abs, "greater": r.clone, "less": r.neg}[alternative]()


def _step_down(
    means: Tensor, observed: Tensor, labelings: Tensor, alternative: str, bar: tqdm
) -> tuple[Tensor, Tensor]:
    """Count the labelings that reach the statistic of each unit, in rising order of it.

    Returns two counts: those by which the unit itself reaches it, and those by which the unit or
    any unit of a smaller statistic does (the step-down family). Blocks of units are taken from the
    smallest statistic up; ``highest`` carries the largest of the blocks before, for each labeling.
    """
    highest = torch.full((len(labelings),), -torch.inf, dtype=means.dtype, device=means.device)
    reach = observed - 100 * ROUNDING  # equal up to rounding counts
    single, stepped = [], []
    rows = max(1, BLOCK // len(labelings))
    for start in range(0, len(means), rows):
        block = slice(start, start + rows)
        size = _sided(correlations(means[block], labelings), alternative)
        single.append((size >= reach[block, None]).sum(dim=1))
        size[0] = torch.maximum(size[0], highest)
        running = size.cummax(dim=0).values
        stepped.append((running >= reach[block, None]).sum(dim=1))
        highest = running[-1]
        bar.update(len(size))
    if not single:
        empty = torch.zeros(0, dtype=torch.int64, device=means.device)
        return empty, empty
    return torch.cat(single), torch.cat(stepped)


def _never_rising(p: Tensor) -> Tensor:
    """Raise each p value to that of the units of larger statistic, which come later."""
    return p.flip(0).cummax(dim=0).values.flip(0)


class TooFewWordsError(ValueError):
    """The examples hold too few word types, or too unequal ones, for inference over words."""
