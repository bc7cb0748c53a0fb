"""Figures (matplotlib): profiles over depth, heads, effects, one layer's units, one unit, p values.

Every function takes a result or a table and draws what is in it. None computes a statistic, and
none calls ``show``. Each takes ``ax``, to draw on Axes that you have, and ``width`` in inches.
The background is opaque, so that figures can be read in dark notebooks too.

``over_words`` is the figure to begin with. ``save`` writes a figure as a file, ``save_kinds`` as
several. What all figures share (colours, fonts, labels beside lines) is in ``style.py``.
"""

from .depth import by_layer, laminar, word_or_category
from .directions import directions
from .heads import heads, units_by_head
from .interventions import ablation, attribution
from .over_words import over_words
from .replication import replication
from .save import FIGURE_KINDS, save, save_kinds, write
from .spread import calibration, effects
from .style import STYLE, rule_text, site_style
from .units import unit, volcano

__all__ = [
    "FIGURE_KINDS",
    "STYLE",
    "ablation",
    "attribution",
    "by_layer",
    "calibration",
    "directions",
    "effects",
    "heads",
    "laminar",
    "over_words",
    "replication",
    "rule_text",
    "save",
    "save_kinds",
    "site_style",
    "unit",
    "units_by_head",
    "volcano",
    "word_or_category",
    "write",
]
