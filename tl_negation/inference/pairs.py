"""Test units over pairs: whether they change, one way, from the one to the other of a pair.

Minimal pairs ("The door is open." / "The door is not open.") are read at the same token, so that no
word differs there. The datum is a unit's difference within a pair, and under the null hypothesis
its sign is as likely the one as the other.
"""

import warnings
from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from .._shared import Seed, real, validated
from ..corpus import Contexts
from ..probing import ProbeResult, check_family, check_level, needs_activations
from .error_rates import check_error
from .labelings import SIDES, Asked
from .over_labelings import Rule, found_under
from .power import shifts_of, smallest_p
from .precision import ROUNDING, Weighted
from .words import FEWEST_LABELINGS, check_alternative


class TooFewPairsError(ValueError):
    """The examples hold too few pairs, or pairs that lack one of the classes."""


class Flipped(NamedTuple):
    """What changes places under the null: pairs, or the items that several pairs share.

    Attributes
    ----------
    kind
        ``"pair"`` or ``"item"``.
    names
        Of each.
    contrast
        Weights that give its difference from the examples: class 1 less class 0 in each pair, the
        mean over the pairs of an item.
    pairs
        Number of pairs.
    """

    kind: str
    names: list[str]
    contrast: Float[np.ndarray, "flipped example"]
    pairs: int


@validated
def pair_test(
    result: ProbeResult,
    *,
    permutations: int = 10_000,
    family: str = "all",
    alternative: str = "two-sided",
    error: str = "fwer",
    gamma: Annotated[float, real] = 0.1,
    alpha: Annotated[float, real] = 0.05,
    seed: Seed = 0,
    progress: bool = True,
) -> ProbeResult:
    """Test every unit, and every layer's site, over pairs of examples.

    The datum is a unit's difference within a pair, class 1 less class 0. The null distribution
    comes from flipping the signs of the differences (in every way where there are no more than
    ``permutations`` ways, in a random sample of them otherwise). Where examples carry an ``item``,
    which several pairs share, the datum is the mean over an item's pairs, and items are flipped.

    Parameters
    ----------
    result
        With its activations (not one read from disk), of examples that carry a ``pair``.
    permutations
        Flips to draw, unless there are no more than this many in all.
    family, alternative, error, gamma, alpha, seed
        As in :func:`word_test`; ``"greater"``: larger in class 1.
    progress
        Show a progress bar.

    Returns
    -------
    ProbeResult
        With ``pairs_t`` (of the differences, against 0), ``pairs_p`` (of the unit by itself),
        ``pairs_p_maxt`` (step-down max-T over the family), ``pairs_q`` (false discovery rate) and
        ``significant_pairs``; NaN for a unit that changes within no pair, or is not finite. The
        table ``groups`` is that of :func:`group_test` by layer and site, over pairs. The provenance
        ``pair_test`` says what was flipped, and the smallest shift, in SDs of the differences, that
        would have been found with probability .8.

    Raises
    ------
    TooFewPairsError
        (A ValueError.) The examples carry no pairs; a pair lacks one of the classes; there are
        fewer than 20 ways to flip the signs.
    ValueError
        An unknown family, alternative or error; ``gamma`` is not from 0 to below 1; ``alpha`` is
        outside (0, 1); the result was read from disk.

    Warns
    -----
    UserWarning
        No p value can be as small as ``alpha`` with these pairs.

    Notes
    -----
    Fisher 1935 (the signs of paired differences); Westfall & Young 1993 (step-down max-T). The test
    assumes that, without an effect, an item is as likely to differ the one way as the other. A unit
    that passes is one from which the class is decodable in these pairs; that does not show that the
    model uses it, nor that other sentences behave alike.

    Examples
    --------
    The first negation with the first affirmation, and so on: no real pairs, but they show the call.

    >>> from dataclasses import replace
    >>> few = contexts.sample(per_class=12)
    >>> pair = few.examples.groupby("label").cumcount()
    >>> few = replace(few, examples=few.examples.assign(pair=pair))
    >>> acts = tln.collect(model, few, progress=False)
    >>> found = tln.pair_test(tln.probe(acts, progress=False), progress=False)
    >>> found.provenance["pair_test"]["flipped"], found.provenance["pair_test"]["labelings"]
    ('12 pairs', 4096)
    """
    check_alternative(alternative)
    check_level(alpha)
    check_family(family)
    check_error(error, gamma)
    acts = needs_activations(result, "pair_test")
    flipped = flipped_of(acts.contexts)
    asked, exact = flips_of(len(flipped.names), permutations, seed, SIDES[alternative])
    rule = Rule(family, error, gamma, alpha)
    n = len(flipped.names)
    found = found_under(
        result, members(acts.values, flipped), asked, rule, n - 1, "pair test", progress
    )
    smallest = smallest_p(asked)
    about = {
        "family": family,
        "alternative": alternative,
        "error": error,
        **({"gamma": gamma} if error == "fdx" else {}),
        "alpha": alpha,
        "pairs": flipped.pairs,
        "flipped": f"{n} {flipped.kind}s",
        "labelings": len(asked.labelings) - (not exact),
        "exact": exact,
        "seed": None if exact else seed,
        "smallest_p": smallest,
        "all_units": found.all_units,
        **shifts_of(n - 1, float(np.sqrt(n)), asked, found.critical, alpha),
        "cautions": [],
    }
    if smallest > alpha:
        about["cautions"] = [
            f"no p value over pairs can reach {alpha:g}: the smallest that {n} {flipped.kind}s "
            f"allow is {smallest:.2g}; use more of them"
        ]
        warnings.warn(about["cautions"][0], stacklevel=2)
    columns = {**result.columns, **found.named("pairs")}
    return result.with_columns(columns, pair_test=about).with_table("groups", found.groups)


