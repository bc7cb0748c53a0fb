"""The files of a run: tables and the manifest, written and read.

A run may come from anywhere, so nothing in it is trusted: files must be those that the sealed
manifest lists, names that become file names are plain, and what does not fit is refused.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .._shared import (
    MARKER,
    damaged,
    files_of,
    first_changed,
    is_plain,
    jsonable,
    read_sealed,
    read_whole,
)
from ..corpus import COLUMNS as EXAMPLE_COLUMNS
from ..corpus import Contexts
from ..models import UNIT, Site, check_places, every_place, is_site, layer_width
from .columns import coded
from .example_tests import EARLIER, EXAMPLE_TESTS

#: Format 1 is that of version 0.1.0, which kept two tables in the manifest's provenance. From
#: format 3 on the manifest lists the SHA-256 of every file, and is sealed with its own.
FORMAT_VERSION = 3
_CURE = "scan again"
_MANIFEST = ("sites", "layers", "contexts", "audit", "columns", "provenance")
#: Columns of every run of format 1, whose manifest does not list them.
_COLUMNS_1 = (
    "status", "beta", "intercept", "se", "z", "p", "log10_p", "lr", "lr_p", "beta_per_sd",
    "accuracy", "balanced_accuracy", "auc", "significant", "score", "score_p",
)  # fmt: skip
#: Columns of CSV files that hold text even where it looks like numbers, as words may.
_TEXT = ("word", "class", "site")
#: What a run directory holds beside the tables of a result, so that no table may be called so.
_TAKEN = ("profile", "trend")
_DISPLAY = [*UNIT, "example", "tokens", "values"]


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the JSON file by which a run directory is known."""
    text = json.dumps(jsonable(manifest), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / MARKER).write_text(text + "\n", encoding="utf-8")


