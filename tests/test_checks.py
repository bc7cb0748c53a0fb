"""The checks that stand above public functions, one by one."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tl_negation import ProbeResult
from tl_negation._checks import (
    COUNT,
    INTEGER,
    LIST,
    NUMBER,
    PATH,
    REAL,
    SEED,
    STRING,
    instance,
    optional,
    table,
    takes,
)

TABLE = table("layer", "site")


@pytest.mark.parametrize(
    ("check", "value", "error", "message"),
    [
        (INTEGER, 1.0, TypeError, "it must be an integer; got 1.0"),
        (INTEGER, True, TypeError, "it must be an integer; got True"),
        (SEED, "1", TypeError, "it must be an integer; got '1'"),
        (SEED, -1, ValueError, "it must not be negative; got -1"),
        (COUNT, 0, ValueError, "it must be at least 1; got 0"),
        (REAL, "x" * 99, TypeError, r"it must be a number; got 'x+\.\.\.x+'$"),
        (REAL, False, TypeError, "it must be a number; got False"),
        (NUMBER, math.nan, ValueError, "it must be finite; got nan"),
        (NUMBER, -math.inf, ValueError, "it must be finite; got -inf"),
        (STRING, b"x", TypeError, "it must be a string; got b'x'"),
        (PATH, 3, TypeError, "it must be a path; got 3"),
        (PATH, "", ValueError, "it must name a file or folder; got ''"),
        (PATH, "a\0b", ValueError, "it must name a file or folder; got"),
        (LIST, 3, TypeError, "it must be a list; got 3$"),
        (LIST, {"q"}, TypeError, r"it must be a list; got \{'q'\}$"),
        (LIST, "q", TypeError, r"it must be a list; got 'q': write \['q'\]"),
        (instance((int, str)), 1.5, TypeError, "it must be of type int or str; got float$"),
        (instance(ProbeResult), 3, TypeError, r"type ProbeResult; got int: probe\(acts\) makes"),
        (optional(COUNT), 0, ValueError, "it must be at least 1; got 0"),
        (optional(str), 0, TypeError, "it must be of type str; got int"),
        (TABLE, {}, TypeError, "it must be a DataFrame; got dict"),
        (TABLE, pd.DataFrame({"site": []}), ValueError, "columns layer, site; it lacks layer"),
        (TABLE, pd.DataFrame({"site": [], "layer": []}), ValueError, "must have rows; got an emp"),
    ],
)
def test_what_is_refused(check, value, error, message):
    with pytest.raises(error, match=message):
        check("it", value)


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (INTEGER, np.int64(-3)),
        (SEED, 0),
        (COUNT, np.uint8(1)),
        (REAL, math.nan),
        (NUMBER, Fraction(1, 3)),
        (NUMBER, np.float32(2)),
        (STRING, ""),
        (PATH, Path()),
        (LIST, np.array(["q"])),
        (LIST, range(0)),
        (optional(COUNT), None),
        (optional(int), None),
        (TABLE, pd.DataFrame({"site": ["q"], "layer": [0], "more": [1]})),
    ],
)
def test_what_is_let_through(check, value):
    check("it", value)


def test_takes_checks_what_is_given_however_it_is_given():
    @takes(n=COUNT, name=str)
    def function(n=0, /, name=None, *rest, **options):
        """Say what came."""
        return n, name, rest, options

    assert function() == (0, None, (), {})  # defaults are the function's own business
    assert function(2, "x", 3, more=4) == (2, "x", (3,), {"more": 4})
    assert function.__doc__ == "Say what came."
    with pytest.raises(ValueError, match="n must be at least 1"):
        function(0)
    with pytest.raises(TypeError, match="name must be of type str; got int"):
        function(1, name=1)


def test_a_call_that_python_refuses_is_refused_by_python():
    @takes(n=COUNT)
    def function(n):
        return n

    with pytest.raises(TypeError, match=r"missing 1 required positional argument: 'n'"):
        function()
