"""The fits: tensors in, tensors out. Nothing here knows words, layers or models."""

from . import compiled, firth, newton, ridge
from .auc import auc
from .blocks import Scratch, compute, units_at_once
from .folds import predictions_right
from .newton import NONCONVERGED, OK, QUASI_SEPARATED, SEPARATED, STATUSES

__all__ = [
    "NONCONVERGED",
    "OK",
    "QUASI_SEPARATED",
    "SEPARATED",
    "STATUSES",
    "Scratch",
    "auc",
    "compiled",
    "compute",
    "firth",
    "newton",
    "predictions_right",
    "ridge",
    "units_at_once",
]
