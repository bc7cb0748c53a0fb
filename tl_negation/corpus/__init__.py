"""From text to contexts: the target words of a contrast, and a window of tokens around each.

Labelled examples of one's own become contexts as well (``examples.py``). Everything that decides
which examples a result rests on happens in this room, before any model runs. It knows tokenizers,
but no models.

A new rule of finding is one entry in ``RULES`` (``finding.py``), which also enters its name into
``PRESETS``, the table of all rooms; who takes that table from here gets every rule in it. A new
place where texts come from is a file like ``gutenberg.py``, and a line in ``text.py`` that
recognises its sources.
"""

from .contexts import ABSENT, Contexts, class_one_first
from .contrast import ANTICIPATED, NEGATION, Contrast
from .controls import control
from .examples import examples
from .finding import COLUMNS, PRESETS, RULES, Rule
from .labels import Labels
from .tables import is_table
from .targets import find_contexts
from .text import Corpus, Text, load_text

__all__ = [
    "ABSENT",
    "ANTICIPATED",
    "COLUMNS",
    "NEGATION",
    "PRESETS",
    "RULES",
    "Contexts",
    "Contrast",
    "Corpus",
    "Labels",
    "Rule",
    "Text",
    "class_one_first",
    "control",
    "examples",
    "find_contexts",
    "is_table",
    "load_text",
]
