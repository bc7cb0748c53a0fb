"""Figures (matplotlib): profiles over depth, heads, effects, one layer's units, one unit, p values.

Every function takes a result or a table and draws what is in it; none computes a statistic,
and none calls ``show``. The background is opaque, so figures read in dark notebooks too.
"""

from .depth import laminar, word_or_category
from .heads import heads, units_by_head
from .interventions import ablation, attribution
from .replication import replication
from .save import save, write
from .spread import calibration, effects
from .style import STYLE, rule_text, site_style
from .units import unit, volcano

__all__ = [
    "STYLE",
    "ablation",
    "attribution",
    "calibration",
    "effects",
    "heads",
    "laminar",
    "replication",
    "rule_text",
    "save",
    "site_style",
    "unit",
    "units_by_head",
    "volcano",
    "word_or_category",
    "write",
]
