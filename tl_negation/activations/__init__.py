"""From contexts to activations: one forward pass, of which the target position is kept.

In memory, or in a store on disk that a run can be resumed from.
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
