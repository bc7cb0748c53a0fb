"""Random sets of units or of heads that might have been chosen instead of the ones that were.

A set is compared with sets drawn from everything that it could have been drawn from, itself
included: if the choice has nothing to do with the effects, the chosen set is as likely as any other
to have the largest. Sets drawn from the units that were not chosen do not do: half of a site has
only one other half, so all of them are alike and the chosen one differs.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from math import comb, factorial, prod
from typing import NamedTuple

import numpy as np
from einops import rearrange
from jaxtyping import Bool, Float, Int

from ..activations import Activations
from ..models import Site, site_slices

#: Fewest units of a stratum, if the site has as many: of fewer, one chosen unit could not reach a p
#: of .05. Tenths of a site of 1,536 units were too wide: where choice and effects both followed the
#: variance, 11 % of the sets passed at .05, with strata of 20 units 5 to 6 %.
STRATUM = 20
#: Largest share of a site in a layer that may be chosen: the largest that was simulated.
LARGEST_SHARE = 5 / 6


class Draw(NamedTuple):
    """Where random sets are drawn.

    Attributes
    ----------
    variance : Float[np.ndarray, "unit"]
        Of all units, all layers end to end.
    sites, layers
        Whose units these are, in the order in which they lie.
    by_head
        Move what was chosen of a head to another head, wherever there are several. Done in any
        case in a site of a layer in which whole heads were chosen.
    """

    variance: np.ndarray
    sites: Sequence[Site]
    layers: Sequence[int]
    by_head: bool = False


class _Part(NamedTuple):
    """What was chosen of one site in one layer."""

    columns: Int[np.ndarray, " of_chosen"]  # in the chosen set
    start: int  # position of the site's first unit
    mask: Bool[np.ndarray, " unit"]  # of the site
    heads: int  # 1 if units are drawn by themselves
    strata: list[np.ndarray]  # units of the site


def variances(acts: Activations) -> Float[np.ndarray, " unit"]:
    """Variance of every unit over the contexts, all layers end to end; in float64."""
    return np.concatenate([layer.double().var(dim=0).cpu().numpy() for layer in acts.values])


def matched_sets(
    chosen: Int[np.ndarray, " chosen"], among: Draw, draws: int, rng: np.random.Generator
) -> Int[np.ndarray, "draw chosen"]:
    """Draw sets that might have been chosen instead, the chosen one being one of them.

    Parameters
    ----------
    chosen
        Positions of the chosen units.
    among
        Where to draw, and whether heads are kept together.
    draws
        How many sets. If there are no more than these, all but the chosen one are returned, each
        once.
    rng
        Their randomness.

    Returns
    -------
    Int[np.ndarray, "draw chosen"]
        The units of a site in a layer are sorted by variance and cut into strata of 20 to 39; a
        random set has as many units of every stratum as the chosen one, each subset being equally
        likely. Where heads are kept together, a random set has whole heads where the chosen one
        has them, and of a head of which some units were chosen as many of another; variance is
        then not considered.

    Raises
    ------
    ValueError
        More than five sixths of a site in a layer are chosen, or there is no other set.
    """
    parts = list(_parts(chosen, among))
    sets = prod(_count(part) for part in parts)
    if sets == 1 and len(chosen):
        raise ValueError(
            f"random sets have as many units of every layer, site and stratum of variance as the "
            f"{len(chosen)} chosen ones, but these are all of their strata, so that there is no "
            f"other set: choose fewer units of a site in a layer, or others"
        )
    if not 1 < sets <= draws + 1:
        return _random_sets(parts, len(chosen), draws, rng)
    found = {tuple(sorted(chosen.tolist()))}
    own = next(iter(found))
    while len(found) < sets:
        found |= {tuple(row) for row in np.sort(_random_sets(parts, len(chosen), draws, rng))}
    return np.array(sorted(found - {own}), dtype=np.int64)


def _random_sets(
    parts: Sequence[_Part], units: int, draws: int, rng: np.random.Generator
) -> Int[np.ndarray, "draw chosen"]:
    sets = np.empty((draws, units), dtype=np.int64)
    for part in parts:
        drawn = _heads(part, draws, rng) if part.heads > 1 else _units(part, draws, rng)
        sets[:, part.columns] = part.start + np.nonzero(drawn)[1].reshape(draws, -1)
    return sets


def _units(part: _Part, draws: int, rng: np.random.Generator) -> Bool[np.ndarray, "draw unit"]:
    drawn = np.zeros((draws, len(part.mask)), dtype=bool)
    for stratum in part.strata:
        if n := int(part.mask[stratum].sum()):
            order = rng.random((draws, len(stratum))).argsort(axis=1)[:, :n]
            np.put_along_axis(drawn, stratum[order], True, axis=1)
    return drawn


def _heads(part: _Part, draws: int, rng: np.random.Generator) -> Bool[np.ndarray, "draw unit"]:
    counts = _of_heads(part)
    dealt = rng.permuted(np.tile(counts, (draws, 1)), axis=1)
    d_head = len(part.mask) // part.heads
    ranks = rng.random((draws, part.heads, d_head)).argsort(axis=2).argsort(axis=2)
    return rearrange(ranks < dealt[:, :, None], "draw head d_head -> draw (head d_head)")


def _of_heads(part: _Part) -> Int[np.ndarray, " head"]:
    """Chosen units of every head."""
    return rearrange(part.mask, "(head d_head) -> head d_head", head=part.heads).sum(axis=1)


def _count(part: _Part) -> int:
    """How many sets there are, the chosen one included."""
    if part.heads == 1:
        return prod(comb(len(stratum), int(part.mask[stratum].sum())) for stratum in part.strata)
    counts, d_head = _of_heads(part).tolist(), len(part.mask) // part.heads
    deals = factorial(part.heads) // prod(factorial(n) for n in Counter(counts).values())
    return deals * prod(comb(d_head, n) for n in counts)


def _parts(chosen: Int[np.ndarray, " chosen"], among: Draw) -> Iterator[_Part]:
    for _, layer, site, _, positions in site_slices(among.sites, among.layers):
        columns = np.flatnonzero((chosen >= positions.start) & (chosen < positions.stop))
        if not len(columns):
            continue
        if len(columns) > LARGEST_SHARE * site.width:
            raise ValueError(
                f"at most {LARGEST_SHARE:.0%} of a site in a layer can be compared with random "
                f"sets, because more would leave them hardly anything to differ in; got "
                f"{len(columns)} of the {site.width} units of site {site.name} in layer {layer}: "
                f"choose fewer"
            )
        mask = np.zeros(site.width, dtype=bool)
        mask[chosen[columns] - positions.start] = True
        by_head = site.d_head > 1 and (among.by_head or _are_whole_heads(mask, site))
        heads = site.heads if by_head else 1
        yield _Part(columns, positions.start, mask, heads, strata(among.variance[positions]))


def _are_whole_heads(mask: Bool[np.ndarray, " unit"], site: Site) -> bool:
    chosen = rearrange(mask, "(head d_head) -> head d_head", d_head=site.d_head)
    return bool((chosen.all(axis=1) == chosen.any(axis=1)).all())


def strata(variance: Float[np.ndarray, " unit"]) -> list[Int[np.ndarray, " of_stratum"]]:
    """Units of a site in strata of similar variance; those that are not finite by themselves."""
    finite = np.isfinite(variance)
    known = np.flatnonzero(finite)
    order = known[np.argsort(variance[known], kind="stable")]
    parts = np.array_split(order, max(1, len(order) // STRATUM))
    return [part for part in (*parts, np.flatnonzero(~finite)) if len(part)]