def write_tables(folder: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write each table as a CSV file of its name, to the last bit.

    Raises
    ------
    ValueError
        A name that no file may have (see :func:`check_table_name`).
    """
    for name, table in tables.items():
        check_table_name(name)
        table.to_csv(folder / f"{name}.csv", index=False)


def check_table_name(name: str) -> None:
    """Refuse a name that may not become the name of a file of a run.

    Raises
    ------
    ValueError
        It is not plain, or another file of a run has it.
    """
    if not is_plain(name):
        raise ValueError(
            f"the name of a table becomes that of a file: letters, digits and _, at most 60 of "
            f"them; got {name!r}"
        )
    if name in _TAKEN:
        raise ValueError(f"a run has a file {name}.csv of its own; call the table something else")


def reading(path: Path) -> AbstractContextManager[None]:
    """Say of whatever goes wrong in reading a run that it is damaged."""
    return read_whole(path, _CURE)


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
    with reading(path):
        manifest, is_sealed = read_sealed(path)
        version = manifest.get("format_version")
        if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
            version = None
        if manifest.get("format") != "tl_negation run" or version is None:
            raise damaged(
                path, f"or it is not a run of format 1 to {FORMAT_VERSION} of tl_negation", _CURE
            )
        if version >= 3 and not is_sealed:
            raise ValueError("its SHA-256 is missing")
        if version == 1:  # its manifest does not name what it has beyond these
            manifest["columns"] = list(_COLUMNS_1)
        missing = [name for name in _MANIFEST if name not in manifest]
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
        _check_manifest(manifest)
        return manifest, _tables_of_format_1(manifest["provenance"]) if version == 1 else {}


def _check_manifest(manifest: Mapping[str, Any]) -> None:
    """Raise ValueError where a field cannot be what a run wrote."""
    layers, provenance = manifest["layers"], manifest["provenance"]
    if not (_is_list_of(layers, int) and layers and min(layers) >= 0):
        raise ValueError(f"layers must be numbers; got {layers!r:.80}")
    for what in ("columns", "tables"):
        names = manifest.get(what, [])
        if not (_is_list_of(names, str) and all(map(is_plain, names))):
            raise ValueError(f"{what} must be plain names; got {names!r:.80}")
    sites = manifest["sites"]
    if not (isinstance(sites, list) and sites and all(map(is_site, sites))):
        raise ValueError(f"a site that this version does not know: {sites!r:.200}")
    for what, values in (
        ("layers", layers),
        ("columns", manifest["columns"]),
        ("tables", manifest.get("tables", [])),
        ("sites", [site["name"] for site in sites]),
    ):
        if len(set(values)) < len(values):
            raise ValueError(f"{what} are named twice: {values!r:.80}")
    for name in ("status", "significant"):
        if name not in manifest["columns"]:
            raise ValueError(f"the column {name} is missing")
    _check_provenance(provenance)


def _check_provenance(provenance: Any) -> None:
    """Raise ValueError unless it says which model was tested, and by which test."""
    test = provenance.get("test") if isinstance(provenance, dict) else None
    needed = {"family": str, "correction": str, "alpha": (int, float)}
    if not (
        isinstance(test, dict)
        and isinstance(provenance.get("model"), dict)
        and all(isinstance(test.get(key), kind) for key, kind in needed.items())
    ):
        raise ValueError("its provenance does not say what was tested")
    if str(test.get("test", EARLIER)) not in EXAMPLE_TESTS:
        raise ValueError(f"there is no test {test['test']!r:.60}")


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(type(item) is kind for item in value)


def check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Compare every file that the run recorded with its SHA-256; an earlier format has none.

    What is read must be recorded, and no link: that would be a file of somebody else's.

    Raises
    ------
    ValueError
        Names the first that is not as it was written.
    """
    if manifest["format_version"] < 3:
        return
    tables = [f"{name}.csv" for name in manifest.get("tables", [])]
    for name in ("units.parquet", "contexts.parquet", "display.parquet", *tables):
        path, recorded = folder / name, name in files_of(manifest, folder)
        if path.is_symlink() or (path.exists() and not recorded):
            raise damaged(path, "the run did not write it", _CURE)
    if (name := first_changed(folder, files_of(manifest, folder))) is not None:
        raise damaged(folder / name, "it is not as it was written: its SHA-256 differs", _CURE)


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


def read_units(
    path: Path, sites: Sequence[Site], layers: Sequence[int], manifest: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Read the table of units: tensors ``[layer, unit]``, whatever the order of the rows.

    Format 1 does not name its columns; of it, all that there are are read.

    Raises
    ------
    FileNotFoundError
        The file is missing.
    ValueError
        The file is damaged, or it does not hold these columns of these units, each once.
    """
    columns, shape = manifest["columns"], (len(layers), layer_width(sites))
    frame = _read_rows(path, shape[0] * shape[1], [*UNIT, *columns], columns)
    with reading(path):
        ordered = frame.iloc[every_place(frame, sites, layers)]
        if manifest["format_version"] == 1:
            columns = [str(name) for name in ordered if name not in UNIT]
        return {name: _as_column(ordered[name]).reshape(shape) for name in columns}


def _as_column(values: pd.Series) -> Tensor:
    """Turn a column of units.parquet into a tensor.

    Raises
    ------
    ValueError
        It holds an unknown status, or something other than numbers.
    """
    if names := coded([str(values.name)]).get(str(values.name)):
        known = values if values.name == "status" else values.dropna()  # every unit has a status
        unknown = sorted(set(map(str, known)) - set(names))
        if unknown:
            raise ValueError(f"there is no {values.name} {unknown[0]!r:.60}")
        codes = pd.Categorical(values, categories=list(names)).codes
        return torch.from_numpy(codes.astype(np.int8))
    kinds = "b" if str(values.name).startswith("significant") else "fi"
    if values.dtype.kind not in kinds:
        what = "yes or no" if kinds == "b" else "numbers"
        raise ValueError(f"the column {values.name} holds {values.dtype}, not {what}")
    return torch.from_numpy(values.to_numpy(copy=True))


def read_contexts(path: Path, manifest: Mapping[str, Any]) -> Contexts:
    """Read the contexts of a run.

    Raises
    ------
    FileNotFoundError
        The file is missing.
    ValueError
        The file is damaged, or does not hold the examples that the manifest counts.
    """
    # Runs of version 0.1.0 do not have the column of the document.
    columns = [name for name in (*EXAMPLE_COLUMNS, "tokens") if name != "document"]
    with reading(path):
        examples = manifest["audit"]["examples"]
    frame = _read_rows(path, examples, columns, columns)
    with reading(path):
        contexts = Contexts.from_frame(frame, **manifest["contexts"])
        counts = jsonable(contexts.counts())
        differ = [name for name in counts if counts[name] != manifest["audit"].get(name)]
        if manifest["format_version"] > 2 and differ:
            raise ValueError(f"its {', '.join(differ)} are not those that {MARKER} counts")
        return contexts


def read_display(
    path: Path,
    contexts: Contexts,
    sites: Sequence[Site],
    layers: Sequence[int],
    manifest: Mapping[str, Any],
) -> pd.DataFrame | None:
    """Read the activations that are kept for views, if there are any.

    Raises
    ------
    FileNotFoundError
        The run recorded the file, and it is missing.
    ValueError
        The file is damaged, or does not fit the contexts.
    """
    if not path.exists() and path.name not in files_of(manifest, path.parent):
        return None
    display = read_parquet(path)
    with reading(path):
        missing = [name for name in _DISPLAY if name not in display]
        if missing:
            raise ValueError(f"it lacks the columns {', '.join(missing)}")
        if not display["example"].between(0, len(contexts) - 1).all():
            raise ValueError("it shows examples that there are not")
        width = contexts.tokens.shape[1]
        for tokens, values in zip(display["tokens"], display["values"], strict=True):
            if not len(tokens) == len(values) == width:
                raise ValueError("it does not hold a value for every token of a window")
            if not all(isinstance(token, str) for token in tokens):
                raise ValueError("it holds tokens that are no text")
            np.asarray(values, dtype=float)
        check_places(display, sites, layers)
    return display


def _read_rows(
    path: Path, n_rows: int, needed: Sequence[str], named: Sequence[str]
) -> pd.DataFrame:
    frame = read_parquet(path)
    if len(frame) != n_rows or not {*needed} <= {*frame.columns}:
        raise ValueError(
            f"{path} should hold {n_rows} rows with the columns {', '.join(named)}; it holds "
            f"{len(frame)} with {', '.join(map(str, frame.columns))}: the run is damaged, {_CURE}"
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
    with reading(path), path.open("rb") as file:
        table = csv.read_csv(file, convert_options=options)
        empty = [column.name for column in table.schema if pa.types.is_null(column.type)]
        dtypes: dict[str, Any] = dict.fromkeys(empty, float)
        if {*UNIT} <= {*table.column_names}:  # of units, some of which may have no head
            dtypes["head"] = "Int64"
        return table.to_pandas().astype(dtypes)


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
    # As an open file: pyarrow cannot take a name that is no text.
    with reading(path), path.open("rb") as file:
        return pd.read_parquet(file)


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {path.parent} is not a complete run")
