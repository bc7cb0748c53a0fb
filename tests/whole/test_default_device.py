"""``torch.set_default_device``, as notebooks set it: every tensor that is made says where it is."""

import pytest
import torch
from helpers import tiny_models

import tl_negation as tln

pytestmark = pytest.mark.slow
QUIET = {"progress": False}


def everything(model, contexts, folder):
    """What each stage gives, by name."""
    acts = tln.collect(model, contexts, ("q", "k", "mlp_post"), **QUIET)
    tln.collect(model, contexts, ("q", "k", "mlp_post"), store=folder / "store", **QUIET)
    options = {"permutations": 60, "tasks": 2, "replicates": 2, **QUIET}
    result = tln.infer(tln.probe(acts, **QUIET), **options)
    rows = result.to_frame()[:3]
    few = {"acts": acts, "per_class": 4, **QUIET}
    return {
        "repr": repr(result).split("\n"),
        "summary": result.summary(),
        "activations": acts.values,
        "store": tln.load_activations(folder / "store").values,
        "columns": result.to_frame(),
        "profile": tln.profile(result),
        "loaded": tln.load_result(result.save(folder / "run")).to_frame(),
        "tokens": tln.token_activations(model, contexts, rows, [0, 1]),
        "ablation": tln.ablate(model, contexts, rows, draws=19, **few).table,
        "attribution": tln.attribute(model, contexts, checked=4, **few).table,
        "heads": tln.head_probe(acts, **QUIET),
        "over a text": len(tln.views.over_text(model, "He can not go", rows).script) > 100,
    }


def test_a_default_device_changes_nothing(tmp_path):
    """On the device meta a tensor has no values: whatever lay there would be missing."""
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path))
    (tmp_path / "plain").mkdir()
    (tmp_path / "elsewhere").mkdir()
    contexts = tiny_models.contexts(40)
    wanted = everything(model, contexts, tmp_path / "plain")
    torch.set_default_device("meta")
    try:
        found = everything(model, contexts, tmp_path / "elsewhere")
    finally:
        torch.set_default_device(None)
    for name, value in wanted.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(found[name], value), name
        elif hasattr(value, "equals"):
            assert value.equals(found[name]), name
        else:
            assert found[name] == value, name
