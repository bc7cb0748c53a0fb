"""Which units of a transformer know negation? Every unit of a TransformerLens model at once.

>>> import tl_negation as tln
>>> model = tln.load_model("demo")  # or "gpt2-large", or any TransformerLens model you hold
>>> result = tln.scan(model, tln.load_text("builtin:python-docs"))  # doctest: +SKIP
>>> tln.profile(result)  # doctest: +SKIP

Map of the package. A text becomes contexts, contexts become activations, activations a result; a
result is tested, drawn and written. Each room below does one of these steps. A room imports only
rooms further down, never one beside it or above it; ``lint-imports`` checks this::

    commands        the command line: options, tables in the terminal
    runs            all steps in one call (scan, compare), the directory of a run, what it will cost
    report          one HTML page about a result
    plots           figures (matplotlib)
    interventions   what units do: replace them (ablate), follow the gradient (attribute)
    inference       the category, or only some of its words?
    views           text and attention maps coloured by activations (circuitsvis)
    probing         activations -> result: a logistic model per unit, its columns, tables and files
    activations     contexts -> activations: one forward pass, in memory or in a store on disk
    corpus          text -> contexts: word lists, rules of finding them, windows of tokens
    models          a model, its sites, and where in it a unit is
    fitting         the fits: tensors in, tensors out
    _shared         checks of arguments, files written whole or not at all, processes, tokens

(``inference`` and ``views`` are beside each other, and so are ``corpus``, ``models`` and
``fitting``.) The ``__init__.py`` of a room says what it is for and names what others may use.

The names listed in ``__all__`` are public, those of ``tl_negation.plots`` and
``tl_negation.views`` too. A room is imported when one of its names is first used, so that
``import tl_negation`` costs nothing and a command line with a typo is answered without torch.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import plots as plots
    from . import views as views
    from ._shared import quiet as quiet
    from ._shared import use_processes as use_processes
    from .activations import Activations as Activations
    from .activations import collect as collect
    from .activations import from_cache as from_cache
    from .activations import hook_names as hook_names
    from .activations import load_activations as load_activations
    from .activations import token_activations as token_activations
    from .corpus import ANTICIPATED as ANTICIPATED
    from .corpus import NEGATION as NEGATION
    from .corpus import Contexts as Contexts
    from .corpus import Contrast as Contrast
    from .corpus import Corpus as Corpus
    from .corpus import Text as Text
    from .corpus import control as control
    from .corpus import examples as examples
    from .corpus import find_contexts as find_contexts
    from .corpus import load_text as load_text
    from .fitting import STATUSES as STATUSES
    from .inference import Directions as Directions
    from .inference import TooFewPairsError as TooFewPairsError
    from .inference import TooFewWordsError as TooFewWordsError
    from .inference import add_extras as add_extras
    from .inference import cluster_robust as cluster_robust
    from .inference import distinct_rows as distinct_rows
    from .inference import exchangeable as exchangeable
    from .inference import group_test as group_test
    from .inference import head_probe as head_probe
    from .inference import held_out as held_out
    from .inference import infer as infer
    from .inference import layer_probe as layer_probe
    from .inference import lexical_null as lexical_null
    from .inference import mean_difference as mean_difference
    from .inference import null_bands as null_bands
    from .inference import null_p_values as null_p_values
    from .inference import pair_test as pair_test
    from .inference import penalise as penalise
    from .inference import rotate as rotate
    from .inference import selectivity as selectivity
    from .inference import word_test as word_test
    from .interventions import Ablation as Ablation
    from .interventions import Attribution as Attribution
    from .interventions import Steering as Steering
    from .interventions import ablate as ablate
    from .interventions import add_effects as add_effects
    from .interventions import attribute as attribute
    from .interventions import compare_ablations as compare_ablations
    from .interventions import steer as steer
    from .models import ModelSizes as ModelSizes
    from .models import Site as Site
    from .models import TransformerLensModel as TransformerLensModel
    from .models import describe_model as describe_model
    from .models import load_model as load_model
    from .models import sites_of as sites_of
    from .models import untrained_twin as untrained_twin
    from .probing import COLUMNS as COLUMNS
    from .probing import WORD_COLUMNS as WORD_COLUMNS
    from .probing import ProbeResult as ProbeResult
    from .probing import Replication as Replication
    from .probing import adjusted as adjusted
    from .probing import calibration_table as calibration_table
    from .probing import effect_table as effect_table
    from .probing import head_table as head_table
    from .probing import load_result as load_result
    from .probing import probe as probe
    from .probing import profile as profile
    from .probing import replicate as replicate
    from .probing import trend as trend
    from .probing import unit_statistics as unit_statistics
    from .probing import word_bands as word_bands
    from .report import report as report
    from .runs import compare as compare
    from .runs import plan as plan
    from .runs import scan as scan
    from .runs import write_run as write_run

__version__ = "0.2.0.dev0"

#: Room -> the public names that it hands on; the imports above say the same to type checkers.
_ROOMS = {
    "_shared": ("quiet", "use_processes"),
    "corpus": (
        "ANTICIPATED",
        "Contexts",
        "Contrast",
        "Corpus",
        "NEGATION",
        "Text",
        "control",
        "examples",
        "find_contexts",
        "load_text",
    ),
    "models": (
        "ModelSizes",
        "Site",
        "TransformerLensModel",
        "describe_model",
        "load_model",
        "sites_of",
        "untrained_twin",
    ),
    "activations": (
        "Activations",
        "collect",
        "from_cache",
        "hook_names",
        "load_activations",
        "token_activations",
    ),
    "fitting": ("STATUSES",),
    "probing": (
        "COLUMNS",
        "ProbeResult",
        "Replication",
        "WORD_COLUMNS",
        "adjusted",
        "calibration_table",
        "effect_table",
        "head_table",
        "load_result",
        "probe",
        "profile",
        "replicate",
        "trend",
        "unit_statistics",
        "word_bands",
    ),
    "inference": (
        "Directions",
        "TooFewPairsError",
        "TooFewWordsError",
        "add_extras",
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
        "penalise",
        "rotate",
        "selectivity",
        "pair_test",
        "word_test",
    ),
    "interventions": (
        "Ablation",
        "Attribution",
        "Steering",
        "ablate",
        "add_effects",
        "attribute",
        "compare_ablations",
        "steer",
    ),
    "report": ("report",),
    "runs": (
        "compare",
        "plan",
        "scan",
        "write_run",
    ),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}
_MODULES = ("plots", "views")

# Made from the table; the imports above, written "as", already tell type checkers what is public.
__all__ = [*sorted([*_ROOM_OF, *_MODULES])]  # noqa: PLE0604  # pyright: ignore[reportUnsupportedDunderAll]


class _Package(ModuleType):
    """Keeps ``tl_negation.report`` the function: Python would put the room of that name there.

    ``import tl_negation.report`` ends with ``setattr(tl_negation, "report", module)``.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and name in _ROOM_OF):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """Import a public name from its room when it is first used (PEP 562)."""
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_ROOM_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
