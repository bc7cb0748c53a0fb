"""What units do: replace them at the target, and see what happens to the words that follow.

The rooms below this one only observe: the class may be decodable from a unit that nothing reads.
Here activations are changed during the model's own forward pass.

:data:`HOWS` lists what units can be replaced by, :data:`SELECTIONS` the ways of picking them. A
new entry in either table is accepted by every function here and named in refusals and help texts.
"""

from .ablation import Ablation, ablate
from .attribution import Attribution, attribute
from .comparison import compare_ablations
from .effects import add_effects
from .replacements import HOWS, Replacement
from .selections import SELECTIONS, Selection
from .steering import Steering, steer

__all__ = [
    "HOWS",
    "SELECTIONS",
    "Ablation",
    "Attribution",
    "Replacement",
    "Selection",
    "Steering",
    "ablate",
    "add_effects",
    "attribute",
    "compare_ablations",
    "steer",
]
