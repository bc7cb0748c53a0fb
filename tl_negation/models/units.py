"""Where a unit is: layer, site, head, index <-> column. The only place that does this arithmetic.

The sites of a layer are side by side. Unit ``i`` of a site is head ``i // d_head``, index
``i % d_head``; its column is the first column of its site plus ``i``; and its position is its
column plus the width of a layer for every layer before its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int
from pandas.api.types import is_float_dtype, is_integer_dtype

from .sites import Site, has_heads

#: Columns that name a unit, and those that name a head.
UNIT = ["layer", "site", "head", "index"]
HEAD = UNIT[:3]


def head_number(head: Any) -> int:
    """Return the number that arithmetic needs: 0 where a site has no heads, and so no number."""
    return 0 if pd.isna(head) else int(head)


def numbered(units: pd.DataFrame) -> pd.DataFrame:
    """Return the table with 0 for heads that are missing, as arithmetic needs them.

    Raises
    ------
    ValueError
        A head is missing where the site has heads.
    """
    head = units["head"]
    if is_float_dtype(head) and bool((head.isna() | (head % 1 == 0)).all()):
        head = head.astype("Int64")  # a column with missing numbers, as pandas reads it from CSV
    missing = head.isna()
    named = units.loc[missing, "site"].astype(str).unique()
    if lacking := [site for site in named if has_heads(site)]:
        raise ValueError(f"a unit of site {lacking[0]} is in a head; the table names none")
    if not (missing.any() or str(head.dtype) == "Int64"):
        return units
    return units.assign(head=head.fillna(0).astype(np.int64))


def unit_name(site: str, head: Any, index: int) -> str:
    """Name a unit of a layer as figures, views and reports do: with its head if it has one."""
    of_head = f"head {head}, " if has_heads(site) else ""
    return f"{site}, {of_head}unit {index}"


def layer_width(sites: Sequence[Site]) -> int:
    """Units of all sites of one layer."""
    return sum(site.width for site in sites)


def locate(sites: Sequence[Site], column: int) -> tuple[Site, int, int]:
    """Find which site, head and index a column of the side-by-side layout is.

    Parameters
    ----------
    sites : sequence of Site
        In the order in which their columns lie side by side.
    column : int
        Column, from 0.

    Returns
    -------
    site : Site
    head : int
        0 where the site does not have heads, and its units no number of one.
    index : int

    Raises
    ------
    IndexError
        There is no such column.

    Examples
    --------
    >>> q = Site("q", "blocks.{layer}.attn.hook_q", "attn", heads=2, d_head=4)
    >>> locate([q], 6)[1:]
    (1, 2)
    """
    within = column
    for site in sites:
        if 0 <= within < site.width:
            return site, within // site.d_head, within % site.d_head
        within -= site.width
    raise IndexError(f"unit must be between 0 and {layer_width(sites) - 1}, got {column}")


class SiteSlice(NamedTuple):
    """The units of one site in one layer, and where they are.

    Attributes
    ----------
    row
        Of the layer, in tensors ``[layer, ...]``.
    layer
        Its number in the model.
    site
        Whose units these are.
    columns
        Of the units, in a layer's ``[..., unit]``.
    positions
        Of the units, among those of all layers laid end to end.
    """

    row: int
    layer: int
    site: Site
    columns: slice
    positions: slice


def site_slices(sites: Sequence[Site], layers: Sequence[int]) -> Iterator[SiteSlice]:
    """Go through all layers, and through the sites of each, in the order of the columns."""
    width, starts = layer_width(sites), _starts(sites)
    for row, layer in enumerate(layers):
        for site in sites:
            start = starts[site.name]
            columns = slice(start, start + site.width)
            positions = slice(row * width + columns.start, row * width + columns.stop)
            yield SiteSlice(row, layer, site, columns, positions)


def unit_of(
    sites: Sequence[Site],
    layers: Sequence[int],
    row: pd.DataFrame | pd.Series | Mapping[str, Any] | Sequence[Any],
) -> tuple[int, int]:
    """Find the row and column of a unit in tensors ``[layer, unit]``.

    Parameters
    ----------
    sites, layers
        Of the tensors, in their order.
    row
        Layer, site, head and index of the unit: a table of one row, a row of a table, a mapping,
        or the four values.

    Raises
    ------
    ValueError
        There is no such layer, site, head or index, or one is not a whole number; the table does
        not have exactly one row, or lacks a column.
    """
    layer, name, head, index = _address(row)
    starts, named = _starts(sites), {site.name: site for site in sites}
    if name not in named or layer not in layers:
        raise ValueError(
            f"there are the sites {', '.join(named)} of the layers {list(layers)}; got {name!r} in "
            f"layer {layer}"
        )
    site = named[name]
    head = 0 if site.heads == 1 and pd.isna(head) else _whole("head", head)
    if not (0 <= head < site.heads and 0 <= index < site.d_head):
        raise ValueError(
            f"site {name} has {site.heads} heads of {site.d_head} units; got head {head}, "
            f"index {index}"
        )
    return list(layers).index(layer), starts[name] + head * site.d_head + index


def places(
    units: pd.DataFrame, sites: Sequence[Site], layers: Sequence[int]
) -> Int[np.ndarray, " chosen"]:
    """Find the position of every unit among those of all layers laid end to end.

    Parameters
    ----------
    units
        From :func:`check_units`; whole heads where ``index`` is missing.
    sites, layers
        Of the activations, in their order.

    Raises
    ------
    ValueError
        A layer, site, head or index that the activations do not have.
    """
    width, per_head = layer_width(sites), {site.name: site.d_head for site in sites}
    found = []
    for unit in numbered(units).to_dict("records"):
        first = {"index": 0, **unit}
        row, column = unit_of(sites, layers, first)
        together = 1 if "index" in unit else per_head[unit["site"]]
        found += [row * width + column + i for i in range(together)]
    return np.array(found, dtype=np.int64)


def every_place(
    units: pd.DataFrame, sites: Sequence[Site], layers: Sequence[int]
) -> Int[np.ndarray, " position"]:
    """Find the row of every unit in a table that must hold each of them once, in any order.

    Returns
    -------
    Int[np.ndarray, " position"]
        For each position among those of all layers laid end to end, the row of its unit.

    Raises
    ------
    ValueError
        A unit that there is not, or one that is missing or there twice.
    """
    place = check_places(units, sites, layers)
    order = np.argsort(place, kind="stable")
    if not np.array_equal(place[order], np.arange(len(layers) * layer_width(sites))):
        raise ValueError("not every unit is there exactly once")
    return order


def check_places(
    units: pd.DataFrame, sites: Sequence[Site], layers: Sequence[int]
) -> Int[np.ndarray, " row"]:
    """Find the position of the unit of every row, as :func:`places` does, for large tables.

    Raises
    ------
    ValueError
        There is no such layer, site, head or index.
    """
    row = pd.Index(layers).get_indexer(pd.Index(units["layer"]))
    names = pd.Index([site.name for site in sites])
    code = names.get_indexer(pd.Index(units["site"].astype(object)))
    head, index = numbered(units)["head"], units["index"]
    if not (is_integer_dtype(head) and is_integer_dtype(index)):
        raise ValueError("a head or an index is not a whole number")
    if min(row.min(initial=0), code.min(initial=0)) < 0:
        raise ValueError("there is a unit of a layer or a site that there is not")
    starts = np.array(list(_starts(sites).values()))
    heads, d_head = (np.array([getattr(site, of) for site in sites]) for of in ("heads", "d_head"))
    if not (head.between(0, heads[code] - 1) & index.between(0, d_head[code] - 1)).all():
        raise ValueError("there is a head or an index that its site has not")
    in_layer = starts[code] + head.to_numpy() * d_head[code] + index.to_numpy()
    return row * layer_width(sites) + in_layer


def table_of(
    positions: Int[np.ndarray, " chosen"], sites: Sequence[Site], layers: Sequence[int]
) -> pd.DataFrame:
    """Make the table ``layer, site, head, index`` of positions: the inverse of :func:`places`."""
    index = pd.concat([unit_index(site) for site in sites], ignore_index=True)
    row, column = np.divmod(positions, len(index))
    found = index.iloc[column].reset_index(drop=True)
    found.insert(0, "layer", np.array(layers)[row])
    return found


def unit_index(site: Site) -> pd.DataFrame:
    """Make the table ``site, head, index`` of a site's units in one layer, in column order.

    ``head`` is missing where the site has no heads.
    """
    unit = np.arange(site.width)
    head = pd.array(unit // site.d_head, dtype="Int64")
    if site.module != "attn":
        head[:] = pd.NA
    return pd.DataFrame({"site": site.name, "head": head, "index": unit % site.d_head})


def check_units(units: Any) -> pd.DataFrame:
    """Raise unless the value is a table of units or of heads; return the columns that name them.

    Raises
    ------
    TypeError
        Not a DataFrame; layers, heads or indices that are not integers.
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
    units, names = numbered(units), UNIT if "index" in units else HEAD
    for name in (name for name in names if name != "site"):
        if not is_integer_dtype(units[name]):
            raise TypeError(f"units are numbered by integers; column {name} is {units[name].dtype}")
    twice = units[units.duplicated(names)]
    if len(twice):
        where = ".".join(str(twice[name].iloc[0]) for name in names)
        raise ValueError(f"each unit or head once; {where} is named more than once")
    return units[names]


