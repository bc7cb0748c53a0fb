"""The gradient's estimates against finite differences, and selections of units compared."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import tiny_models
from helpers.intervention_oracles import (
    FAMILIES,
    OPTIONS,
    SITES,
    UNITS,
    hf_hooks,
    hf_log_p,
    setting,
)

from tl_negation import ablate, attribute, collect, compare_ablations, infer, probe
from tl_negation.interventions.attribution import estimates
from tl_negation.models.units import places


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: folder(tmp_path_factory.mktemp(name)) for name, (_, folder) in FAMILIES.items()}


@pytest.fixture(scope="module")
def contexts():
    return tiny_models.contexts(12, before=6, after=4)


@pytest.fixture(scope="module")
def model(folders):
    return tiny_models.load(folders["gpt2"])


@pytest.fixture(scope="module")
def acts(model, contexts):
    return collect(model, contexts, SITES, progress=False)


# ------------------------------------------------------------------ the gradient


@pytest.mark.parametrize("class_name", tiny_models.CLASSES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_is_a_finite_difference(folders, contexts, family, class_name):
    """Of fourth order, with steps above the float32 that Hugging Face's RMSNorm computes in."""
    model = tiny_models.load(folders[family], class_name, dtype=torch.float64)
    acts = collect(model, contexts, SITES, progress=False)
    estimated = estimates(setting(model, contexts, acts, how="zero")).numpy()
    hf = FAMILIES[family][0]().double()
    labels = contexts.labels.numpy()
    for row in range(len(UNITS[family])):
        unit = UNITS[family].iloc[[row]]
        [place] = places(unit, acts.sites, acts.layers)

        def scaled(scale, unit=unit):
            with hf_hooks(hf, family, unit, contexts.before, lambda old: scale * old):
                return hf_log_p(hf, contexts, 3)

        one, two = ((scaled(1 - h) - scaled(1 + h)) / (2 * h) for h in (0.03, 0.06))
        slope = (4 * one - two) / 3  # towards zero
        for label in (0, 1):
            expected = slope[labels == label].mean()
            assert estimated[label, place] == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_gradients_need_no_parameters_that_require_them(folders, contexts, model, acts):
    frozen = tiny_models.load(folders["gpt2"]).requires_grad_(False)
    torch.testing.assert_close(
        estimates(setting(frozen, contexts, acts)), estimates(setting(model, contexts, acts))
    )


def test_batches_give_the_same_estimates(model, contexts, acts):
    whole = estimates(setting(model, contexts, acts))
    for options in ({"batch_size": 5}, {"batch_size": 1}, {"keep": False}):
        parts = estimates(setting(model, contexts, acts, **options))
        torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-5)


def test_estimates_are_compared_with_what_is_measured(model, contexts, acts):
    found = attribute(model, contexts, acts=acts, checked=40, **OPTIONS)
    assert len(found.table) == 3 * 140
    assert found.checked["drawn"].value_counts().to_dict() == {"largest": 20, "random": 20}
    assert found.checked[["layer", "site", "head", "index"]].duplicated().sum() == 0
    largest = found.checked.query("drawn == 'largest'")["estimate"].abs()
    assert largest.min() >= np.sort(found.table["estimate"].abs())[-20]
    np.testing.assert_allclose(
        found.checked["measured"], found.checked["measured_1"] - found.checked["measured_0"]
    )
    r = np.corrcoef(found.checked["estimate"], found.checked["measured"])[0, 1]
    assert found.about["correlation"]["all"] == pytest.approx(r)
    assert r > 0.5
    assert f"r = {r:.2f}" in repr(found)
    assert "<table" in found._repr_html_()
    assert found.top(1)["estimate"].abs().item() == found.table["estimate"].abs().max()
    one = found.checked.iloc[[3]]
    alone = ablate(model, contexts, one, acts=acts, draws=19, **OPTIONS)
    np.testing.assert_allclose(alone.table["effect"].iloc[2], one["measured"].item(), atol=1e-5)


# ------------------------------------------------------------------ comparing selections


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
    from tl_negation.interventions.selections import units_of_best_heads

    scores = pd.DataFrame(
        {"layer": [0, 1, 2], "site": ["q", "v", "k"], "head": [4, 1, 0],
         "held_out_accuracy": [0.5, 0.9, 0.7]}
    )  # fmt: skip
    units = units_of_best_heads(result.with_table("heads", scores), 6)
    assert units["layer"].tolist() == [1] * 4 + [2] * 2
    of_last = result.to_frame().query("layer == 2 and site == 'k' and head == 0")
    assert set(units["index"][4:]) == set(of_last.nlargest(2, "lr")["index"])


def test_selections_of_ones_own(model, result):
    tables = {"mine": UNITS["gpt2"], "one": UNITS["gpt2"][:1]}
    found = compare_ablations(model, result, selections=tables, draws=19, **OPTIONS)
    assert found.groupby("selection")["units"].first().to_dict() == {"mine": 5, "one": 1}


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
