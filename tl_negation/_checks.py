"""What public functions refuse at once: arguments of another type, in words of our own.

``@takes(seed=SEED, result=ProbeResult)`` stands above a function. Ranges that depend on the other
arguments are the function's own business.
"""

import inspect
import math
import os
from collections.abc import Callable
from functools import wraps
from numbers import Integral, Real
from reprlib import repr as short
from typing import Any, TypeVar

import pandas as pd

_Function = TypeVar("_Function", bound=Callable[..., Any])
#: A check: takes an argument's name and value, and raises.
Check = Callable[[str, Any], None]
#: Where what is wanted comes from.
_CURES = {
    "ProbeResult": "probe(acts) makes one, load_result(path) reads one",
    "Activations": "collect(model, contexts) makes them",
    "Contexts": "find_contexts(text, tokenizer) makes them",
    "Contrast": "NEGATION is one",
    "Text": "load_text(source) makes one",
    "Corpus": "load_text(sources) makes one",
}


def takes(**checks: Any) -> Callable[[_Function], _Function]:
    """Check arguments by name before the function runs: by a :data:`Check`, a class, or classes."""

    def decorate(function: _Function) -> _Function:
        signature = inspect.signature(function)

        @wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            try:
                given = signature.bind(*args, **kwargs).arguments
            except TypeError:  # too many or too few: Python says so itself
                return function(*args, **kwargs)
            for name, check in checks.items():
                if name in given:
                    _apply(check, name, given[name])
            return function(*args, **kwargs)

        return checked  # type: ignore[return-value]

    return decorate


def _apply(check: Any, name: str, value: Any) -> None:
    if isinstance(check, (type, tuple)):
        instance(check)(name, value)
    else:
        check(name, value)


def instance(kinds: Any) -> Check:
    """Of one of these classes."""
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)

    def check(name: str, value: Any) -> None:
        if not isinstance(value, kinds):
            names = " or ".join(kind.__name__ for kind in kinds)
            cure = _CURES.get(kinds[0].__name__, "")
            raise TypeError(
                f"{name} must be of type {names}; got {type(value).__name__}"
                f"{': ' + cure if cure else ''}"
            )

    return check


def INTEGER(name: str, value: Any) -> None:  # noqa: N802 - reads as a kind
    """Refuse what is no integer; True is none."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer; got {short(value)}")


def SEED(name: str, value: Any) -> None:  # noqa: N802
    """Refuse what is no seed: an integer from 0."""
    INTEGER(name, value)
    if value < 0:
        raise ValueError(f"{name} must not be negative; got {value}")


def COUNT(name: str, value: Any) -> None:  # noqa: N802
    """Refuse what counts nothing: an integer from 1."""
    INTEGER(name, value)
    if value < 1:
        raise ValueError(f"{name} must be at least 1; got {value}")


def REAL(name: str, value: Any) -> None:  # noqa: N802
    """Refuse what is no number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number; got {short(value)}")


def NUMBER(name: str, value: Any) -> None:  # noqa: N802
    """Refuse what is no finite number."""
    REAL(name, value)
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite; got {value}")


def STRING(name: str, value: Any) -> None:  # noqa: N802
    """Refuse what is no string."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string; got {short(value)}")


def PATH(name: str, value: Any) -> None:  # noqa: N802
    """Refuse what cannot name a file."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} must be a path; got {short(value)}")
    if not os.fspath(value) or "\0" in os.fspath(value):
        raise ValueError(f"{name} must name a file or folder; got {value!r}")


def LIST(name: str, value: Any) -> None:  # noqa: N802
    """Refuse what is no sequence with an order: a string, a set, a mapping."""
    ordered = hasattr(value, "__iter__") and not isinstance(value, (str, bytes, set, dict))
    if not ordered:
        cure = f": write [{short(value)}]" if isinstance(value, str) else ""
        raise TypeError(f"{name} must be a list; got {short(value)}{cure}")


def optional(check: Any) -> Check:
    """None, or what the check lets through."""

    def maybe(name: str, value: Any) -> None:
        if value is not None:
            _apply(check, name, value)

    return maybe


def table(*columns: str) -> Check:
    """Build the check of a DataFrame that has rows, and these columns."""

    def check(name: str, value: Any) -> None:
        if not isinstance(value, pd.DataFrame):
            raise TypeError(f"{name} must be a DataFrame; got {type(value).__name__}")
        missing = [column for column in columns if column not in value]
        if missing:
            raise ValueError(
                f"{name} must have the columns {', '.join(columns)}; it lacks {', '.join(missing)}"
            )
        if not len(value):
            raise ValueError(f"{name} must have rows; got an empty table")

    return check
