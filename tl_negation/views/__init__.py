"""Text coloured by activations (circuitsvis), made to work offline and with any text.

circuitsvis renders in the browser. Its own Python side loads the script from a public host, or
inlines 1.3 MB of it per view, and puts texts into it unescaped. Here the script is taken from
the installed package, once per page, and nothing in a text can end the script or become HTML.
"""

from .attention import head_attention, tuned_heads
from .browser import spread_units, unit_browser
from .contexts import (
    UNIT,
    display_table,
    heatmap,
    over_text,
    spread_examples,
    text_heatmap,
    top_contexts,
)
from .page import CSS, POLICY, WORD_JOINER, View, heatmap_from_values, page_script, to_script

__all__ = [
    "CSS",
    "POLICY",
    "UNIT",
    "WORD_JOINER",
    "View",
    "display_table",
    "head_attention",
    "heatmap",
    "heatmap_from_values",
    "over_text",
    "page_script",
    "spread_examples",
    "spread_units",
    "text_heatmap",
    "to_script",
    "top_contexts",
    "tuned_heads",
    "unit_browser",
]
