"""Random sets of units that resemble the chosen ones, to compare them with."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from ..activations import Activations
from ..models import site_slices

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
        For its sites and layers.
    draws
        How many sets.
    rng
        Their randomness.

    Returns
    -------
    Int[np.ndarray, "draw chosen"]
        Each unit is of the layer and site of the chosen unit in its column, is not itself chosen,
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
            # In random order, or the first chosen unit would get the best matches in every set.
            for unit in rng.permutation(len(columns)):
                left = np.flatnonzero(free)
                near = left[np.argsort(np.abs(left - ranks[unit]), kind="stable")[:nearest]]
                place = rng.choice(near)
                drawn[columns[unit]], free[place] = pool[place], False
    return sets


def _strata(
    chosen: Int[np.ndarray, " chosen"], variance: Float[np.ndarray, " unit"], acts: Activations
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Per layer and site with chosen units: their columns, and the others sorted by variance."""
    rest = np.ones(len(variance), dtype=bool)
    rest[chosen] = False
    rest &= np.isfinite(variance)
    for _, layer, site, _, positions in site_slices(acts.sites, acts.layers):
        columns = np.flatnonzero((chosen >= positions.start) & (chosen < positions.stop))
        if not len(columns):
            continue
        pool = positions.start + np.flatnonzero(rest[positions])
        if len(pool) < len(columns):
            raise ValueError(
                f"random units to compare with are drawn from those that were not chosen, but "
                f"{len(columns)} of the {site.width} units of site {site.name} in layer {layer} "
                f"were: choose at most half of a site in a layer"
            )
        yield columns, pool[np.argsort(variance[pool], kind="stable")]
