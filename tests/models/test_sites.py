"""Sites: read off the model; a column of the layout finds its way back to site, head, index."""

from types import SimpleNamespace

import pytest
import torch
from einops import rearrange
from helpers import tiny_models

from tl_negation.models.sites import Site, select_sites, sites_of
from tl_negation.models.units import locate, site_slices, unit_name, unit_of
from tl_negation.probing.families import family_ids

GROUPED = {"n_layers": 2, "n_heads": 6, "n_key_value_heads": 3, "d_head": 8, "d_mlp": 56}


def model_with(hooks, **changes):
    """A stand-in that has what the sites are read off: a configuration and hook names."""
    cfg = SimpleNamespace(**(GROUPED | changes))
    return tiny_models.stand_in(cfg=cfg, hook_dict=dict.fromkeys(hooks))


@pytest.mark.parametrize("name", tiny_models.CLASSES)
def test_sites_of_gpt2(tmp_path, name):
    """In the order of a block; the residual stream is 20 wide, the MLP 80."""
    sites = sites_of(tiny_models.load(tiny_models.gpt2_folder(tmp_path), name))
    assert list(sites.values()) == [
        Site("resid_pre", "blocks.{layer}.hook_resid_pre", "resid", 1, 20),
        Site("q", "blocks.{layer}.attn.hook_q", "attn", 5, 4),
        Site("k", "blocks.{layer}.attn.hook_k", "attn", 5, 4),
        Site("v", "blocks.{layer}.attn.hook_v", "attn", 5, 4),
        Site("z", "blocks.{layer}.attn.hook_z", "attn", 5, 4),
        Site("attn_out", "blocks.{layer}.hook_attn_out", "resid", 1, 20),
        Site("resid_mid", "blocks.{layer}.hook_resid_mid", "resid", 1, 20),
        Site("mlp_pre", "blocks.{layer}.mlp.hook_pre", "mlp", 1, 80),
        Site("mlp_post", "blocks.{layer}.mlp.hook_post", "mlp", 1, 80),
        Site("mlp_out", "blocks.{layer}.hook_mlp_out", "resid", 1, 20),
        Site("resid_post", "blocks.{layer}.hook_resid_post", "resid", 1, 20),
    ]


@pytest.mark.parametrize("name", tiny_models.CLASSES)
def test_grouped_keys_and_values_are_narrower(tmp_path, name):
    sites = sites_of(tiny_models.load(tiny_models.llama_folder(tmp_path), name))
    assert {name: site.width for name, site in sites.items()} == {
        "q": 48, "k": 24, "v": 24, "rot_q": 48, "rot_k": 24, "z": 48,
        "mlp_pre": 56, "mlp_pre_linear": 56, "mlp_post": 56, "attn_out": 48, "mlp_out": 48,
        "resid_pre": 48, "resid_mid": 48, "resid_post": 48,
    }  # fmt: skip


@pytest.mark.parametrize("name", tiny_models.CLASSES)
def test_a_site_that_the_model_has_not_names_those_it_has(tmp_path, name):
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path), name)
    with pytest.raises(ValueError, match="unknown site 'rot_q'; this model has resid_pre, q, k, v"):
        select_sites(model, ("rot_q",))


def test_families_of_a_correction_are_attention_mlp_and_residual_stream(tmp_path):
    sites = select_sites(
        tiny_models.load(tiny_models.gpt2_folder(tmp_path)), ("q", "z", "mlp_post", "resid_mid")
    )
    ids = family_ids(sites, 3, "layer")
    assert [len(set(row)) for row in ids.tolist()] == [3, 3, 3]
    assert len(set(ids.flatten().tolist())) == 9
    of = dict(zip(("q", "z", "mlp_post", "resid_mid"), ids[0, [0, 20, 40, 120]], strict=True))
    assert of["q"] == of["z"]
    assert len({of["q"], of["mlp_post"], of["resid_mid"]}) == 3


