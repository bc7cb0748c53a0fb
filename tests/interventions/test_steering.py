"""Adding a direction, against a plain Hugging Face hook."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from helpers import tiny_models
from helpers.intervention_oracles import FAMILIES, OPTIONS, hf_log_p

from tl_negation import collect, mean_difference, plots, steer

FEW = OPTIONS | {"draws": 19, "follow": 3}


def blocks(hf, family):
    return hf.transformer.h if family == "gpt2" else hf.model.layers


@pytest.fixture(scope="module")
def held(folders, contexts):
    """Activations of the residual stream, by family and class."""
    loaded = {}

    def get(family, class_name):
        if (family, class_name) not in loaded:
            model = tiny_models.load(folders[family], class_name)
            acts = collect(model, contexts, ("resid_post",), progress=False)
            loaded[family, class_name] = model, acts
        return loaded[family, class_name]

    return get


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("class_name", tiny_models.CLASSES)
@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_a_hugging_face_hook(held, contexts, family, class_name, keep):
    model, acts = held(family, class_name)
    width = acts.sites[0].width
    direction = torch.randn(width, generator=torch.Generator().manual_seed(2))
    options = FEW | {"acts": acts, "layer": 0, "length": -1.7, "keep": keep}
    found = steer(model, contexts, direction, **options)
    added = -1.7 * direction / direction.norm()
    torch.testing.assert_close(found.direction.float(), added, rtol=1e-5, atol=1e-6)
    hf = FAMILIES[family][0]()

    def hook(module, inputs, output):
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        hidden[:, contexts.before] += added
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    clean = hf_log_p(hf, contexts, 3)
    handle = blocks(hf, family)[0].register_forward_hook(hook)
    changed = hf_log_p(hf, contexts, 3)
    handle.remove()
    np.testing.assert_allclose(found.examples["clean"], clean, atol=1e-4)
    np.testing.assert_allclose(found.examples["change"], changed - clean, atol=2e-4)
    assert np.abs(changed - clean).max() > 0.05  # it does something


def test_random_directions_are_as_long_and_in_the_same_subspace(held, contexts):
    from tl_negation.interventions.steering import _random

    _, acts = held("gpt2", tiny_models.CLASSES[0])
    values = acts.values[1].double()
    drawn = _random(values, 2.5, 30, 0)
    torch.testing.assert_close(drawn.norm(dim=1), torch.full((30,), 2.5).double())
    few = values[:4]  # span three dimensions around their mean
    drawn = _random(few, 1.0, 30, 0)
    assert torch.linalg.matrix_rank(torch.cat([few - few.mean(dim=0), drawn])) == 3
    assert not torch.equal(_random(values, 1.0, 5, 1), _random(values, 1.0, 5, 2))


def test_the_length_is_the_distance_of_the_classes_unless_given(held, contexts):
    model, acts = held("gpt2", tiny_models.CLASSES[0])
    along = mean_difference(acts, relabelings=0, progress=False)
    found = steer(model, contexts, along, layer=2, acts=acts, **FEW)
    values, labels = acts.values[2].double(), contexts.labels
    distance = (values[labels == 1].mean(0) - values[labels == 0].mean(0)).norm()
    assert found.about["length"] == pytest.approx(float(distance))
    cosine = torch.cosine_similarity(found.direction, along.along("resid_post", 2), dim=0)
    assert float(cosine) == pytest.approx(1)
    again = steer(model, contexts, along, layer=2, **FEW)  # collects by itself
    np.testing.assert_allclose(again.table["effect"], found.table["effect"], atol=1e-5)
    assert again.table["p"].between(1 / 20, 1).all()


def test_p_is_the_share_of_directions_that_change_as_much(held, contexts):
    model, acts = held("gpt2", tiny_models.CLASSES[0])
    found = steer(model, contexts, acts.values[1][0], layer=1, acts=acts, **FEW)
    for row in found.to_frame().to_dict("records"):
        larger = (found.draws[row["class"]].abs() >= abs(row["effect"])).sum()
        assert row["p"] == (1 + larger) / 20
    by_class = found.examples.groupby("group")["change"].mean()
    assert found.table["effect"].iloc[0] == pytest.approx(by_class["negation"])


def test_it_is_seen(held, contexts):
    model, acts = held("gpt2", tiny_models.CLASSES[0])
    found = steer(model, contexts, acts.values[1][0], layer=1, acts=acts, **FEW)
    assert "Steering along resid_post layer 1" in repr(found)
    assert "19 random directions" in repr(found)
    assert "<table" in found._repr_html_()
    axes = plots.ablation(found)
    assert "direction added" in axes[1].get_xlabel()
    assert axes[0].get_yticklabels()[0].get_text().startswith("direction")
    plt.close("all")


def test_what_cannot_be_added_is_refused(held, contexts):
    model, acts = held("gpt2", tiny_models.CLASSES[0])
    vector = acts.values[1][0]
    options = FEW | {"layer": 1, "acts": acts}
    for wrong, message in [
        (vector[:7], "is 20 wide; got one of 7 units"),
        (acts.values[:, 0], r"one vector, \[unit\]; got \(3, 20\): give the row of layer 1"),
        (vector * 0, "finite values, not all of them 0"),
        (vector * float("nan"), "finite values, not all of them 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            steer(model, contexts, wrong, **options)
    for length in (0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="length is a finite number other than 0"):
            steer(model, contexts, vector, length=length, **options)
    with pytest.raises(ValueError, match="draws must be at least 19"):
        steer(model, contexts, vector, **options | {"draws": 3})
    with pytest.raises(ValueError, match="hold layers 0, 1, 2, not 5"):
        steer(model, contexts, vector, **options | {"layer": 5})
    along = mean_difference(acts, relabelings=0, progress=False)
    with pytest.raises(KeyError, match="no direction of site 'q' in layer 1"):
        steer(model, contexts, along, site="q", layer=1, **FEW)
    same = replace(acts, values=torch.ones_like(acts.values))
    with pytest.raises(ValueError, match="class means do not differ"):
        steer(model, contexts, vector, **options | {"acts": same})
    with pytest.raises(ValueError, match="span no subspace"):
        steer(model, contexts, vector, length=1, **options | {"acts": same})
