"""What is told while something runs: progress bars with their stage, and a log of silent decisions.

The log is ``logging.getLogger("tl_negation")``, at level INFO: a batch size that was halved, a
store that is gone on with, whole windows where keys cannot be kept, how long each stage took.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from .checks import validated

LOG = logging.getLogger("tl_negation")
LOG.addHandler(logging.NullHandler())

#: Environment variable that does what :func:`quiet` does.
VARIABLE = "TL_NEGATION_QUIET"
_STAGE: ContextVar[str] = ContextVar("stage", default="")
_SWITCH: dict[str, bool] = {}


@validated
def quiet(on: bool = True) -> None:
    """Show no progress bars from now on, whatever ``progress`` says; ``quiet(False)`` shows them.

    The environment variable ``TL_NEGATION_QUIET=1`` does the same from the start.

    Parameters
    ----------
    on
        Whether to be quiet.

    Notes
    -----
    What is decided without a word (a smaller batch, a store that is gone on with) goes to
    ``logging.getLogger("tl_negation")`` at level INFO, and is not affected.

    Examples
    --------
    >>> tln.quiet()
    >>> acts = tln.collect(model, contexts, sites=("q",))  # without a bar
    >>> tln.quiet(False)
    """
    _SWITCH["quiet"] = on


def is_quiet() -> bool:
    """Whether progress bars are switched off for everything."""
    return _SWITCH.get("quiet", os.environ.get(VARIABLE, "") not in ("", "0"))


def progress_bar(*what: Any, desc: str, disable: bool = False, **options: Any) -> Any:
    """Make a progress bar (tqdm) that says which stage it belongs to."""
    from tqdm.auto import tqdm

    return tqdm(*what, desc=f"{_STAGE.get()}{desc}", disable=disable or is_quiet(), **options)


@contextmanager
def stage(number: int, of: int) -> Iterator[None]:
    """Number the bars of a stage of several: ``3/6 contexts``."""
    token = _STAGE.set(f"{number}/{of} ")
    try:
        yield
    finally:
        _STAGE.reset(token)
