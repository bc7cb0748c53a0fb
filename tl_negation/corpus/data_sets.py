"""Rows of a data set as strings: any iterable of rows, or a source that ``datasets`` reads."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import requests

SCHEME = "hf:"
FORM = (
    '"hf:NAME?split=train&column=text&limit=1000" (config=NAME for a configuration of it), NAME '
    "being a data set on the Hugging Face hub, a folder or a file of rows"
)
INSTALL = 'pip install "tl_negation[datasets]"'
#: The reader of ``datasets`` for a file, by its ending.
READERS = {
    ".json": "json", ".jsonl": "json", ".csv": "csv", ".parquet": "parquet", ".txt": "text",
}  # fmt: skip
OPTIONS = ("config", "split", "column", "limit")


def strings_of(rows: Iterable[Any], column: str, limit: int | None) -> Iterator[str]:
    """Yield one column of the rows, the first ``limit`` of them.

    A row without a text (None) is an empty string.

    Raises
    ------
    TypeError
        A row that is no mapping; a value that is no string.
    ValueError
        A row without the column.
    """
    for number, row in enumerate(islice(rows, limit)):
        if not isinstance(row, Mapping):
            raise TypeError(
                f"with column={column!r}, every row must be a mapping of columns to values; row "
                f"{number} is a {type(row).__name__}"
            )
        if column not in row:
            raise ValueError(
                f"row {number} has no column {column!r}; it has {', '.join(map(str, row))}"
            )
        value = row[column]
        if value is not None and not isinstance(value, str):
            raise TypeError(
                f"column {column!r} must hold text; row {number} holds a {type(value).__name__}"
            )
        yield value or ""


def parse(source: str) -> dict[str, Any]:
    """Split ``hf:NAME?split=...`` into its parts.

    Returns
    -------
    dict
        ``name``, ``config`` (or None), ``split`` (``"train"``), ``column`` (``"text"``), ``limit``
        (or None).

    Raises
    ------
    ValueError
        Another form.
    """
    name, _, query = source.removeprefix(SCHEME).partition("?")
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError as error:
        raise ValueError(f"cannot read {source!r} ({error}); give {FORM}") from error
    if not name:
        raise ValueError(f"a data set needs a name; got {source!r}, give {FORM}")
    unknown = [option for option in options if option not in OPTIONS]
    if unknown:
        raise ValueError(f"unknown option {unknown[0]!r} in {source!r}; give {FORM}")
    limit = options.get("limit")
    if limit is not None and not (limit.isascii() and limit.isdigit() and int(limit) > 0):
        raise ValueError(f"limit counts rows, from 1; got {limit!r} in {source!r}")
    return {
        "name": name,
        "config": options.get("config"),
        "split": options.get("split", "train"),
        "column": options.get("column", "text"),
        "limit": None if limit is None else int(limit),
    }


def stream(source: str, timeout: float) -> Iterator[str]:
    """Yield the texts of ``hf:NAME?...``, row by row as they arrive.

    Raises
    ------
    ImportError
        ``datasets`` is not installed.
    ConnectionError
        The hub cannot be reached.
    ValueError
        Another form; no such data set, configuration, split or column; a damaged file.
    """
    asked = parse(source)
    datasets = _datasets()
    file = Path(asked["name"]).expanduser()
    with _explained(source, datasets):
        if file.is_file():
            if file.suffix.lower() not in READERS:
                raise ValueError(f"files of rows end in {', '.join(READERS)}")
            reader = READERS[file.suffix.lower()]
            rows = datasets.load_dataset(
                reader, data_files=str(file), split=asked["split"], streaming=True
            )
        else:
            _reach_hub(asked["name"], timeout)
            rows = datasets.load_dataset(
                str(file) if file.is_dir() else asked["name"],
                asked["config"],
                split=asked["split"],
                streaming=True,
            )
        arriving = iter(strings_of(rows, asked["column"], asked["limit"]))
    while True:
        with _explained(source, datasets):
            text = next(arriving, None)
        if text is None:
            return
        yield text


def _datasets() -> Any:
    try:
        import datasets  # slow to import, and optional
    except ImportError as error:
        raise ImportError(
            f"reading a data set needs the library datasets ({error}); install it with "
            f"`{INSTALL}`, or give a path to a plain-text file"
        ) from error
    return datasets


@contextmanager
def _explained(source: str, datasets: Any) -> Iterator[None]:
    """Say which source it was, whatever ``datasets`` raises."""
    try:
        yield
    except ConnectionError as error:
        raise ConnectionError(
            f"cannot reach the Hugging Face hub for {source!r} ({_first_line(error)}); check the "
            "connection, or give a folder or a file of rows that is here"
        ) from error
    except (ValueError, TypeError, OSError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(f"cannot read {source!r}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _reach_hub(name: str, timeout: float) -> None:
    """Raise at once if the hub does not answer: ``datasets`` tries for minutes."""
    from huggingface_hub import constants

    if Path(name).expanduser().is_dir() or constants.HF_HUB_OFFLINE:
        return
    try:
        requests.head(constants.ENDPOINT, timeout=timeout)
    except requests.RequestException as error:
        raise ConnectionError(_first_line(error)) from error
