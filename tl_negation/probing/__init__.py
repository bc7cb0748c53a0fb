"""From activations to a result: one logistic model per unit, its columns, tables and files.

:func:`probe` fits, :class:`ProbeResult` holds what was found, :func:`profile` summarises it per
layer and site, :func:`replicate` compares two results. ``columns`` explains every column of a
result, whichever room computes it; ``families`` holds the multiple-testing corrections;
``storage`` reads and writes the files of a run.
"""

from .columns import (
    COLUMNS,
    ESTIMATE_COLUMNS,
    SUMMARY_COLUMNS,
    WORD_COLUMNS,
    Column,
    explained,
    ranks,
)
from .families import (
    CORRECTIONS,
    FAMILIES,
    Correction,
    Family,
    adjust,
    adjusted,
    check_family,
    check_test,
    family_ids,
)
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
from .relabeled import place_of_mean
from .replication import ALL, Replication, replicate
from .results import ProbeResult, load_result, needs_activations
from .storage import read_csv

__all__ = [
    "ALL",
    "COLUMNS",
    "CORRECTIONS",
    "ESTIMATE_COLUMNS",
    "FAMILIES",
    "SUMMARY_COLUMNS",
    "WORD_COLUMNS",
    "Column",
    "Correction",
    "Family",
    "ProbeResult",
    "Replication",
    "adjust",
    "adjusted",
    "calibration_table",
    "check_family",
    "check_preset",
    "check_test",
    "effect_table",
    "explained",
    "family_ids",
    "head_table",
    "load_result",
    "needs_activations",
    "place_of_mean",
    "probe",
    "profile",
    "ranks",
    "read_csv",
    "replicate",
    "trend",
    "unit_statistics",
    "word_bands",
]
