"""What a table must have before it is drawn."""

from collections.abc import Sequence
from typing import Any

import pandas as pd


def check_drawable(table: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    """Raise ValueError unless the table has rows and these columns.

    Parameters
    ----------
    table
        The table.
    columns
        Names of columns; at least one.
    what
        What the table is, for the message.
    """
    missing = [name for name in columns if name not in table]
    if missing or table.empty or not columns:
        raise ValueError(
            f"{what} needs rows and the columns {', '.join(columns)}; it has {len(table)} rows "
            f"and lacks {', '.join(missing) or 'no column'}"
        )


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table whose columns are named by strings."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def names_in(column: "pd.Series[Any]") -> list[str]:
    """Return the different texts of a column, in the order of their first rows."""
    return [str(name) for name in column.unique()]
