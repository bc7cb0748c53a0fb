"""Docstrings that list the entries of a table are made from the table."""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])


def lists(**tables: Mapping[str, Any]) -> Callable[[_Function], _Function]:
    """Replace each line ``{name}`` of a docstring by the entries of that table.

    A table maps names to entries that have a ``meaning``. Every entry becomes an item of a list,
    indented as the line was.
    """

    def fill(function: _Function) -> _Function:
        for name, table in tables.items():
            items = [f"- ``{entry}``: {value.meaning}" for entry, value in table.items()]
            function.__doc__ = re.sub(
                rf"^( *)\{{{name}\}}$",
                lambda line, items=items: "\n".join(line[1] + item for item in items),
                function.__doc__ or "",
                flags=re.MULTILINE,
            )
        return function

    return fill
