"""Figures (matplotlib): profiles over depth, one layer's units, one unit's activations.

Every function takes a result or a table and draws what is in it; none computes a statistic,
and none calls ``show``. The background is opaque, so figures read in dark notebooks too.
"""

from ._style import STYLE, rule_text, site_style
from .depth import laminar, word_or_category
from .units import unit, volcano

__all__ = ["STYLE", "laminar", "rule_text", "site_style", "unit", "volcano", "word_or_category"]
