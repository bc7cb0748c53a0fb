"""Text coloured by activations, and where heads look: HTML that works offline and with any text.

circuitsvis draws in the browser. Its own Python side loads its script from a public host, or puts
1.3 MB of it into every view, and does not escape texts. Here the script is taken from the
installed package, once per page, and nothing in a text can end the script or become HTML.
"""

from ..models import UNIT
from .attention import head_attention, tuned_heads
from .browser import spread_units, unit_browser
from .contexts import display_table, heatmap, over_text, text_heatmap, top_contexts
from .examples import spread_examples
from .page import CSS, WORD_JOINER, View, heatmap_from_values, page_script, policy, to_script

__all__ = [
    "CSS",
    "UNIT",
    "WORD_JOINER",
    "View",
    "display_table",
    "head_attention",
    "heatmap",
    "heatmap_from_values",
    "over_text",
    "page_script",
    "policy",
    "spread_examples",
    "spread_units",
    "text_heatmap",
    "to_script",
    "top_contexts",
    "tuned_heads",
    "unit_browser",
]
