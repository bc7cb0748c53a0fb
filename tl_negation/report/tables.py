"""Tables on the page: a header says what its column means, a cell how it is sorted."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from ..fitting import STATUSES
from ..models import SITES, has_heads
from ..probing import SUMMARY_COLUMNS, explained

#: Columns that the table of units leaves to units.parquet: they depend on a unit's scale, or
#: another column says the same.
UNITS_LEFT_OUT = {
    *("beta", "intercept", "se", "z", "p", "lr_p", "score", "score_p", "words_p"),
    *("log10_lr_p", "log10_score_p"),
    *("held_out_macro", "cluster_se", "cluster_t"),
    *("firth_intercept", "firth_beta", "firth_se", "firth_lr", "firth_accuracy"),
    *("firth_balanced_accuracy", "firth_status", "log10_firth_p", "log10_cluster_p"),
    *("log10_lr_p", "log10_score_p"),
}
#: What the table of units shows first, in this order: as many as fit beside each other; the others
#: are there on request.
UNITS_FIRST = (
    *("layer", "site", "head", "index", "pairs_t", "pairs_p_maxt", "words_t", "words_p_maxt"),
    *("held_out_accuracy", "effect_per_sd", "auc", "lr", "accuracy", "significant"),
)
FIT = 9
#: Numbers that count nothing: without a comma between thousands.
NUMBERING = {"layer", "head", "index", "label", "labeling", "replicate"}
#: Headings that are no plain reading of the column's name.
HEADINGS = {
    "words_t": "t over words",
    "words_p_maxt": "p over words (max-T)",
    "pairs_t": "t over pairs",
    "pairs_p_maxt": "p over pairs (max-T)",
    "held_out_accuracy": "accuracy, unseen words",
    "effect_per_sd": "effect per SD",
    "auc": "AUC",
    "lr": "likelihood ratio",
}
_EFFECT = (
    "Change of the log-odds of class 1 per standard deviation of the unit; where the classes "
    "separate, so that the ordinary fit has none, Firth's"
)
#: Columns that the profile's table leaves out: the same in every row, or only counts of failures.
PROFILE_LEFT_OUT = {*STATUSES, "test", "family", "correction", "alpha", "base_rate"}


class Header(NamedTuple):
    """Head of a column."""

    name: str
    hint: str
    is_number: bool
    is_extra: bool = False  # shown on request


class Cell(NamedTuple):
    """What a cell shows, and what it is sorted by."""

    text: str
    key: str


class Table(NamedTuple):
    """Headers and cells as the template shows them."""

    headers: list[Header]
    rows: list[list[Cell]]


def units_table(units: pd.DataFrame) -> Table:
    """Make the table of the strongest units: the columns to begin with, then the others."""
    units = units.assign(effect_per_sd=_effects(units))
    units = units.drop(columns=[name for name in units if name in UNITS_LEFT_OUT])
    first = [name for name in UNITS_FIRST if name in units][:FIT]
    others = [name for name in units if name not in first]
    table = page_table(units[[*first, *others]], {"effect_per_sd": _EFFECT})
    headers = [head._replace(is_extra=i >= len(first)) for i, head in enumerate(table.headers)]
    return Table(headers, table.rows)


def _effects(units: pd.DataFrame) -> pd.Series:
    """Return the slope per standard deviation; Firth's where there is no ordinary one."""
    own = units["beta_per_sd"]
    return own.fillna(units["firth_beta_per_sd"]) if "firth_beta_per_sd" in units else own


def profile_table(profile: pd.DataFrame) -> Table:
    """Make the table of a profile, without the bands of the lexical null, which a figure shows."""
    names = [str(name) for name in profile]
    left_out = [name for name in names if name in PROFILE_LEFT_OUT or name.startswith("null_")]
    return page_table(profile.drop(columns=left_out))


def page_table(frame: pd.DataFrame, hints: Mapping[str, str] | None = None) -> Table:
    """Turn any of the result's tables into cells; the name of a column decides its format.

    Parameters
    ----------
    frame
        The table.
    hints
        What its columns mean, if they are not columns of units or of their summaries.
    """
    known = {**explained(), **SUMMARY_COLUMNS, "site": _sites_hint(), **(hints or {})}
    headers = [
        Header(
            HEADINGS.get(name, name.replace("_", " ")), known.get(name, ""), _is_number(frame[name])
        )
        for name in map(str, frame)
    ]
    rows = [
        [Cell(*_cell(str(name), value)) for name, value in _without_no_head(row).items()]
        for row in frame.to_dict("records")
    ]
    return Table(headers, rows)


def _sites_hint() -> str:
    return ", ".join(f"{name}: {record.meaning}" for name, record in SITES.items())


def _is_number(column: pd.Series) -> bool:
    return is_numeric_dtype(column) and not is_bool_dtype(column)


def _without_no_head(row: Mapping[Any, Any]) -> dict[Any, Any]:
    """Remove the number of the head, which is 0 where a site does not have heads."""
    headless = "head" in row and not has_heads(row["site"])
    return {**row, "head": math.nan} if headless else dict(row)


def _cell(name: str, value: Any) -> tuple[str, str]:
    """Return the text of a cell, and what to sort it by."""
    if isinstance(value, (bool, np.bool_)):
        return ("yes" if value else "no"), str(int(value))
    if isinstance(value, (int, np.integer)):
        return (str(value) if name in NUMBERING else f"{value:,}"), str(value)
    if not isinstance(value, (float, np.floating)):
        return str(value), str(value)
    if np.isnan(value):
        return "none", ""
    percent = name.startswith("share") or "accuracy" in name
    return (f"{value:.1%}" if percent else f"{value:.4g}"), repr(float(value))
