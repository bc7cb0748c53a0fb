"""Python programs that a test starts: their environment, and when they count as hanging."""

import os
from pathlib import Path

import tl_negation

TESTS = Path(__file__).parents[1]
#: Seconds after which a program is taken to wait for what never comes. The longest needs a minute
#: on an idle machine; the bound only ends a test that would never end.
HANGS = 1800


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, in which the package and the tests' helpers are found."""
    found = [str(Path(tl_negation.__file__).parents[1]), str(TESTS)]
    before = os.environ.get("PYTHONPATH")
    paths = os.pathsep.join([*found, *([before] if before else [])])
    return {**os.environ, "PYTHONPATH": paths, **changes}
