"""The tests of a unit whose datum is the single example; by one of them it is ``significant``.

A new test is one entry of :data:`EXAMPLE_TESTS`. A unit is *tested* where the chosen test exists,
which is where its column of p values has one; shares and means of units are over the tested ones,
in a profile and in its lexical null alike.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxtyping import Bool
from torch import Tensor


class ExampleTest(NamedTuple):
    """A test of a unit, example by example.

    Attributes
    ----------
    name
        The test in a sentence, before the word "test".
    meaning
        What it compares, and for which units it exists.
    p
        The column of its p values.
    log10_p
        The column of their logarithms, which do not underflow.
    """

    name: str
    meaning: str
    p: str
    log10_p: str


#: The default test comes first.
EXAMPLE_TESTS = {
    "lr": ExampleTest(
        "likelihood-ratio",
        "likelihood ratio against the base rate; as a limit for separated units too",
        "lr_p",
        "log10_lr_p",
    ),
    "wald": ExampleTest(
        "Wald",
        "slope over its standard error, as in the reference; none for separated units, and weak "
        "for strong ones",
        "p",
        "log10_p",
    ),
}
#: The test of results that do not say by which: those of earlier versions.
EARLIER = "wald"


def example_test(rule: Mapping[Any, Any]) -> ExampleTest:
    """Return the test that a rule names: ``provenance["test"]``, or a row of a profile."""
    return EXAMPLE_TESTS[rule.get("test", EARLIER)]


def has_test(columns: Mapping[str, Tensor], rule: Mapping[str, Any]) -> Bool[Tensor, "layer unit"]:
    """Which units the test of a rule exists for."""
    return ~columns[example_test(rule).p].isnan()
