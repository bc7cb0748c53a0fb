"""Ask groups of units what no unit can answer: how many of them know the category beyond the word.

With a handful of words no unit passes a family-wise test over tens of thousands. A whole layer, or
all keys of it, can: under the observed labeling of the words more of its units stand out, each
among its own labelings, than under other labelings.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int

from .._shared import Seed, nearest, validated
from ..models import table_of
from ..probing import ProbeResult, needs_activations
from .precision import Weighted, WordMeans, gram_of, weigh, word_means
from .relabelling import reached
from .words import check_alternative, exchangeable, labelings_of

#: What units may be grouped by.
KEYS = ("layer", "site", "head", "module")


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
          for all groups at once; ``at_least_alone``: for this group by itself.

    Raises
    ------
    TooFewWordsError
        (A ValueError.) As :func:`word_test`.
    ValueError
        An unknown key or alternative; the result was read from disk.

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
    for name in by:
        if name not in KEYS:
            raise ValueError(
                f"units are grouped by any of {', '.join(KEYS)}; got {name!r}{nearest(name, KEYS)}"
            )
    acts = needs_activations(result, "group_test")
    types = exchangeable(acts.contexts)
    labelings, _ = labelings_of(types, permutations, seed)
    labelings = labelings.numpy().astype(np.int64)
    means = word_means(acts.values, acts.contexts.words, tuple(types["word"]))
    units = weigh(means)
    tested = torch.isfinite(units.deviations).all(dim=1).cpu().numpy()
    keys = _keys(result, by)
    numbers, table = _groups_of(keys[tested].reset_index(drop=True), list(by))
    rows = torch.from_numpy(tested).to(means.means.device)
    kept = Weighted(*(part[rows] for part in units))
    found = reached(kept, labelings, numbers, alpha=alpha, alternative=alternative)
    counts = found.counts.cpu().numpy()
    size = np.bincount(numbers, minlength=len(table))
    statistic = counts.astype(float)
    if "head" in by:
        chosen = WordMeans(means.means[rows], means.counts, means.within[rows])
        statistic = _pseudo_f(chosen, numbers, labelings, len(table))
    table = table.assign(
        units=size,
        share=counts[:, 0] / size,
        share_expected=counts.mean(axis=1) / size,
        share_high=np.quantile(counts, 0.95, axis=1) / size,
        statistic=statistic[:, 0],
        p=(statistic >= _reach(statistic)).mean(axis=1),
        p_maxt=_maxt(statistic),
    )
    alone, together = _at_least(counts, alpha)
    return table.assign(at_least=together / size, at_least_alone=alone / size)


def _keys(result: ProbeResult, by: Sequence[str]) -> pd.DataFrame:
    where = table_of(np.arange(result.status.numel()), result.sites, result.layers)
    modules = {site.name: site.module for site in result.sites}
    return where.assign(module=where["site"].map(modules))[list(by)]


def _groups_of(keys: pd.DataFrame, by: list[str]) -> tuple[Int[np.ndarray, " unit"], pd.DataFrame]:
    """Number of each unit's group, and a row per group in the order in which they first occur."""
    if not by:
        return np.zeros(len(keys), np.int64), pd.DataFrame(index=[0] if len(keys) else [])
    grouped = keys.groupby(by, sort=False, observed=True)
    return grouped.ngroup().to_numpy(), keys.drop_duplicates(by).reset_index(drop=True)


def _pseudo_f(
    found: WordMeans, groups: np.ndarray, labelings: np.ndarray, n_groups: int
) -> Float[np.ndarray, "group labeling"]:
    """Between over within the classes, of all units of a group together.

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
        squares = (gram.diagonal() / weights).sum()
        rows.append((len(labelings[0]) - 2) * between / (squares - between).clamp(min=0))
    return torch.stack(rows).cpu().numpy()


def _reach(statistic: np.ndarray) -> np.ndarray:
    observed = statistic[:, :1]
    return observed - 1e-9 * np.abs(observed)


def _maxt(statistic: Float[np.ndarray, "group labeling"]) -> Float[np.ndarray, " group"]:
    """Share of the labelings under which any group stands out as much, in SDs of its own."""
    spread = statistic.std(axis=1, keepdims=True)
    z = (statistic - statistic.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
    largest = z.max(axis=0)
    return (largest >= _reach(z)).mean(axis=1)


def _at_least(
    counts: Int[np.ndarray, "group labeling"], alpha: float
) -> tuple[Float[np.ndarray, " group"], Float[np.ndarray, " group"]]:
    """Lower bounds of the number of tuned units: by group, and for all groups at once."""
    observed = counts[:, 0]
    alone = observed - _quantile(counts, 1 - alpha)
    mean, spread = counts.mean(axis=1, keepdims=True), counts.std(axis=1, keepdims=True)
    z = (counts - mean) / np.where(spread > 0, spread, 1)
    together = observed - (mean + _quantile(z.max(axis=0)[None], 1 - alpha)[:, None] * spread)[:, 0]
    return np.maximum(alone, 0), np.maximum(together, 0)


def _quantile(values: np.ndarray, level: float) -> np.ndarray:
    """Smallest value that at least this share does not exceed."""
    return np.quantile(values, level, axis=1, method="inverted_cdf")
