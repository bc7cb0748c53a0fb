"""Data sets as strings, a row each: any iterable of rows, or a source that ``datasets`` reads."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl

from .._shared import expanded, nearest

#: A source that begins so is a data set.
SCHEME = "hf:"
FORM = (
    '"hf:NAME?split=train&column=text&limit=1000" (config=NAME for one of its configurations); '
    "NAME is a data set on the Hugging Face hub, or a folder or file of rows"
)
INSTALL = 'pip install "tl_negation[datasets]"'
#: Ending of a file -> the reader of ``datasets`` for it.
READERS = {
    ".json": "json",
    ".jsonl": "json",
    ".csv": "csv",
    ".parquet": "parquet",
    ".txt": "text",
}
OPTIONS = ("config", "split", "column", "limit")


def strings_of(rows: Iterable[Any], column: str, limit: int | None) -> Iterator[str]:
    """Yield one column of the rows, of the first ``limit`` rows if there is a limit.

    A row without a text (None) becomes an empty string.

    Raises
    ------
    TypeError
        A row that is not a mapping; a value that is not a string.
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
                f"{nearest(column, map(str, row))}"
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
        The source does not have this form.
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
        hint = nearest(unknown[0], OPTIONS)
        raise ValueError(f"unknown option {unknown[0]!r} in {source!r}{hint}; give {FORM}")
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
        The source does not have the form of :func:`parse`; there is no such data set,
        configuration, split or column; a file is damaged.
    """
    asked = parse(source)
    datasets = _datasets()
    with _explained(source, datasets):
        rows = _open(asked, datasets, timeout)
        strings = iter(strings_of(rows, asked["column"], asked["limit"]))
    while True:
        with _explained(source, datasets):  # rows are read, and may fail, one at a time
            string = next(strings, None)
        if string is None:
            return
        yield string


def _open(asked: Mapping[str, Any], datasets: Any, timeout: float) -> Iterable[Any]:
    """Begin to stream the rows of a file, a folder or a data set of the hub."""
    path = expanded(asked["name"])
    options = {"split": asked["split"], "streaming": True}
    if path.is_file():
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            raise ValueError(f"files of rows end in {', '.join(READERS)}; got {path.name!r}")
        return datasets.load_dataset(reader, data_files=str(path), **options)
    if path.is_dir():
        return datasets.load_dataset(str(path), asked["config"], **options)
    _reach_hub(timeout)
    return datasets.load_dataset(asked["name"], asked["config"], **options)


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            f"reading a data set needs the library datasets ({error}); install it with "
            f"`{INSTALL}`, or give a path to a plain-text file"
        ) from error
    return datasets


@contextmanager
def _explained(source: str, datasets: Any) -> Iterator[None]:
    """Name the source in the message of whatever ``datasets`` raises."""
    try:
        yield
    except ConnectionError as error:
        raise ConnectionError(
            f"cannot reach the Hugging Face hub for {source!r} ({_first_line(error)}); check the "
            "connection, or give a folder or file of rows on this machine"
        ) from error
    except (ValueError, TypeError, OSError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(f"cannot read {source!r}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _reach_hub(timeout: float) -> None:
    """Raise at once if the hub does not answer; ``datasets`` would try for minutes."""
    import requests
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:  # then datasets looks into its cache
        return
    try:
        requests.head(constants.ENDPOINT, timeout=timeout)
    except requests.RequestException as error:
        raise ConnectionError(_first_line(error)) from error
