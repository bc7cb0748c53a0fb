"""What is malformed: strategies for ``helpers.malformed.run``."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from hypothesis import strategies as st


@dataclass(frozen=True)
class Case:
    """A sound call and, per argument, what it may not be."""

    call: Callable[..., Any]
    sound: dict[str, Any]
    bad: dict[str, st.SearchStrategy]


# ------------------------------------------------------------------ what is malformed

kinds = st.sampled_from([object(), 3, -1.5, math.nan, b"x", {"a": 1}, {1, 2}, [], [None], ()])
things = kinds | st.binary(max_size=9) | st.complex_numbers()
nothings = things | st.none() | st.text(max_size=4)
no_integer = (
    st.sampled_from([True, 1.5, math.nan, math.inf, "3", "", b"3", [3], (), object()])
    | st.text(max_size=4)
    | st.floats()
)
not_positive = st.integers(max_value=0)
no_number = st.sampled_from([True, "0.5", None, [0.5], object()]) | st.complex_numbers()
not_finite = st.sampled_from([math.nan, math.inf, -math.inf])


def count(least: int = 1) -> st.SearchStrategy:
    """What is no integer from ``least``."""
    return no_integer | st.none() | st.integers(max_value=least - 1)


def optional(least: int = 1) -> st.SearchStrategy:
    """What is neither None nor an integer from ``least``."""
    return no_integer | st.integers(max_value=least - 1)


def name_not_in(*known: str) -> st.SearchStrategy:
    """No name, or another one."""
    return things | st.none() | st.text(max_size=9).filter(lambda text: text not in known)


def tensors(*shapes: tuple[int, ...]) -> st.SearchStrategy:
    """Tensors of the wrong shape."""
    return st.sampled_from([torch.zeros(shape) for shape in shapes])


no_result = nothings | st.just(pd.DataFrame()) | tensors((3,), (0, 2))
#: Names that a path may have, of nothing that is there.
nowhere = st.text(max_size=9).map("./no/such/{}".format)
no_path = st.sampled_from([7, None, 1.5, [], {}, object()]) | st.integers() | st.floats()


def frames(*without: str, of: pd.DataFrame) -> st.SearchStrategy:
    """A table without rows, or without one of its columns; or no table."""
    cut = [of.iloc[:0], *(of.drop(columns=name) for name in without)]
    return things | st.none() | st.integers(0, len(cut) - 1).map(cut.__getitem__)
