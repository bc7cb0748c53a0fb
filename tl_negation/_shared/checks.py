"""Checks of the arguments of public functions: a wrong type raises at once, in our own words.

``@validated`` above a function reads its signature: what is annotated ``int`` must be an integer,
what is annotated with a class an instance of it, ``Annotated[int, count]`` an integer from 1.
Ranges that depend on other arguments are checked in the function itself. A new kind of check is a
function ``(name, value)`` that raises; an annotation names it, ``Annotated[float, share]``.
"""

import collections.abc
import inspect
import math
import os
import types
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import cache, wraps
from numbers import Integral, Real
from pathlib import Path
from reprlib import repr as short
from typing import (
    Annotated,
    Any,
    ParamSpec,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

_Given = ParamSpec("_Given")
_Returned = TypeVar("_Returned")
#: Takes an argument's name and value, and raises TypeError or ValueError.
Check = Callable[[str, Any], None]
#: Where an object of a class comes from.
_CURES = {
    "ProbeResult": "probe(acts) makes one, load_result(path) reads one",
    "Activations": "collect(model, contexts) makes them",
    "Contexts": "find_contexts(text, tokenizer) makes them",
    "Contrast": "NEGATION is one",
    "Text": "load_text(source) makes one",
    "Replication": "replicate(result, other) makes one",
    "Ablation": "ablate(model, contexts, units) makes one",
    "Attribution": "attribute(model, contexts) makes one",
    "Corpus": "load_text(sources) makes one",
    "TransformerLensModel": "load_model(name) loads one, and TransformerBridge.boot_transformers("
    "name, hf_model=model, tokenizer=tokenizer) makes one of a Hugging Face model",
}


def validated(function: Callable[_Given, _Returned]) -> Callable[_Given, _Returned]:
    """Check every argument against its annotation before the function runs.

    What :func:`check_of` has no check for is left to the function; so are ``*args`` and
    ``**options``, and defaults. Names in annotations must exist at run time.

    >>> @validated
    ... def double(n: Count) -> int:
    ...     return 2 * n
    >>> double(0)
    Traceback (most recent call last):
    ValueError: n must be at least 1; got 0
    """
    signature = inspect.signature(function)
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = [name for name, param in signature.parameters.items() if param.kind not in several]

    @cache  # at the first call, because a method's own class does not exist before
    def checks() -> dict[str, Check]:
        hints = get_type_hints(function, include_extras=True)
        found = {name: check_of(hints[name]) for name in names if name in hints}
        return {name: check for name, check in found.items() if check is not None}

    @wraps(function)
    def with_checks(*args: _Given.args, **kwargs: _Given.kwargs) -> _Returned:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:  # too many or too few arguments: Python's own message says which
            return function(*args, **kwargs)
        for name, check in checks().items():
            if name in given:
                check(name, given[name])
        return function(*args, **kwargs)

    return with_checks


def check_of(hint: Any) -> Check | None:
    """Find the check for an annotation; None where the function itself has to look.

    >>> check_of(int | None)("layers", "all")
    Traceback (most recent call last):
    TypeError: layers must be an integer; got 'all'
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        own = next((part for part in parts[1:] if callable(part)), None)
        return cast("Check", own) if own else check_of(parts[0])
    if origin in (Union, types.UnionType):
        return _check_of_union(parts)
    if origin in (collections.abc.Sequence, collections.abc.Iterable):
        return sequence
    hint = getattr(hint, "array_type", hint)  # jaxtyping: shapes are checked under pytest
    if hint in _PLAIN:
        return _PLAIN[hint]
    return instance(hint) if _is_class(hint) else None


def _check_of_union(parts: tuple[Any, ...]) -> Check | None:
    rest = [part for part in parts if part is not types.NoneType]
    if len(rest) < len(parts):
        check = check_of(Union[tuple(rest)]) if rest else None  # noqa: UP007 - made at run time
        return None if check is None else optional(check)
    if set(rest) == {str, Path}:
        return path
    if set(rest) == {int, float}:
        return number
    kinds = tuple(dict.fromkeys(getattr(part, "array_type", part) for part in rest))
    return instance(kinds) if all(map(_is_class, kinds)) else None


def _is_class(hint: Any) -> bool:
    """Whether ``isinstance`` checks what the annotation means.

    It does not for Any and object; for bool, because 0, 1 and numpy's bool do as well; for int and
    float, because numpy's numbers are no instances of them; and for a Protocol that is static only.
    """
    loose = (Any, object, bool, int, float)
    plain = isinstance(hint, type) and get_origin(hint) is None and hint not in loose
    return plain and (not _is_protocol(hint) or getattr(hint, "_is_runtime_protocol", False))


def _is_protocol(hint: type) -> bool:
    return getattr(hint, "_is_protocol", False)


def instance(kinds: type | tuple[type, ...]) -> Check:
    """Build the check of an instance of one of these classes."""
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)

    def check(name: str, value: Any) -> None:
        if not isinstance(value, kinds):
            names = " or ".join(kind.__name__ for kind in kinds)
            cure = _CURES.get(kinds[0].__name__, "")
            raise TypeError(
                f"{name} must be of type {names}; got {type(value).__name__}"
                f"{_lacking(kinds[0], value)}{': ' + cure if cure else ''}"
            )

    return check


def _lacking(kind: type, value: Any) -> str:
    """Name the members of a Protocol that a value does not have."""
    members = vars(kind) if _is_protocol(kind) else ()
    missing = [name for name in members if name[0] != "_" and not hasattr(value, name)]
    return f", which has no {', '.join(missing)}" if missing else ""


def integer(name: str, value: Any) -> None:
    """Raise TypeError unless the value is an integer; bool does not count."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer; got {short(value)}")


