"""The environment of a Python program that a test starts."""

import os
from pathlib import Path

import tl_negation

TESTS = Path(__file__).parents[1]


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, in which the package and the tests' helpers are found."""
    found = [str(Path(tl_negation.__file__).parents[1]), str(TESTS)]
    before = os.environ.get("PYTHONPATH")
    paths = os.pathsep.join([*found, *([before] if before else [])])
    return {**os.environ, "PYTHONPATH": paths, **changes}
