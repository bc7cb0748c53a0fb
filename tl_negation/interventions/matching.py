"""Which units are replaced: the chosen ones, and random ones that resemble them."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from ..activations import Activations

#: A matched unit is drawn from this share of its site's other units, those nearest in variance.
NEAREST = 0.1
#: But from no fewer than these, or a narrow site would give the same set in every draw.
FEWEST_NEAREST = 5


def variances(acts: Activations) -> Float[np.ndarray, " unit"]:
    """Variance of every unit over the contexts, all layers end to end; in float64."""
    return np.concatenate([layer.double().var(dim=0).cpu().numpy() for layer in acts.values])


def matched_sets(
    chosen: Int[np.ndarray, " chosen"],
    variance: Float[np.ndarray, " unit"],
    acts: Activations,
    draws: int,
    rng: np.random.Generator,
) -> Int[np.ndarray, "draw chosen"]:
    """Draw sets in which every chosen unit is replaced by one that resembles it.

    Parameters
    ----------
    chosen
        Positions of the chosen units.
    variance
        Of all units.
    acts
        For its sites.
    draws
        How many sets.
    rng
        Their randomness.

    Returns
    -------
    Int[np.ndarray, "draw chosen"]
        Each unit is of the layer and site of the chosen unit in its column, is none of the chosen,
        occurs once in a set, and is drawn from the tenth of the site's remaining units (at least
        five) whose variance is nearest in rank.

    Raises
    ------
    ValueError
        More units of a site are chosen than are left to draw from.
    """
    sets = np.empty((draws, len(chosen)), dtype=np.int64)
    for columns, pool in _strata(chosen, variance, acts):
        ranks = np.searchsorted(variance[pool], variance[chosen[columns]])
        nearest = max(FEWEST_NEAREST, int(np.ceil(NEAREST * len(pool))))
        for drawn in sets:
            free = np.ones(len(pool), dtype=bool)
            for one in rng.permutation(len(columns)):
                left = np.flatnonzero(free)
                near = left[np.argsort(np.abs(left - ranks[one]), kind="stable")[:nearest]]
                place = rng.choice(near)
                drawn[columns[one]], free[place] = pool[place], False
    return sets


def _strata(
    chosen: Int[np.ndarray, " chosen"], variance: Float[np.ndarray, " unit"], acts: Activations
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Per layer and site with chosen units: their columns, and the others sorted by variance."""
    edges = np.cumsum([0, *(site.width for site in acts.sites)])
    width = edges[-1]
    rest = np.ones(len(variance), dtype=bool)
    rest[chosen] = False
    rest &= np.isfinite(variance)
    for row, layer in enumerate(acts.layers):
        for site, start in zip(acts.sites, edges[:-1], strict=True):
            first = row * width + start
            columns = np.flatnonzero((chosen >= first) & (chosen < first + site.width))
            if not len(columns):
                continue
            pool = first + np.flatnonzero(rest[first : first + site.width])
            if len(pool) < len(columns):
                raise ValueError(
                    f"random units to compare with are drawn from those that were not chosen, but "
                    f"of {site.width} units of site {site.name} in layer {layer} {len(columns)} "
                    f"were: choose at most half of a site in a layer"
                )
            yield columns, pool[np.argsort(variance[pool], kind="stable")]
