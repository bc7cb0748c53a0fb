"""What the units do: replace them at the target, and see what becomes of the words that follow.

Everything before this module is observation: a unit from which the class is decodable may be one
that nothing reads. Here activations are changed in the model's own forward pass.
"""

from .ablation import Ablation, ablate
from .attribution import Attribution, attribute
from .comparison import compare_ablations

__all__ = ["Ablation", "Attribution", "ablate", "attribute", "compare_ablations"]
