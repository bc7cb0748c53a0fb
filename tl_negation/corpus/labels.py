"""What the labels of one's own examples are: a column of a table, and its two values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .._shared import sequence, string


@dataclass(frozen=True)
class Labels:
    """The two classes of examples that somebody labelled; takes the place of a ``Contrast``.

    Attributes
    ----------
    name
        What the distinction is called in reports: the column of the labels.
    groups
        Names of the classes by label: ``groups[1]`` is the class that is predicted.

    Raises
    ------
    TypeError
        A name that is not a string.
    ValueError
        Not two different classes.

    Examples
    --------
    >>> polarity = Labels("polarity", ("affirmed", "negated"))
    >>> polarity.groups[1]
    'negated'
    """

    name: str
    groups: Sequence[str]

    def __post_init__(self) -> None:
        string("name", self.name)
        sequence("groups", self.groups)
        for group in self.groups:
            string("the name of a class", group)
        if len(set(self.groups)) != 2 or len(self.groups) != 2:
            raise ValueError(f"there are two classes, with names of their own; got {self.groups}")
        object.__setattr__(self, "groups", tuple(self.groups))

    def to_dict(self) -> dict[str, Any]:
        """Everything that defines the labels, ready for JSON."""
        return {"name": self.name, "groups": list(self.groups)}
