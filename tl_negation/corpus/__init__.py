"""From text to contexts: the target words of a contrast, and a window of tokens around each.

Everything that decides which examples a result rests on happens in this room, before any model
runs. It knows tokenizers, but no models.
"""

from .contexts import PRESETS, Contexts, find_contexts
from .contrast import ANTICIPATED, NEGATION, Contrast
from .controls import control
from .finding import COLUMNS
from .text import Corpus, Text, load_text

__all__ = [
    "ANTICIPATED",
    "COLUMNS",
    "NEGATION",
    "PRESETS",
    "Contexts",
    "Contrast",
    "Corpus",
    "Text",
    "control",
    "find_contexts",
    "load_text",
]
