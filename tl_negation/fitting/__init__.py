"""The fits: tensors in, tensors out. Nothing here knows of words, layers of a model, or files.

Three modules fit, each with a function ``fit``: :mod:`.logistic` (exact, one model per unit),
:mod:`.firth` (penalised, finite under separation) and :mod:`.ridge` (several units in one model).
:mod:`.folds` predicts examples left out, :mod:`.auc` ranks, :mod:`.blocks` cuts all layers into
pieces of work. :mod:`.engine` chooses how: compiled code on a CPU (:mod:`.rows`,
:mod:`.compiled`, :mod:`.compiled_firth`), tensors elsewhere (:mod:`.tensors`,
:mod:`.tensors_firth`, :mod:`.newton`). :mod:`.tails` has p values too small to be numbers.
"""

from . import firth, logistic, ridge
from .auc import auc
from .blocks import compute, units_at_once
from .folds import count_right
from .newton import standardise
from .outcomes import NONCONVERGED, OK, QUASI_SEPARATED, SEPARATED, STATUSES
from .scratch import Scratch
from .tails import log10_p_of_chi_square, log10_p_of_t, log10_p_of_z

__all__ = [
    "NONCONVERGED",
    "OK",
    "QUASI_SEPARATED",
    "SEPARATED",
    "STATUSES",
    "Scratch",
    "auc",
    "compute",
    "count_right",
    "firth",
    "log10_p_of_chi_square",
    "log10_p_of_t",
    "log10_p_of_z",
    "logistic",
    "ridge",
    "standardise",
    "units_at_once",
]
