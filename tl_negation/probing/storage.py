"""The files of a run: tables and the manifest, written and read."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .._shared import MARKER
from ..corpus import COLUMNS as EXAMPLE_COLUMNS
from ..fitting import STATUSES
from ..models import UNIT

#: Format 1 is that of version 0.1.0, which kept two tables in the manifest's provenance.
FORMAT_VERSION = 2
_MANIFEST = ("sites", "layers", "contexts", "audit", "columns", "provenance")
#: Columns of every run of format 1, whose manifest does not list them.
_COLUMNS_1 = (
    "status", "beta", "intercept", "se", "z", "p", "log10_p", "lr", "lr_p", "beta_per_sd",
    "accuracy", "balanced_accuracy", "auc", "significant", "score", "score_p",
)  # fmt: skip
#: Columns of CSV files that hold text even where it looks like numbers, as words may.
_TEXT = ("word", "class", "site")


def jsonable(value: Any) -> Any:
    """Copy what JSON is to hold; numbers that JSON does not know, NaN and infinity, become null."""
    if isinstance(value, Mapping):
        return {name: jsonable(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the JSON file by which a run directory is known."""
    text = json.dumps(jsonable(manifest), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / MARKER).write_text(text + "\n", encoding="utf-8")


def write_tables(folder: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write each table as a CSV file of its name, to the last bit."""
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)


def read_manifest(path: Path) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """Read a manifest of any format, and the tables that format 1 kept in it.

    Raises
    ------
    FileNotFoundError
        There is no such run, or its manifest is missing.
    ValueError
        The manifest is damaged, or that of something else.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no run directory {path.parent}; `scan` writes one")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {path.parent} is not a complete run")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); scan again") from error
    known = isinstance(manifest, dict) and manifest.get("format") == "tl_negation run"
    if not known or manifest.get("format_version") not in (1, FORMAT_VERSION):
        raise ValueError(
            f"{path} is not a run of format 1 or {FORMAT_VERSION} of tl_negation; scan again with "
            "this version"
        )
    is_format_1 = manifest["format_version"] == 1
    if is_format_1:
        manifest["columns"] = _COLUMNS_1
    missing = [name for name in _MANIFEST if name not in manifest]
    if missing:
        raise ValueError(f"{path} is damaged (it lacks {', '.join(missing)}); scan again")
    return manifest, _tables_of_format_1(manifest["provenance"]) if is_format_1 else {}


def _tables_of_format_1(provenance: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """Take tables out of the provenance, where version 0.1.0 kept them; null becomes NaN."""
    tables = {}
    if by_word := provenance.pop("held_out_by_word", None):
        rows = [
            {**word, "layer": layer, "site": site, "accuracy": accuracy}
            for word, row in zip(by_word["words"], by_word["accuracy"], strict=True)
            for layer, site, accuracy in zip(by_word["layer"], by_word["site"], row, strict=True)
        ]
        tables["held_out_by_word"] = pd.DataFrame(rows).astype({"accuracy": float})
    if bands := provenance.get("lexical_null", {}).pop("bands", None):
        numbers = dict.fromkeys([name for name in bands if name.startswith("null_")], float)
        tables["lexical_null"] = pd.DataFrame(bands).astype(numbers)
    return tables


def as_column(values: pd.Series, n_layers: int) -> Tensor:
    """Turn a column of units.parquet into a tensor ``[layer, unit]``."""
    if values.name == "status":
        array = pd.Categorical(values, categories=list(STATUSES)).codes.astype(np.int8)
    else:
        array = values.to_numpy(copy=True)
    return torch.from_numpy(array).reshape(n_layers, -1)


def read_units(path: Path, n_units: int, columns: Sequence[str]) -> pd.DataFrame:
    """Read the table of units: a row per layer and unit.

    Raises
    ------
    FileNotFoundError
        The file is missing.
    ValueError
        The file is damaged, or it does not hold these columns of this many units.
    """
    return _read_rows(path, n_units, [*UNIT, *columns], columns)


def read_contexts(path: Path, n_examples: int) -> pd.DataFrame:
    """Read the table of examples.

    Raises
    ------
    FileNotFoundError
        The file is missing.
    ValueError
        The file is damaged, or it does not hold this many examples.
    """
    # Runs of version 0.1.0 do not have the column of the document.
    columns = [name for name in (*EXAMPLE_COLUMNS, "tokens") if name != "document"]
    return _read_rows(path, n_examples, columns, columns)


def _read_rows(
    path: Path, n_rows: int, needed: Sequence[str], named: Sequence[str]
) -> pd.DataFrame:
    frame = read_parquet(path)
    if len(frame) != n_rows or not {*needed} <= {*frame.columns}:
        raise ValueError(
            f"{path} should hold {n_rows} rows with the columns {', '.join(named)}; it holds "
            f"{len(frame)} with {', '.join(frame.columns)}: the run is damaged, scan again"
        )
    return frame


def read_csv(path: Path) -> pd.DataFrame:
    """Read a table of a run, to the last bit.

    Raises
    ------
    FileNotFoundError
        The file is missing.
    ValueError
        The file is damaged.
    """
    import pyarrow as pa
    from pyarrow import csv  # pandas' own readers round, or take the word "null" for nothing

    _require_file(path)
    types = dict.fromkeys(_TEXT, pa.string())
    options = csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True)
    try:
        table = csv.read_csv(path, convert_options=options)
    except ValueError as error:  # pyarrow's ArrowInvalid is one
        raise ValueError(f"{path} is damaged ({error}); scan again") from error
    empty = [column.name for column in table.schema if pa.types.is_null(column.type)]
    return table.to_pandas().astype(dict.fromkeys(empty, float))


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a table of a run.

    Raises
    ------
    FileNotFoundError
        The file is missing.
    ValueError
        The file is damaged.
    """
    _require_file(path)
    try:
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}); scan again") from error


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {path.parent} is not a complete run")
