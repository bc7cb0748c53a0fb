"""Ask groups of units what no unit can answer: how many of them know the category beyond the word.

With a handful of words no unit passes a family-wise test over tens of thousands. A whole layer, or
all keys of it, can: under the observed labeling of the words more of its units stand out, each
among its own labelings, than under other labelings.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .._shared import Seed, nearest, sequence, validated
from ..activations import Activations
from ..probing import ProbeResult, check_level, needs_activations
from .every_labeling import reached
from .grouping import KEYS, groups_of
from .labelings import SIDES, Asked
from .pairs import flipped_of, flips_of, has_pairs, members
from .precision import Weighted, WordMeans, gram_of, weigh, word_means
from .shares import share_table
from .words import check_alternative, exchangeable, labelings_of


@validated
def group_test(
    result: ProbeResult,
    by: Sequence[str] = ("layer", "site"),
    *,
    permutations: int = 10_000,
    alternative: str = "two-sided",
    alpha: float = 0.05,
    seed: Seed = 0,
) -> pd.DataFrame:
    """Test groups of units over word types, and bound the share of their units that is tuned.

    Where the examples carry pairs, over pairs: see :func:`pair_test`.

    Parameters
    ----------
    result
        With its activations (not one read from disk).
    by
        What the units of a group have in common: any of layer, site, head and module; nothing at
        all: one group of all units.
    permutations
        Labelings to draw, unless there are no more than this many in all.
    alternative
        As in :func:`word_test`.
    alpha
        Level of a unit by itself, of the groups' tests and of the bounds.
    seed
        Of the random labelings.

    Returns
    -------
    DataFrame
        A row per group, with the columns of ``by`` and:

        - ``units``: units of the group that can be tested (not constant over words);
        - ``share``: of them, significant at ``alpha``, each among its own labelings;
        - ``share_expected``, ``share_high``: mean and 95th percentile of the same share over all
          labelings, each taken for the observed one;
        - ``statistic``: what is tested: the number of units in ``share``; for heads a pseudo-F on
          the Gram matrix of their word means, which does not depend on the basis;
        - ``p``: labelings that reach it, as a share; ``p_maxt``: the same over all groups asked at
          once (max-T of the statistics, standardised over labelings);
        - ``at_least``: lower confidence bound (``1 - alpha``) of the share of units that are tuned,
          for this group by itself; ``at_least_all``: the same for all groups at once.

    Raises
    ------
    TooFewWordsError
        (A ValueError.) As :func:`word_test`; TooFewPairsError as :func:`pair_test`.
    ValueError
        An unknown key or alternative; ``alpha`` is outside (0, 1); the result was read from disk.

    Notes
    -----
    The statistic of a unit weighs words by their precision (random effects, DerSimonian & Laird
    1986). The bound is that of significance analysis of microarrays (Hemerik & Goeman 2018): the
    observed count less the ``1 - alpha`` quantile of the counts over the labelings. A group that
    passes holds units from which the category is decodable over these words; that does not show
    that the model uses them.

    Examples
    --------
    >>> found = tln.group_test(result, permutations=200)
    >>> list(found)[:6]
    ['layer', 'site', 'units', 'share', 'share_expected', 'share_high']
    >>> bool((found["p_maxt"] >= found["p"]).all())
    True
    """
    check_alternative(alternative)
    check_level(alpha)
    by = _checked_keys(by)
    acts = needs_activations(result, "group_test")
    over = _pairs if has_pairs(acts.contexts) else _words
    design = over(acts, permutations, SIDES[alternative], seed)
    tested = torch.isfinite(design.units.deviations).all(dim=1)
    numbers, table = groups_of(result, by, tested.cpu().numpy())
    some = Weighted(*(part[tested] for part in design.units))
    found = reached(some, design.asked, numbers, np.zeros_like(numbers), alpha=alpha)
    counts, sizes = found.counts.cpu().numpy(), np.bincount(numbers, minlength=len(table))
    if "head" not in by:
        return table.join(share_table(counts, sizes, alpha))
    between = _between(design, tested.nonzero().squeeze(1), numbers, len(table))
    rows = share_table(counts, sizes, alpha, between)
    f = design.freedom * between[:, 0] / (1 - between[:, 0]).clip(min=0)
    return table.join(rows.assign(statistic=f))


class _Design(NamedTuple):
    """What is labelled, how, and the Gram matrix of some units with the weights they share."""

    units: Weighted
    asked: Asked
    freedom: int
    gram: Callable[[Tensor], tuple[Tensor, Tensor]]


def _words(acts: Activations, permutations: int, side: int, seed: int) -> _Design:
    types = exchangeable(acts.contexts)
    labelings, _ = labelings_of(types, permutations, seed)
    means = word_means(acts.values, acts.contexts.words, tuple(types["word"]))

    def gram(units: Tensor) -> tuple[Tensor, Tensor]:
        return gram_of(WordMeans(means.means[units], means.counts, means.within[units]))

    asked = Asked(labelings.numpy().astype(np.int64), side)
    return _Design(weigh(means), asked, len(types) - 2, gram)


def _pairs(acts: Activations, permutations: int, side: int, seed: int) -> _Design:
    flipped = flipped_of(acts.contexts)
    n = len(flipped.names)
    units = members(acts.values, flipped)

    def gram(some: Tensor) -> tuple[Tensor, Tensor]:
        return units.deviations[some].T @ units.deviations[some], units.weights[0]

    return _Design(units, flips_of(n, permutations, seed, side)[0], n - 1, gram)


def _checked_keys(by: Sequence[str]) -> list[str]:
    sequence("by", by)
    keys = list(by)
    for name in keys:
        if name not in KEYS:
            raise ValueError(
                f"units are grouped by any of {', '.join(KEYS)}; got {name!r}{nearest(name, KEYS)}"
            )
    if len(set(keys)) < len(keys):
        raise ValueError(f"units are grouped by different keys; got {', '.join(keys)}")
    return keys


def _between(
    design: _Design,
    tested: Int[Tensor, " tested"],
    groups: Int[np.ndarray, " tested"],
    n_groups: int,
) -> Float[np.ndarray, "group labeling"]:
    """Share of the sum of squares between the classes, of all units of a group together.

    The sums of squares of a group are those of its units, added up, so a rotation of the units
    leaves them as they are.
    """
    table = torch.from_numpy(design.asked.labelings.astype(np.float64)).to(tested.device)
    rows = []
    for group in range(n_groups):
        chosen = torch.from_numpy(np.flatnonzero(groups == group)).to(tested.device)
        gram, weights = design.gram(tested[chosen])
        b, total = table @ weights, weights.sum()
        between = ((table @ gram) * table).sum(dim=1) * total / (b * (total - b))
        rows.append(between / (gram.diagonal() / weights).sum())
    return torch.stack(rows).cpu().numpy()
