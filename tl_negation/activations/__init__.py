"""From contexts to activations: one forward pass, of which only the target position is kept.

The activations are in memory, or in a store on disk from which a run can be resumed; or they are
taken from caches that somebody already holds (``cache.py``).
"""

from .activations import Activations
from .cache import from_cache, hook_names
from .collect import START_BATCH, check_tokens, collect, load_activations, token_activations
from .features import FEATURE, Features
from .forward import halve_until_it_fits

__all__ = [
    "FEATURE",
    "START_BATCH",
    "Activations",
    "Features",
    "check_tokens",
    "collect",
    "from_cache",
    "halve_until_it_fits",
    "hook_names",
    "load_activations",
    "token_activations",
]
