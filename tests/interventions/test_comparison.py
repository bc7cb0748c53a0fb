"""Selections of units compared, and new kinds of replacement and selection in their tables."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.intervention_oracles import OPTIONS, UNITS

from tl_negation import ablate, add_effects, attribute, compare_ablations, infer, probe
from tl_negation.interventions import HOWS, SELECTIONS, Replacement, Selection
from tl_negation.interventions.selections import units_of_best_heads


@pytest.fixture(scope="module")
def result(acts):
    long = replace(acts)
    return infer(probe(long, progress=False), permutations=60, tasks=1, replicates=2,
                 progress=False)  # fmt: skip


def test_selections_are_what_they_say(model, result, contexts, acts):
    found = compare_ablations(model, result, n=6, draws=19, **OPTIONS)
    assert found["selection"].unique().tolist() == ["examples", "words", "heads"]
    assert (found["units"] == 6).all()
    for name, units in {
        "examples": result.top(6, by="z"),
        "words": result.top(6, "words_t"),
    }.items():
        alone = ablate(model, contexts, units, acts=acts, draws=19, **OPTIONS)
        effects = found.query(f"selection == '{name}'")["effect"]
        np.testing.assert_allclose(effects, alone.table["effect"], atol=1e-5)


def test_units_of_the_best_heads(model, result):
    scores = pd.DataFrame(
        {"layer": [0, 1, 2], "site": ["q", "v", "k"], "head": [4, 1, 0],
         "held_out_accuracy": [0.5, 0.9, 0.7]}
    )  # fmt: skip
    units = units_of_best_heads(result.with_table("heads", scores), 6)
    assert units["layer"].tolist() == [1] * 4 + [2] * 2
    of_last = result.to_frame().query("layer == 2 and site == 'k' and head == 0")
    assert set(units["index"][4:]) == set(of_last.nlargest(2, "lr")["index"])


def test_selections_of_ones_own(model, result):
    tables = {"mine": UNITS["gpt2"], "first": UNITS["gpt2"][:1]}
    found = compare_ablations(model, result, selections=tables, draws=19, **OPTIONS)
    assert found.groupby("selection")["units"].first().to_dict() == {"first": 1, "mine": 5}


def test_results_that_are_refused(model, result):
    with pytest.raises(TypeError, match=r"must be of type ProbeResult; got str: probe\(acts\)"):
        compare_ablations(model, "run")
    with pytest.raises(ValueError, match="compare_ablations needs the activations"):
        compare_ablations(model, replace(result, activations=None))
    with pytest.raises(ValueError, match=r"by examples, words, heads .* got best"):
        compare_ablations(model, result, selections=("best",))
    with pytest.raises(TypeError, match="selections must be a list; got 'words'"):
        compare_ablations(model, result, selections="words")
    with pytest.raises(ValueError, match="got none"):
        compare_ablations(model, result, selections=())
    with pytest.raises(ValueError, match="n must be at least 1; got 0"):
        compare_ablations(model, result, n=0)
    columns = {name: column for name, column in result.columns.items() if name != "words_t"}
    with pytest.raises(ValueError, match=r"by examples, heads .* got words"):
        compare_ablations(model, replace(result, columns=columns), selections=("words",))
    mlp = result.split()["mlp_pre"]
    with pytest.raises(ValueError, match=r"by examples, words .* got heads"):
        compare_ablations(model, mlp, selections=("heads",))
    with pytest.raises(ValueError, match="got head: did you mean 'heads'"):
        compare_ablations(model, result, selections=("head",))


# ------------------------------------------------------------------ new entries


def test_a_new_selection_is_one_entry(model, result, monkeypatch):
    def last_units(result, n, progress):
        return result.to_frame().tail(n)[["layer", "site", "head", "index"]]

    last = Selection(last_units, "the last units", lambda result: len(result.layers) == 3, "layers")
    monkeypatch.setitem(SELECTIONS, "last", last)
    found = compare_ablations(model, result, n=2, selections=("last",), draws=19, **OPTIONS)
    assert found["selection"].tolist() == ["last"] * 3
    every = add_effects(model, result, n=2, draws=19, checked=4, **OPTIONS).tables["ablation"]
    assert every["selection"].unique().tolist() == ["examples", "words", "heads", "last"]
    with pytest.raises(ValueError, match=r"heads, last \(.*, last needs layers\); got best"):
        compare_ablations(model, result, selections=("best",))


def test_a_new_replacement_is_one_entry(model, contexts, acts, monkeypatch):
    def median(layer, donors):
        return layer.median(dim=0).values.expand(len(donors), -1)

    monkeypatch.setitem(HOWS, "median", Replacement(median, "its median"))
    [unit] = UNITS["gpt2"][:1].to_dict("records")
    values = acts.site(unit["site"])[unit["layer"], :, unit["head"] * 4 + unit["index"]]
    replaced = HOWS["median"].values(values[:, None], np.zeros(3, int))
    assert replaced.tolist() == [[values.median().item()]] * 3
    found = ablate(model, contexts, UNITS["gpt2"], "median", acts=acts, draws=19, **OPTIONS)
    assert found.table["how"].unique().tolist() == ["median"]
    assert (found.examples["change"] != 0).all()
    by_gradient = attribute(model, contexts, acts=acts, how="median", checked=4, **OPTIONS)
    assert by_gradient.about["how"] == "median"
    with pytest.raises(ValueError, match="one of mean, zero, resample, median; got 'medial': did"):
        ablate(model, contexts, UNITS["gpt2"], "medial")


def test_docstrings_list_the_tables():
    for name, kind in HOWS.items():
        assert f"        - ``{name}``: {kind.meaning}\n" in ablate.__doc__
    for name, selection in SELECTIONS.items():
        assert f"        - ``{name}``: {selection.meaning}\n" in compare_ablations.__doc__


def test_replacements_of_a_layer():
    layer = torch.tensor([[1.0, 2.0], [3.0, 6.0], [5.0, 1.0]])
    donors = np.array([2, 0])
    assert HOWS["mean"].values(layer, donors).tolist() == [[3.0, 3.0]] * 2
    assert HOWS["zero"].values(layer, donors).tolist() == [[0.0, 0.0]] * 2
    assert HOWS["resample"].values(layer, donors).tolist() == [[5.0, 1.0], [1.0, 2.0]]
