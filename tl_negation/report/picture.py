"""A figure of a result with its title and caption, drawn once for each width."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from .. import plots
from .points import name_points, with_points

#: Resolution of the images in a run and on a page, in dots per inch.
DPI = 150


@dataclass(frozen=True)
class Picture:
    """A figure that can be drawn at a width in inches, or at its own (None).

    Parameters
    ----------
    name
        Of the files, and of the figure on the page: lower case, no spaces.
    title, caption
        Plain text: what it shows, and how to read it. The caption ends with a full stop.
    draw
        Takes the width; returns Axes. Every call makes a new figure.
    wide
        Whether it needs the full width of a page.
    more
        Whether the page hides it until the reader asks for it.
    section
        Where the page shows it: ``"figures"``, or ``"effects"`` for figures of interventions.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[float | None], Any]
    wide: bool = False
    more: bool = False
    section: str = "figures"
    _svgs: dict[float | None, str] = field(default_factory=dict, init=False, repr=False)

    def svg(self, width: float | None = None) -> str:
        """Return the figure as SVG; a second call with the same width draws nothing."""
        if width not in self._svgs:
            with io.BytesIO() as file:
                figure = np.ravel(self.draw(width))[0].figure
                points = name_points(figure)
                plots.write(figure, file, "svg", salt=self.name, dpi=DPI)
                plt.close(figure)
                self._svgs[width] = with_points(file.getvalue().decode(), points)
        return self._svgs[width]

    def save(self, folder: Path) -> list[Path]:
        """Write the figure at its own width in every format of a run.

        A wide figure is kept as SVG, because the page shows it at this width, too.
        """
        axes = self.draw(None)
        points = name_points(np.ravel(axes)[0].figure)
        files = plots.save_kinds(axes, folder / self.name, dpi=DPI)
        plt.close(np.ravel(axes)[0].figure)
        if self.wide:
            svg = folder.joinpath(f"{self.name}.svg").read_text("utf-8")
            self._svgs[None] = with_points(svg, points)
        return files


def drawn(plot: Callable[..., Any], *given: Any, **options: Any) -> Callable[[float | None], Any]:
    """Return a function that takes the width and calls ``plot`` with what is given here."""
    return lambda width: plot(*given, **options, **({} if width is None else {"width": width}))
