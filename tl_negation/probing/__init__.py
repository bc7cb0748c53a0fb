"""From activations to a result: one logistic model per unit, its columns, tables and files.

:func:`probe` fits, :class:`ProbeResult` holds what was found, :func:`profile` summarises it per
layer and site, :func:`replicate` compares two results. ``columns`` explains every column of a
result, whichever room computes it; ``families`` holds the multiple-testing corrections;
``storage`` reads and writes the files of a run.
"""

from .claims import basis_of, claim, level_over_words, over_words_figures, over_words_sentences
from .columns import (
    COLUMNS,
    ESTIMATE_COLUMNS,
    SUMMARY_COLUMNS,
    WORD_COLUMNS,
    Column,
    explained,
    ranks,
)
from .example_tests import EXAMPLE_TESTS, ExampleTest, example_test, has_test
from .families import (
    CORRECTIONS,
    FAMILIES,
    Correction,
    Family,
    adjust,
    adjusted,
    check_family,
    check_level,
    check_test,
    family_ids,
    retested,
    significant,
)
from .origins import from_result, result_of
from .probe import probe, unit_statistics
from .profiles import (
    calibration_table,
    check_preset,
    default_test,
    effect_table,
    head_table,
    profile,
    under_preset,
    word_bands,
)
from .relabeled import place_of_mean
from .replication import ALL, Replication, replicate
from .results import ProbeResult, load_result, needs_activations
from .storage import read_csv
from .trends import trend

__all__ = [
    "ALL",
    "COLUMNS",
    "CORRECTIONS",
    "ESTIMATE_COLUMNS",
    "EXAMPLE_TESTS",
    "FAMILIES",
    "SUMMARY_COLUMNS",
    "WORD_COLUMNS",
    "Column",
    "Correction",
    "ExampleTest",
    "Family",
    "ProbeResult",
    "Replication",
    "adjust",
    "adjusted",
    "basis_of",
    "calibration_table",
    "check_family",
    "check_level",
    "check_preset",
    "check_test",
    "claim",
    "default_test",
    "effect_table",
    "example_test",
    "explained",
    "family_ids",
    "from_result",
    "has_test",
    "head_table",
    "level_over_words",
    "load_result",
    "needs_activations",
    "over_words_figures",
    "over_words_sentences",
    "place_of_mean",
    "probe",
    "profile",
    "ranks",
    "read_csv",
    "replicate",
    "result_of",
    "retested",
    "significant",
    "trend",
    "under_preset",
    "unit_statistics",
    "word_bands",
]
