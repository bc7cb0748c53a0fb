"""From activations to a result: one logistic model per unit, its columns, tables and files."""

from .columns import COLUMNS, ESTIMATE_COLUMNS, WORD_COLUMNS
from .families import adjust, adjusted, check_family, check_test, family_ids
from .probe import probe, unit_statistics
from .profiles import (
    calibration_table,
    check_preset,
    effect_table,
    head_table,
    profile,
    trend,
    word_bands,
)
from .replication import ALL, Replication, replicate
from .results import ProbeResult, load_result, needs_activations
from .storage import jsonable

__all__ = [
    "ALL",
    "COLUMNS",
    "ESTIMATE_COLUMNS",
    "ProbeResult",
    "Replication",
    "WORD_COLUMNS",
    "adjust",
    "adjusted",
    "calibration_table",
    "check_family",
    "check_preset",
    "check_test",
    "effect_table",
    "family_ids",
    "head_table",
    "jsonable",
    "load_result",
    "needs_activations",
    "probe",
    "profile",
    "replicate",
    "trend",
    "unit_statistics",
    "word_bands",
]
