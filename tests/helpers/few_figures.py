"""Runs and reports with four figures, not fifteen: for tests of everything but figures.

``python -m helpers.few_figures COMMAND ...`` is the command line that draws no more.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

FEW = ("profile by layer", "word or category", "units replaced", "estimates of the gradient")
GALLERY = "tl_negation.report.gallery"


@contextmanager
def figures(*more: str, every: bool = False) -> Iterator[None]:
    """Let the gallery have the few figures and ``more``, or all."""
    module = importlib.import_module(GALLERY)
    before, named = module.FIGURES, (*FEW, *more)
    ALL.extend(before if not ALL else ())
    module.FIGURES = [entry for entry in ALL if every or entry.name in named]
    try:
        yield
    finally:
        module.FIGURES = before


#: All figures, as they were before any was left out.
ALL: list[Any] = []

if __name__ == "__main__":
    from tl_negation.commands import main

    with figures():
        main()
