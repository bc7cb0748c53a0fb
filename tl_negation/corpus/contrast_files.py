"""Contrasts in TOML files."""

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]


def read_contrast(path: Path, known: Collection[str]) -> dict[str, Any]:
    """Read the fields of a contrast from a TOML file; ``known`` are those it may have.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is not TOML in UTF-8, lacks a name or lists, or holds something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; a contrast is a TOML file")
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML in UTF-8: {error}") from error
    unknown = [name for name in found if name not in known]
    missing = [name for name in ("name", "lists") if name not in found]
    if unknown or missing:
        wrong = f"lacks {missing[0]!r}" if missing else f"holds {unknown[0]!r}"
        raise ValueError(f"a contrast has {', '.join(known)}; {path} {wrong}")
    return found
