"""A hundred malformed inputs to each public function end in an error with words of ours."""

import json
import subprocess
import sys

import pytest
from helpers.child_process import environment

import tl_negation as tln
from tl_negation import plots, views

FUNCTIONS = (
    "load_text", "Text.from_string", "Contrast", "Contrast.carried", "find_contexts",
    "examples", "Contrast.from_file", "Contexts.sample", "control", "ModelSizes", "plan",
    "load_model", "untrained_twin",
    "describe_model", "sites_of", "collect", "hook_names", "from_cache", "Activations",
    "Activations.map", "load_activations", "token_activations",
    "probe", "unit_statistics",
    "steer", "layer_probe", "mean_difference",
    "ablate", "attribute", "compare_ablations", "add_effects", "infer", "word_test", "group_test",
    "pair_test", "held_out",
    "selectivity", "lexical_null", "null_p_values", "null_bands", "cluster_robust", "penalise",
    "adjusted", "exchangeable", "distinct_rows", "rotate", "head_probe", "add_extras", "profile",
    "trend", "word_bands", "head_table", "effect_table", "calibration_table",
    "ProbeResult.top", "ProbeResult.select", "ProbeResult.save", "load_result", "replicate",
    "scan", "compare",
    "write_run", "report", "plots.ablation", "plots.attribution", "plots.directions", "plots.save",
    "plots.laminar", "plots.over_words", "plots.word_or_category", "plots.heads",
    "plots.units_by_head", "plots.effects", "plots.calibration", "plots.volcano", "plots.unit",
    "plots.replication", "views.text_heatmap", "views.display_table", "views.spread_examples",
    "views.heatmap", "views.top_contexts", "views.over_text", "views.tuned_heads",
    "views.head_attention", "views.unit_browser",
)  # fmt: skip
pytestmark = pytest.mark.slow
#: Public callables that are not asked, and why.
NOT_ASKED = {
    "Corpus": "made by load_text",
    "Replication": "made by replicate",
    "Ablation": "made by ablate",
    "Attribution": "made by attribute",
    "Directions": "made by layer_probe and mean_difference",
    "Steering": "made by steer",
    "Site": "made by sites_of",
    "TooFewPairsError": "an error",
    "TooFewWordsError": "an error",
    "TransformerLensModel": "a Protocol: what a model must have",
    "quiet": "takes nothing but yes or no",
    "use_processes": "takes nothing that a file or a user's data decides",
}


@pytest.fixture(scope="module")
def found():
    """Every function asked, without beartype (see helpers/malformed/run.py)."""
    done = subprocess.run(
        [sys.executable, "-m", "helpers.malformed.run"],
        env=environment(OMP_NUM_THREADS="1"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_malformed_input_is_a_clear_error(found, name):
    assert found[name]["faults"] == []
    assert found[name]["calls"] >= 100


def test_every_public_function_is_asked(found):
    asked = {
        name.partition(".")[0] for name in FUNCTIONS if not name.startswith(("plots", "views"))
    }
    public = {name for name in tln.__all__ if callable(getattr(tln, name))} - asked
    assert public == set(NOT_ASKED)
    for module in (plots, views):
        short = module.__name__.rpartition(".")[2]
        drawn = {name.partition(".")[2] for name in FUNCTIONS if name.startswith(short)}
        assert drawn <= set(module.__all__)
    assert set(found) >= set(FUNCTIONS)
