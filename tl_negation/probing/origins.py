"""Which result a table of units was taken from, so that its contexts need not be given again.

A table remembers a number, not the result itself: what pandas keeps beside a table is copied with
it and written into files.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import pandas as pd

if TYPE_CHECKING:  # results imports this module
    from .results import ProbeResult

_KEY = "tl_negation.result"
_NUMBERS = count()
_RESULTS: WeakValueDictionary[int, ProbeResult] = WeakValueDictionary()


def from_result(table: pd.DataFrame, result: ProbeResult) -> pd.DataFrame:
    """Let a table of units remember its result, for as long as somebody holds that."""
    number = next(_NUMBERS)
    _RESULTS[number] = result
    table.attrs[_KEY] = number
    return table


def result_of(units: pd.DataFrame) -> ProbeResult:
    """Find the result that a table of units was taken from.

    Raises
    ------
    ValueError
        The table was made otherwise, or nobody holds the result any more.
    """
    result = _RESULTS.get(units.attrs.get(_KEY, -1))
    if result is None:
        raise ValueError(
            "these units do not say which contexts they were found in: rows of result.top() and "
            "result.select() do, while the result is held; otherwise give the contexts before the "
            "units"
        )
    return result
