"""Every site of every family is what Hugging Face's own modules compute, in both classes."""

from functools import cache
from pathlib import Path

import pytest
import torch
from helpers import tiny_models
from helpers.architectures import (
    CASES,
    FAMILIES,
    REPLACED,
    hugging_face,
    loaded,
    recorded,
    table,
)

from tl_negation.activations.collect import collect
from tl_negation.models.hooks import select_sites
from tl_negation.models.loading import load_model
from tl_negation.models.sites import SITES, sites_of

CASE = pytest.mark.parametrize(("family", "name"), CASES)
MIXTURES = pytest.mark.parametrize("name", tiny_models.CLASSES)
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "examples" / "models.md"
CONTEXTS = tiny_models.contexts(n=5, before=7, after=1)
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("families")


@cache
def own(family):
    """Hugging Face's own values, per site ``[layer, example, pos, unit]``."""
    return recorded(family, hugging_face(family), CONTEXTS.tokens)


def expected(family, sites):
    """Those at the target, ``[layer, example, unit]``."""
    values = own(family)
    return torch.cat([values[site][:, :, CONTEXTS.before] for site in sites], dim=-1)


def model_of(family, name, folder):
    model = loaded(family, name, folder / family.replace(" ", "").replace("-", "").lower())
    assert type(model).__name__ == name
    return model


@CASE
def test_the_list_of_sites_is_the_familys(family, name, folder):
    sites = sites_of(model_of(family, name, folder))
    assert tuple(sites) == FAMILIES[family].sites(name)


@CASE
def test_all_sites_are_hugging_faces_own(family, name, folder):
    sites = FAMILIES[family].sites(name)
    acts = collect(model_of(family, name, folder), CONTEXTS, sites, batch_size=2, progress=False)
    torch.testing.assert_close(acts.values, expected(family, sites), **CLOSE)


@pytest.mark.slow
@CASE
def test_each_site_alone_in_the_last_layer(family, name, folder):
    """Nothing behind it is computed, and the other positions are left out where they can be."""
    model, sites = model_of(family, name, folder), FAMILIES[family].sites(name)
    last, whole = model.cfg.n_layers - 1, expected(family, sites)[-1:]
    widths = [site.width for site in select_sites(model, sites)]
    for site, values in zip(sites, whole.split(widths, dim=-1), strict=True):
        acts = collect(model, CONTEXTS, (site,), layers=[last], progress=False)
        torch.testing.assert_close(acts.values, values, **CLOSE, msg=lambda m, s=site: f"{s}: {m}")


@pytest.mark.parametrize("family", REPLACED)
def test_a_bridge_takes_the_place_of_a_class_that_has_not_the_family(family, folder):
    path = tiny_models.save(
        hugging_face(family), folder / f"other-{family.replace(' ', '').lower()}"
    )
    assert type(load_model(path, device="cpu")).__name__ == "TransformerBridge"


def test_sizes_that_hooked_transformer_takes_for_granted_make_a_bridge(folder):
    path = tiny_models.save(
        tiny_models.gpt2(n_inner=44), folder / "narrow"
    )  # not four times d_model
    model = load_model(path, device="cpu")
    assert type(model).__name__ == "TransformerBridge"
    assert collect(model, CONTEXTS, ("mlp_pre",), progress=False).values.shape[-1] == 44


@MIXTURES
def test_units_of_experts_are_refused_with_the_reason(name, folder):
    model = model_of("Mixtral", name, folder)
    with pytest.raises(ValueError, match=r"no site 'mlp_pre' \(its MLP is a mixture of exp"):
        collect(model, CONTEXTS, ("q", "mlp_pre"), progress=False)


def test_rotations_that_are_not_reached_are_refused_with_the_reason(folder):
    model = model_of("GPT-NeoX", "TransformerBridge", folder)
    with pytest.raises(ValueError, match=r"no site 'rot_q' \(TransformerBridge has the hook b"):
        collect(model, CONTEXTS, ("rot_q",), progress=False)


def test_the_page_on_models_shows_the_list_that_is_run_here():
    page = PAGE.read_text("utf-8")
    assert table() in page
    rows = "".join(f"| `{name}` | {record.meaning} |\n" for name, record in SITES.items())
    assert f"| site | what it is |\n|---|---|\n{rows}\n" in page