def _starts(sites: Sequence[Site]) -> dict[str, int]:
    """Column at which each site begins."""
    starts = np.cumsum([0, *(site.width for site in sites)])[:-1].tolist()
    return dict(zip([site.name for site in sites], starts, strict=True))


def _address(row: Any) -> tuple[int, str, Any, int]:
    """Layer, site, head (as it stands there) and index out of whatever names a unit."""
    if isinstance(row, pd.DataFrame):
        if len(row) != 1:
            raise ValueError(f"exactly one unit is needed; got a table of {len(row)} rows")
        row = row.iloc[0]
    if isinstance(row, (Mapping, pd.Series)):
        missing = [name for name in UNIT if name not in row]
        if missing:
            raise ValueError(f"a unit is named by {', '.join(UNIT)}; got no {missing[0]}")
        row = [row[name] for name in UNIT]
    if isinstance(row, str) or len(row) != len(UNIT):
        raise ValueError(f"a unit is named by {', '.join(UNIT)}; got {row!r}")
    layer, site, head, index = row
    return (
        _whole("layer", layer),
        str(site),
        head,
        _whole("index", index),
    )


def _whole(name: str, value: Any) -> int:
    """Take 3 and 3.0 (a row of a table may hold either) but not 3.5, nor a missing value."""
    try:
        number = int(value)
        if number == value:
            return number
    except (TypeError, ValueError, OverflowError):
        pass  # no number at all, or one that is not finite: the message below says so
    raise ValueError(f"{name} of a unit must be a whole number; got {value!r}")
