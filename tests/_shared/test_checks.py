"""The checks that stand above public functions, one by one."""

import doctest
import inspect
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest
import torch
from jaxtyping import Float

from tl_negation import ProbeResult, scan
from tl_negation._shared import checks
from tl_negation._shared.checks import (
    Count,
    Seed,
    check_of,
    count,
    instance,
    integer,
    nearest,
    number,
    optional,
    path,
    real,
    seed,
    sequence,
    string,
    table,
    tokens,
    validated,
)

TABLE = table("layer", "site")
CURED = table("layer", cure="f() gives one")


@dataclass
class BytesPath(os.PathLike):
    """A path of the operating system's own bytes."""

    name: bytes

    def __fspath__(self):
        return self.name


@pytest.mark.parametrize(
    ("check", "value", "error", "message"),
    [
        (integer, 1.0, TypeError, "it must be an integer; got 1.0"),
        (integer, True, TypeError, "it must be an integer; got True"),
        (seed, "1", TypeError, "it must be an integer; got '1'"),
        (seed, -1, ValueError, "it must not be negative; got -1"),
        (count, 0, ValueError, "it must be at least 1; got 0"),
        (tokens, True, TypeError, "it must be an integer; got True"),
        (tokens, -1, ValueError, "it counts tokens and cannot be negative; got -1"),
        (real, "x" * 99, TypeError, r"it must be a number; got 'x+\.\.\.x+'$"),
        (real, False, TypeError, "it must be a number; got False"),
        (number, math.nan, ValueError, "it must be finite; got nan"),
        (number, -math.inf, ValueError, "it must be finite; got -inf"),
        (string, b"x", TypeError, "it must be a string; got b'x'"),
        (path, 3, TypeError, "it must be a path; got 3"),
        (path, "", ValueError, "it must name a file or folder; got ''"),
        (path, "a\0b", ValueError, "it must name a file or folder; got"),
        (path, BytesPath(b"a\0b"), ValueError, "it must name a file or folder; got BytesPath"),
        (sequence, 3, TypeError, "it must be a list; got 3$"),
        (sequence, {"q"}, TypeError, r"it must be a list; got \{'q'\}$"),
        (sequence, frozenset("q"), TypeError, r"it must be a list; got frozenset\(\{'q'\}\)$"),
        (sequence, "q", TypeError, r"it must be a list; got 'q': write \['q'\]"),
        (instance((int, str)), 1.5, TypeError, "it must be of type int or str; got float$"),
        (instance(ProbeResult), 3, TypeError, r"type ProbeResult; got int: probe\(acts\) makes"),
        (optional(count), 0, ValueError, "it must be at least 1; got 0"),
        (optional(string), 0, TypeError, "it must be a string; got 0"),
        (TABLE, {}, TypeError, "it must be a DataFrame; got dict"),
        (TABLE, pd.DataFrame({"site": []}), ValueError, "columns layer, site; it lacks layer"),
        (TABLE, pd.DataFrame({"site": [], "layer": []}), ValueError, "must have rows; got an emp"),
        (CURED, [], TypeError, r"must be a DataFrame; got list: f\(\) gives one"),
        (CURED, pd.DataFrame({"site": []}), ValueError, r"it lacks layer: f\(\) gives one"),
        (CURED, pd.DataFrame({"layer": []}), ValueError, r"got an empty table: f\(\) gives one"),
    ],
)
def test_what_is_refused(check, value, error, message):
    with pytest.raises(error, match=message):
        check("it", value)


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (integer, np.int64(-3)),
        (seed, 0),
        (count, np.uint8(1)),
        (tokens, 0),
        (real, math.nan),
        (number, Fraction(1, 3)),
        (number, np.float32(2)),
        (string, ""),
        (path, Path()),
        (path, BytesPath(b"a")),
        (sequence, np.array(["q"])),
        (sequence, range(0)),
        (optional(count), None),
        (optional(integer), None),
        (TABLE, pd.DataFrame({"site": ["q"], "layer": [0], "more": [1]})),
    ],
)
def test_what_is_let_through(check, value):
    check("it", value)


def test_the_nearest_name_ends_a_message_where_one_is_near():
    assert nearest("kk", ["q", "k"]) == ": did you mean 'k'?"
    assert nearest("paper", {"notebook": ""}) == ""


def test_checks_what_is_given_however_it_is_given():
    @validated
    def function(n: Count = 0, /, name: str | None = None, *rest, **options):
        """Say what came."""
        return n, name, rest, options

    assert function() == (0, None, (), {})  # defaults are the function's own business
    assert function(2, "x", 3, more=4) == (2, "x", (3,), {"more": 4})
    assert function.__doc__ == "Say what came."
    with pytest.raises(ValueError, match="n must be at least 1"):
        function(0)
    with pytest.raises(TypeError, match="name must be a string; got 1"):
        function(1, name=1)


def test_arguments_without_a_name_of_their_own_are_left_to_the_function():
    @validated
    def function(*rest: str, **options: int):
        return rest, options

    assert function("a", "b", n=1) == (("a", "b"), {"n": 1})


def test_a_call_that_python_refuses_is_refused_by_python():
    @validated
    def function(n: Count):
        return n

    with pytest.raises(TypeError, match=r"missing 1 required positional argument: 'n'"):
        function()


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (int, 1.5, "it must be an integer; got 1.5"),
        (float | None, "x", "it must be a number; got 'x'"),
        (int | float, True, "it must be a number; got True"),
        (str | Path, 3, "it must be a path; got 3"),
        (Path, 3, "it must be a path; got 3"),
        (Sequence[str], "q", r"it must be a list; got 'q': write \['q'\]"),
        (Iterable[int] | None, {1}, r"it must be a list; got \{1\}"),
        (ProbeResult, 3, "it must be of type ProbeResult; got int"),
        (ProbeResult | None, 3, "it must be of type ProbeResult; got int"),
        (str | torch.device | None, 3, "it must be of type str or device; got int"),
        (Float[torch.Tensor, "example unit"], 3, "it must be of type Tensor; got int"),
        (Seed, -1, "it must not be negative; got -1"),
        (Annotated[pd.DataFrame, table("site")], 3, "it must be a DataFrame; got int$"),
    ],
)
def test_an_annotation_gives_its_check(annotation, value, message):
    check = check_of(annotation)
    with pytest.raises((TypeError, ValueError), match=message):
        check("it", value)


@pytest.mark.parametrize(
    "annotation",
    [Any, object, bool, dict[str, int], str | Sequence[int], int | str, Annotated[bool, "a note"]],
)
def test_what_no_check_reads_is_left_to_the_function(annotation):
    assert check_of(annotation) is None


def test_a_checked_function_shows_its_signature():
    assert "layers" in inspect.signature(scan).parameters


def test_the_examples_are_true():
    failed, tried = doctest.testmod(checks)
    assert (failed, tried > 2) == (0, True)
