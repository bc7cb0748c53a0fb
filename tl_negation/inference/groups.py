"""Ask groups of units what no unit can answer: how many of them know the category beyond the word.

With a handful of words no unit passes a family-wise test over tens of thousands. A whole layer, or
all keys of it, can: under the observed labeling of the words more of its units stand out, each
among its own labelings, than under other labelings.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from .._shared import Seed, nearest, sequence, validated
from ..probing import ProbeResult, check_level, needs_activations
from .every_labeling import reached
from .grouping import KEYS, groups_of
from .labelings import SIDES, Asked
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
        (A ValueError.) As :func:`word_test`.
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
    types = exchangeable(acts.contexts)
    labelings, _ = labelings_of(types, permutations, seed)
    means = word_means(acts.values, acts.contexts.words, tuple(types["word"]))
    units = weigh(means)
    tested = torch.isfinite(units.deviations).all(dim=1)
    numbers, table = groups_of(result, by, tested.cpu().numpy())
    asked = Asked(labelings.numpy().astype(np.int64), SIDES[alternative])
    found = reached(
        Weighted(*(part[tested] for part in units)),
        asked,
        numbers,
        np.zeros_like(numbers),
        alpha=alpha,
    )
    counts, sizes = found.counts.cpu().numpy(), np.bincount(numbers, minlength=len(table))
    if "head" not in by:
        return table.join(share_table(counts, sizes, alpha))
    chosen = WordMeans(means.means[tested], means.counts, means.within[tested])
    between = _between(chosen, numbers, asked.labelings, len(table))
    rows = share_table(counts, sizes, alpha, between)
    f = (len(types) - 2) * between[:, 0] / (1 - between[:, 0]).clip(min=0)
    return table.join(rows.assign(statistic=f))


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
    found: WordMeans, groups: np.ndarray, labelings: np.ndarray, n_groups: int
) -> Float[np.ndarray, "group labeling"]:
    """Share of the sum of squares between the classes, of all units of a group together.

    The sums of squares of a group are those of its units, added up, so a rotation of the units
    leaves them as they are.
    """
    table = torch.from_numpy(labelings.astype(np.float64)).to(found.means.device)
    rows = []
    for group in range(n_groups):
        chosen = torch.from_numpy(np.flatnonzero(groups == group)).to(found.means.device)
        part = WordMeans(found.means[chosen], found.counts, found.within[chosen])
        gram, weights = gram_of(part)
        b, total = table @ weights, weights.sum()
        between = ((table @ gram) * table).sum(dim=1) * total / (b * (total - b))
        rows.append(between / (gram.diagonal() / weights).sum())
    return torch.stack(rows).cpu().numpy()
