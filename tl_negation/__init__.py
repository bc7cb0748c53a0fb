"""Which units of a transformer know negation? Every unit of a TransformerLens model at once.

The data flows one way, a module a stage::

    text -> contexts -> activations -> probe -> profile -> picture

>>> import tl_negation as tln
>>> model = tln.load_model("demo")  # or "gpt2-large", or any TransformerLens model you hold
>>> result = tln.scan(model, tln.load_text("builtin:python-docs"))
>>> tln.profile(result)
"""

from . import plots, views
from ._newton import STATUSES
from ._processes import use_processes
from .activations import Activations, collect, load_activations, token_activations
from .contexts import Contexts, find_contexts
from .contrast import ANTICIPATED, NEGATION, Contrast
from .controls import control
from .extras import add_extras
from .inference import (
    TooFewWordsError,
    adjusted,
    cluster_robust,
    distinct_rows,
    exchangeable,
    head_probe,
    held_out,
    infer,
    lexical_null,
    null_bands,
    null_p_values,
    penalise,
    rotate,
    selectivity,
    word_test,
)
from .interventions import (
    Ablation,
    Attribution,
    ablate,
    add_effects,
    attribute,
    compare_ablations,
)
from .models import load_model, untrained_twin
from .plan import ModelSizes, plan
from .probe import probe, unit_statistics
from .profiles import profile, trend
from .replication import Replication, replicate
from .report import report
from .results import COLUMNS, WORD_COLUMNS, ProbeResult, load_result
from .scan import compare, scan, write_run
from .sites import Site, sites_of
from .text import Corpus, Text, load_text

__version__ = "0.1.0"

__all__ = [
    "ANTICIPATED",
    "COLUMNS",
    "NEGATION",
    "STATUSES",
    "WORD_COLUMNS",
    "Ablation",
    "Activations",
    "Attribution",
    "Contexts",
    "Contrast",
    "Corpus",
    "ModelSizes",
    "ProbeResult",
    "Replication",
    "Site",
    "Text",
    "TooFewWordsError",
    "ablate",
    "add_effects",
    "add_extras",
    "adjusted",
    "attribute",
    "cluster_robust",
    "collect",
    "compare",
    "compare_ablations",
    "control",
    "distinct_rows",
    "exchangeable",
    "find_contexts",
    "head_probe",
    "held_out",
    "infer",
    "lexical_null",
    "load_activations",
    "load_model",
    "load_result",
    "load_text",
    "null_bands",
    "null_p_values",
    "penalise",
    "plan",
    "plots",
    "probe",
    "profile",
    "replicate",
    "report",
    "rotate",
    "scan",
    "selectivity",
    "sites_of",
    "token_activations",
    "trend",
    "unit_statistics",
    "untrained_twin",
    "use_processes",
    "views",
    "word_test",
    "write_run",
]
