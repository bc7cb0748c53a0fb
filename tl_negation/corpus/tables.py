"""Tables of somebody's own examples, from memory or from a file, as a DataFrame."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from .._shared import expanded

#: What a table may be, for messages.
KINDS = (
    "a DataFrame, a list of dicts, a Hugging Face data set, or the path of a "
    ".csv, .tsv, .jsonl, .json or .parquet file"
)


def _text_file(separator: str) -> Callable[[Path], pd.DataFrame]:
    # Nothing is a missing value but an empty field: "None" and "NA" may be what somebody said.
    return lambda path: pd.read_csv(
        path, sep=separator, encoding="utf-8-sig", keep_default_na=False, na_values=[""]
    )


#: Ending of a file -> how it is read.
READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": _text_file(","),
    ".tsv": _text_file("\t"),
    ".jsonl": lambda path: pd.read_json(path, lines=True, dtype=False),
    ".json": lambda path: pd.read_json(path, dtype=False),
    ".parquet": pd.read_parquet,
}


def is_table(path: Path) -> bool:
    """Whether a file's ending says that it holds a table."""
    return path.suffix.lower() in READERS


def read_table(table: Any) -> tuple[pd.DataFrame, str]:
    """Read a table whose rows are numbered from 0; say where it came from.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    TypeError
        Something else than a table, or a row that is not a mapping.
    ValueError
        A file of another kind, or one that cannot be read; a table without rows; a column that is
        there twice.
    """
    if isinstance(table, (str, Path)):
        frame, source = _read(expanded(table)), str(table)
    elif isinstance(table, pd.DataFrame):
        frame, source = table, "DataFrame"
    elif callable(getattr(table, "to_pandas", None)):  # a Hugging Face data set, a polars frame
        frame, source = table.to_pandas(), type(table).__name__
    else:
        frame, source = _frame_of(table), f"{type(table).__name__} of rows"
    frame = frame.reset_index(drop=True)
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise ValueError(f"each column once; the table has {twice[0]!r} more than once")
    if not len(frame):
        raise ValueError(f"examples need rows; {source} has none")
    return frame, source


def _read(path: Path) -> pd.DataFrame:
    reader = READERS.get(path.suffix.lower())
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}; examples are {KINDS}")
    if reader is None or not path.is_file():
        raise ValueError(f"a table of examples is {KINDS}; got {path}")
    try:
        return reader(path)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8"
        ) from error
    except (ValueError, OSError) as error:  # pandas' and pyarrow's own errors are ValueErrors
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"cannot read {path} as a table: {line}") from error


def _frame_of(rows: Any) -> pd.DataFrame:
    if isinstance(rows, Mapping):
        nested = [name for name, part in rows.items() if hasattr(part, "to_pandas")]
        if nested:
            raise TypeError(f"the data set has the splits {', '.join(nested)}; give one of them")
        raise TypeError(f"a table of examples is {KINDS}; got a {type(rows).__name__}")
    if isinstance(rows, bytes) or not isinstance(rows, Iterable):
        raise TypeError(f"a table of examples is {KINDS}; got a {type(rows).__name__}")
    rows = list(rows)
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TypeError(
                f"every row must be a mapping of columns to values; row {number} is a "
                f"{type(row).__name__}"
            )
    return pd.DataFrame(rows, dtype=object).infer_objects()
