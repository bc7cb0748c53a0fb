"""Docstrings that list the entries of a table."""

from typing import NamedTuple

from tl_negation._shared import lists


class Colour(NamedTuple):
    meaning: str


def test_a_line_becomes_the_entries_with_its_indentation():
    @lists(colours={"red": Colour(r"of \1 kind"), "blue": Colour("cold")})
    def paint():
        """Paint {colours}.

        colour
            One of:

            {colours}
        """

    lines = [line.strip() for line in paint.__doc__.splitlines()]
    assert lines[0] == "Paint {colours}."  # not a line of its own
    assert lines[5:7] == [r"- ``red``: of \1 kind", "- ``blue``: cold"]
    first, second = paint.__doc__.splitlines()[5:7]
    assert first.index("-") == second.index("-") > 0


def test_a_function_without_a_docstring_is_left_alone():
    assert lists(colours={"red": Colour("warm")})(lambda: None).__doc__ in (None, "")