def seed(name: str, value: Any) -> None:
    """Raise unless the value is an integer from 0."""
    integer(name, value)
    if value < 0:
        raise ValueError(f"{name} must not be negative; got {value}")


def count(name: str, value: Any) -> None:
    """Raise unless the value is an integer from 1."""
    integer(name, value)
    if value < 1:
        raise ValueError(f"{name} must be at least 1; got {value}")


def tokens(name: str, value: Any) -> None:
    """Raise unless the value is a number of tokens: an integer from 0."""
    integer(name, value)
    if value < 0:
        raise ValueError(f"{name} counts tokens and cannot be negative; got {value}")


def real(name: str, value: Any) -> None:
    """Raise TypeError unless the value is a number; infinity and NaN are numbers."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number; got {short(value)}")


def number(name: str, value: Any) -> None:
    """Raise unless the value is a finite number."""
    real(name, value)
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite; got {value}")


def string(name: str, value: Any) -> None:
    """Raise TypeError unless the value is a string."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string; got {short(value)}")


def path(name: str, value: Any) -> None:
    """Raise unless the value can name a file."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} must be a path; got {short(value)}")
    if not os.fspath(value) or "\0" in os.fsdecode(value):
        raise ValueError(f"{name} must name a file or folder; got {value!r}")


def sequence(name: str, value: Any) -> None:
    """Raise TypeError unless the value holds several in an order: no string, set or mapping."""
    unordered = (str, bytes, set, frozenset, dict)
    if not hasattr(value, "__iter__") or isinstance(value, unordered):
        cure = f": write [{short(value)}]" if isinstance(value, str) else ""
        raise TypeError(f"{name} must be a list; got {short(value)}{cure}")


def optional(check: Check) -> Check:
    """Build a check that lets None through."""

    def maybe(name: str, value: Any) -> None:
        if value is not None:
            check(name, value)

    return maybe


def table(*columns: str, cure: str = "") -> Check:
    """Build the check of a DataFrame that has rows, and these columns; the cure says who has one.

    >>> table("layer", cure="result.top(1) gives one")("units", [3])
    Traceback (most recent call last):
    TypeError: units must be a DataFrame; got list: result.top(1) gives one
    """
    hint = f": {cure}" if cure else ""

    def check(name: str, value: Any) -> None:
        import pandas as pd

        if not isinstance(value, pd.DataFrame):
            raise TypeError(f"{name} must be a DataFrame; got {type(value).__name__}{hint}")
        missing = [column for column in columns if column not in value]
        if missing:
            raise ValueError(
                f"{name} must have the columns {', '.join(columns)}; it lacks "
                f"{', '.join(missing)}{hint}"
            )
        if not len(value):
            raise ValueError(f"{name} must have rows; got an empty table{hint}")

    return check


#: Checks of annotations that are not classes of this package.
_PLAIN: dict[Any, Check] = {int: integer, float: number, str: string, Path: path}
Seed = Annotated[int, seed]
Count = Annotated[int, count]
TokenCount = Annotated[int, tokens]


def nearest(value: Any, known: Iterable[str]) -> str:
    """End a message with the known name that is nearest to an unknown one, if one is near."""
    close = get_close_matches(value, list(known), n=1) if isinstance(value, str) else []
    return f": did you mean {close[0]!r}?" if close else ""
