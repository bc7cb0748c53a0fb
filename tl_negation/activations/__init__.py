"""From contexts to activations: one forward pass, of which only the target position is kept.

The activations are in memory, or in a store on disk from which a run can be resumed.
"""

from .activations import Activations
from .collect import START_BATCH, check_tokens, collect, load_activations, token_activations
from .forward import halve_until_it_fits

__all__ = [
    "START_BATCH",
    "Activations",
    "check_tokens",
    "collect",
    "halve_until_it_fits",
    "load_activations",
    "token_activations",
]
