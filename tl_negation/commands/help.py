"""Help texts that list sites, corrections and the like, filled from their tables when printed.

The tables are in rooms that import torch, which takes seconds; commands are declared without it.
An option's help therefore names a table in braces, ``{sites}``, and is filled when somebody asks
for help. A new entry of a table is in the help at once.
"""

import re
from collections.abc import Mapping
from copy import copy
from importlib import import_module
from typing import Any, NamedTuple

from typer.core import TyperCommand


class List(NamedTuple):
    """Where the entries of a list are: a table of a room, and which attribute says what one is."""

    room: str
    table: str
    meaning: str | None = "meaning"  # None: the names speak for themselves


#: Name in braces -> the table that replaces it.
LISTS = {
    "sites": List("models", "SITES"),
    "presets": List("corpus", "PRESETS"),
    "tests": List("probing", "EXAMPLE_TESTS", "name"),
    "families": List("probing", "FAMILIES"),
    "corrections": List("probing", "CORRECTIONS", "name"),
    "alternatives": List("inference", "ALTERNATIVES"),
    "extras": List("inference", "EXTRAS"),
    "hows": List("interventions", "HOWS"),
    "hardware": List("runs", "HARDWARE", "name"),
    "dtypes": List("runs", "DTYPES", None),
}


class Command(TyperCommand):
    """A command whose help is filled from the tables, and which one process alone runs."""

    #: Whether several processes can share its work.
    splits = False

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help of a copy: the command's own texts keep their braces for the next time."""
        shown = copy(self)
        shown.help = fill(self.help)
        shown.params = [copy(param) for param in self.params]
        for param in shown.params:
            if text := getattr(param, "help", None):
                setattr(param, "help", fill(text))  # noqa: B010 - Parameter declares no help
        TyperCommand.format_help(shown, ctx, formatter)

    def invoke(self, ctx: Any) -> Any:
        """Run the command, unless a launcher started several processes that would all run it."""
        from .._shared import launched

        if launched() > 1 and not self.splits:
            raise ValueError(
                f"only scan splits its work over processes; {launched()} processes would each run "
                f"{self.name}: give this command without accelerate launch"
            )
        return super().invoke(ctx)


class SplittingCommand(Command):
    """A command whose work several processes share."""

    splits = True


def fill(text: str | None) -> str:
    """Replace every ``{name}`` by the entries of that table."""
    return re.sub(r"\{(\w+)\}", lambda found: entries(LISTS[found[1]]), text or "")


def entries(listed: List) -> str:
    """Name the entries of a table, with what each means where that is known: ``q (query), ...``."""
    table = getattr(import_module(f"tl_negation.{listed.room}"), listed.table)
    if listed.meaning is None or not isinstance(table, Mapping):
        return ", ".join(table)
    return ", ".join(
        f"{name} ({entry if isinstance(entry, str) else getattr(entry, listed.meaning)})"
        for name, entry in table.items()
    )
