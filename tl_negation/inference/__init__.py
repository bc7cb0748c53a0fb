"""Does the unit know the category, or only the word? Inference that allows for words.

Most functions take a :class:`~tl_negation.ProbeResult` that still holds its activations and
return one with more columns; :func:`infer` runs those that a claim needs.
"""

from .clusters import cluster_robust
from .directions import Directions, layer_probe, mean_difference
from .extras import EXTRAS, Extra, add_calibration, add_extras, check_extras
from .groups import group_test
from .heads import head_probe, rotate
from .heldout import held_out, selectivity
from .infer import check_infer, infer
from .nulls import distinct_rows, lexical_null, null_bands, null_p_values
from .pairs import TooFewPairsError, pair_test
from .penalised import penalise
from .words import ALTERNATIVES, TooFewWordsError, exchangeable, word_test

__all__ = [
    "ALTERNATIVES",
    "EXTRAS",
    "Directions",
    "Extra",
    "TooFewPairsError",
    "TooFewWordsError",
    "add_calibration",
    "add_extras",
    "check_extras",
    "check_infer",
    "cluster_robust",
    "distinct_rows",
    "exchangeable",
    "group_test",
    "head_probe",
    "held_out",
    "infer",
    "layer_probe",
    "lexical_null",
    "mean_difference",
    "null_bands",
    "null_p_values",
    "pair_test",
    "penalise",
    "rotate",
    "selectivity",
    "word_test",
]
