"""The files of a run: tables and the manifest, written and read."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .._shared import MARKER
from ..corpus import COLUMNS as EXAMPLE_COLUMNS
from ..fitting import STATUSES

FORMAT_VERSION = 1
_MANIFEST = ("sites", "layers", "contexts", "audit", "provenance")


def jsonable(value: Any) -> Any:
    """Copy what JSON is to hold, with null for the numbers that JSON has not."""
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


def as_column(values: pd.Series, n_layers: int) -> Tensor:
    if values.name == "status":
        array = pd.Categorical(values, categories=STATUSES).codes.astype(np.int8)
    else:
        array = values.to_numpy(copy=True)
    return torch.from_numpy(array).reshape(n_layers, -1)


def read_manifest(path: Path) -> dict[str, Any]:
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no run directory {path.parent}; `scan` writes one")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {path.parent} is not a complete run")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); scan again") from error
    known = isinstance(manifest, dict) and manifest.get("format") == "tl_negation run"
    if not known or manifest.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path} is not a run of format {FORMAT_VERSION} of tl_negation; scan again with "
            "this version"
        )
    missing = [name for name in _MANIFEST if name not in manifest]
    if missing:
        raise ValueError(f"{path} is damaged (it lacks {', '.join(missing)}); scan again")
    return manifest


def read_contexts(path: Path, n_examples: int) -> pd.DataFrame:
    frame = read_parquet(path)
    # Runs of version 0.1.0 have no column of the document.
    columns = [name for name in (*EXAMPLE_COLUMNS, "tokens") if name != "document"]
    if len(frame) != n_examples or not {*columns} <= set(frame.columns):
        raise ValueError(
            f"{path} should hold {n_examples} rows with the columns {', '.join(columns)}; it holds "
            f"{len(frame)} with {', '.join(frame.columns)}: the run is damaged, scan again"
        )
    return frame


def read_csv(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {path.parent} is not a complete run")
    try:
        return pd.read_csv(path, engine="pyarrow")  # pandas 2 rounds with its own
    except ValueError as error:  # pandas' parser errors are ValueErrors
        raise ValueError(f"{path} is damaged ({error}); scan again") from error


def read_parquet(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {path.parent} is not a complete run")
    try:
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}); scan again") from error