def test_ungrouped_keys_are_as_wide_as_queries():
    model = model_with(["blocks.0.attn.hook_k"], ungroup_grouped_query_attention=True)
    assert sites_of(model)["k"].width == 48


def test_a_site_counts_if_any_layer_has_it():
    model = model_with(["blocks.1.attn.hook_v"])
    assert list(sites_of(model)) == ["v"]
    assert sites_of(model)["v"].hook_name(1) == "blocks.1.attn.hook_v"


def test_select_keeps_the_order():
    model = model_with(f"blocks.0.attn.hook_{name}" for name in "qkv")
    assert [site.name for site in select_sites(model, ("v", "q"))] == ["v", "q"]
    assert [site.name for site in select_sites(model, (name for name in "kq"))] == ["k", "q"]


def test_select_refuses():
    model = model_with(["blocks.0.attn.hook_q", "blocks.0.attn.hook_k"])
    with pytest.raises(TypeError, match=r"got the string 'q'; pass \(\"q\",\)"):
        select_sites(model, "q")
    with pytest.raises(ValueError, match=r"unknown site 'mlp_pre'; this model has q, k"):
        select_sites(model, ("q", "mlp_pre"))
    with pytest.raises(ValueError, match="each site once; got q more than once"):
        select_sites(model, ("q", "k", "q"))
    with pytest.raises(ValueError, match="no site was asked for; this model has q, k"):
        select_sites(model, ())


def test_a_hugging_face_model_is_refused_with_the_cure():
    with pytest.raises(TypeError, match=r"GPT2LMHeadModel, which has no cfg, .*boot_trans"):
        sites_of(tiny_models.gpt2())


def test_locate_inverts_the_rearrangement():
    sites = (
        Site("q", "", "attn", 6, 8),
        Site("k", "", "attn", 3, 8),
        Site("mlp_pre", "", "mlp", 1, 5),
    )
    unit = 0
    for site in sites:
        grid = torch.arange(site.width).reshape(1, site.heads, site.d_head)
        flat = rearrange(grid, "example head d_head -> example (head d_head)")[0]
        for column in flat.tolist():
            found, head, index = locate(sites, unit)
            assert found is site
            assert int(grid[0, head, index]) == column
            unit += 1


def test_slices_hold_the_units_that_are_found_there():
    sites = [
        Site("q", "", "attn", 6, 8),
        Site("k", "", "attn", 3, 8),
        Site("mlp_pre", "", "mlp", 1, 5),
    ]
    slices = list(site_slices(sites, (2, 7)))
    assert [(place.row, place.layer, place.site) for place in slices] == [
        (row, layer, site) for row, layer in enumerate((2, 7)) for site in sites
    ]
    ends = [0, *(place.positions.stop for place in slices)]
    assert [place.positions.start for place in slices] == ends[:-1]  # end to end
    assert ends[-1] == 2 * (48 + 24 + 5)
    for row, layer, site, columns, positions in slices:
        assert columns.stop - columns.start == positions.stop - positions.start == site.width
        assert unit_of(sites, (2, 7), (layer, site.name, 0, 0)) == (row, columns.start)
        assert positions.start == row * 77 + columns.start


@pytest.mark.parametrize("unit", [-1, 72])
def test_locate_refuses_a_column_that_is_not_there(unit):
    sites = (Site("q", "", "attn", 6, 8), Site("k", "", "attn", 3, 8))
    with pytest.raises(IndexError, match=f"unit must be between 0 and 71, got {unit}"):
        locate(sites, unit)


def test_only_units_of_attention_are_named_by_head():
    assert unit_name("rot_k", 2, 7) == "rot_k, head 2, unit 7"
    assert unit_name("mlp_pre", 0, 7) == "mlp_pre, unit 7"
    assert unit_name("attn_out", 0, 7) == "attn_out, unit 7"
