"""The gradient's estimates against finite differences."""

import numpy as np
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

from tl_negation import ablate, attribute, collect
from tl_negation.interventions.attribution import estimates
from tl_negation.models.units import places

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

        narrow, wide = ((scaled(1 - h) - scaled(1 + h)) / (2 * h) for h in (0.03, 0.06))
        slope = (4 * narrow - wide) / 3  # towards zero
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
    unit = found.checked.iloc[[3]]
    alone = ablate(model, contexts, unit, acts=acts, draws=19, **OPTIONS)
    np.testing.assert_allclose(alone.table["effect"].iloc[2], unit["measured"].item(), atol=1e-5)
