"""What the units do: replace them at the target, and see what becomes of the words that follow.

Everything before this module is observation: a unit from which the class is decodable may be one
that nothing reads. Here activations are changed in the model's own forward pass.
"""

from .ablation import Ablation, ablate
from .attribution import Attribution, attribute
from .comparison import compare_ablations
from .effects import ESTIMATE_COLUMNS, add_effects
from .setting import HOWS

__all__ = [
    "ESTIMATE_COLUMNS",
    "HOWS",
    "Ablation",
    "Attribution",
    "ablate",
    "add_effects",
    "attribute",
    "compare_ablations",
]