def has_pairs(contexts: Contexts) -> bool:
    """Whether the examples carry pairs."""
    return "pair" in contexts.examples


def flipped_of(contexts: Contexts) -> Flipped:
    """List what is flipped, and how its difference comes from the examples.

    Raises
    ------
    TooFewPairsError
        The examples carry no pairs; a pair lacks one of the classes, or belongs to two items.
    """
    examples = contexts.examples
    if not has_pairs(contexts):
        raise TooFewPairsError(
            "a test over pairs needs examples that carry a pair; their table has no column 'pair'"
        )
    pair_of, pairs = pd.factorize(examples["pair"].astype(str))
    labels = contexts.labels.numpy()
    sizes = np.stack([np.bincount(pair_of[labels == c], minlength=len(pairs)) for c in (0, 1)])
    alone = np.flatnonzero((sizes == 0).any(axis=0))
    if len(alone):
        lacking = contexts.contrast.groups[int(sizes[1, alone[0]] == 0)]
        raise TooFewPairsError(
            f"a pair has examples of both classes; pair {pairs[alone[0]]!r} has none of {lacking}"
        )
    signed = np.where(labels == 1, 1 / sizes[1, pair_of], -1 / sizes[0, pair_of])
    contrast = np.zeros((len(pairs), len(examples)))
    contrast[pair_of, np.arange(len(examples))] = signed
    if "item" not in examples:
        return Flipped("pair", list(map(str, pairs)), contrast, len(pairs))
    item_of, items = pd.factorize(examples["item"].astype(str))
    of_pair = pd.Series(item_of).groupby(pair_of)
    split = np.flatnonzero(of_pair.nunique().to_numpy() > 1)
    if len(split):
        raise TooFewPairsError(f"a pair belongs to one item; pair {pairs[split[0]]!r} has several")
    mean = _means(of_pair.first().to_numpy(), len(items))
    return Flipped("item", list(map(str, items)), mean @ contrast, len(pairs))


def _means(item_of_pair: Int[np.ndarray, " pair"], items: int) -> Float[np.ndarray, "item pair"]:
    """Weights of the mean over each item's pairs."""
    one_hot = (item_of_pair == np.arange(items)[:, None]).astype(np.float64)
    return one_hot / one_hot.sum(axis=1, keepdims=True)


def flips_of(n: int, permutations: int, seed: int, side: int) -> tuple[Asked, bool]:
    """List flips of the signs as labelings of the pairs' members; say whether these are all.

    Two members of each pair follow one another; the observed signs are the first labeling.

    Raises
    ------
    TooFewPairsError
        There are fewer than 20.
    """
    every = 2**n
    if min(every, permutations) < FEWEST_LABELINGS:
        raise TooFewPairsError(
            f"{min(every, permutations)} ways to flip signs cannot give a p value of .05 (fewest: "
            f"{FEWEST_LABELINGS}); use more pairs or items than {n}, or more permutations"
        )
    exact = every <= permutations
    if exact:
        kept = (np.arange(every)[::-1, None] >> np.arange(n)) & 1
    else:
        rng = np.random.default_rng(seed)
        kept = np.concatenate([np.ones((1, n), np.int64), rng.integers(0, 2, (permutations, n))])
    both = np.stack([kept, 1 - kept], axis=2).astype(np.int64)
    return Asked(rearrange(both, "labeling pair member -> labeling (pair member)"), side), exact


def members(values: Float[Tensor, "layer example unit"], flipped: Flipped) -> Weighted:
    """Make the two members of each pair, half its difference to either side, of equal weight.

    The share of the sum of squares between the members labelled 1 and 0 is then
    ``(sum of s d)^2 / (n sum of d^2)``, which rises with the square of t of the differences.
    """
    contrast = torch.from_numpy(flipped.contrast).to(values.device)
    differences, sizes = [], []
    for layer in values:
        x = layer.double()
        differences.append((contrast @ x).T)
        sizes.append((contrast.abs() @ x.abs()).amax(dim=0))
    d, size = torch.cat(differences), torch.cat(sizes)
    constant = d.abs().amax(dim=1) <= ROUNDING * size
    halves = torch.stack([d / 2, -d / 2], dim=2)
    deviations = rearrange(halves, "unit pair member -> unit (pair member)")
    deviations = deviations.masked_fill(constant[:, None], torch.nan)
    nothing = torch.full_like(size, torch.nan)  # members are no words: no variance between them
    return Weighted(deviations, torch.ones_like(deviations), nothing)
