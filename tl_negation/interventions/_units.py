"""Which units are replaced: the chosen ones, and random ones that resemble them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from pandas.api.types import is_integer_dtype

from ..activations import Activations
from ..sites import Site

UNIT, HEAD = ["layer", "site", "head", "index"], ["layer", "site", "head"]
#: A matched unit is drawn from this share of its site's other units, those nearest in variance.
NEAREST = 0.1
#: But from no fewer than these, or a narrow site would give the same set in every draw.
FEWEST_NEAREST = 5


def check_units(units: Any) -> pd.DataFrame:
    """Refuse what is no table of units or heads.

    Raises
    ------
    TypeError
        Not a DataFrame; layers, heads or indices that are no integers.
    ValueError
        A column is missing, a unit is named twice, or no unit is named.
    """
    if not isinstance(units, pd.DataFrame):
        raise TypeError(
            f"units are a DataFrame with the columns {', '.join(UNIT)} (result.top(20)), or "
            f"without index for whole heads; got {type(units).__name__}"
        )
    missing = [name for name in HEAD if name not in units]
    if missing:
        raise ValueError(
            f"units need the columns {', '.join(UNIT)}, whole heads {', '.join(HEAD)}; the table "
            f"lacks {', '.join(missing)}"
        )
    if not len(units):
        raise ValueError("at least one unit is needed; got a table without rows")
    names = UNIT if "index" in units else HEAD
    for name in (name for name in names if name != "site"):
        if not is_integer_dtype(units[name]):
            raise TypeError(f"units are numbered by integers; column {name} is {units[name].dtype}")
    twice = units[units.duplicated(names)]
    if len(twice):
        where = ".".join(str(twice[name].iloc[0]) for name in names)
        raise ValueError(f"each unit or head once; {where} is named more than once")
    return units[names]


def places(
    units: pd.DataFrame, sites: Sequence[Site], layers: Sequence[int]
) -> Int[np.ndarray, " chosen"]:
    """Position of every unit among those of all layers laid end to end.

    Parameters
    ----------
    units
        From :func:`check_units`; whole heads where ``index`` is missing.
    sites, layers
        Of the activations, in their order.

    Raises
    ------
    ValueError
        A layer, site, head or index that the activations have not.
    """
    starts = dict(
        zip([s.name for s in sites], np.cumsum([0, *(s.width for s in sites)]), strict=False)
    )
    named, width = {site.name: site for site in sites}, sum(site.width for site in sites)
    found = []
    for row in units.to_dict("records"):
        layer, name, head = int(row["layer"]), str(row["site"]), int(row["head"])
        if name not in named or layer not in layers:
            raise ValueError(
                f"the activations hold the sites {', '.join(named)} of the layers {list(layers)}; "
                f"got {name!r} in layer {layer}"
            )
        site = named[name]
        indices = range(site.d_head) if "index" not in row else [int(row["index"])]
        if not (0 <= head < site.heads and all(0 <= index < site.d_head for index in indices)):
            raise ValueError(
                f"site {name} has {site.heads} heads of {site.d_head} units; got head {head}, "
                f"index {indices[0]}"
            )
        first = list(layers).index(layer) * width + starts[name] + head * site.d_head
        found += [first + index for index in indices]
    return np.array(found, dtype=np.int64)


def table_of(
    found: Int[np.ndarray, " chosen"], sites: Sequence[Site], layers: Sequence[int]
) -> pd.DataFrame:
    """``layer, site, head, index`` of positions as :func:`places` gives them."""
    site = np.repeat([site.name for site in sites], [site.width for site in sites])
    head = np.concatenate([np.arange(site.width) // site.d_head for site in sites])
    index = np.concatenate([np.arange(site.width) % site.d_head for site in sites])
    row, column = np.divmod(found, len(site))
    values = (np.array(layers)[row], site[column], head[column], index[column])
    return pd.DataFrame(dict(zip(UNIT, values, strict=True)))


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
