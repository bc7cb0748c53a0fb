"""Sites: read off the model; a record in the table is all that a new one needs."""

from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace

import pytest
import torch
from helpers import tiny_models
from helpers.command_line import invoke

import tl_negation as tln
from tl_negation import plots, report
from tl_negation.models.hooks import select_sites
from tl_negation.models.sites import (
    SITES,
    Site,
    SiteRecord,
    check_site_names,
    has_heads,
    neurons,
    site_label,
    sites_of,
    stream,
)
from tl_negation.models.sizes import sizes_of
from tl_negation.probing.families import family_ids

GROUPED = {"n_layers": 2, "n_heads": 6, "n_key_value_heads": 3, "d_head": 8, "d_mlp": 56}


def model_with(hooks, **changes):
    """A stand-in that has what the sites are read off: a configuration and hook names."""
    cfg = SimpleNamespace(**(GROUPED | changes))
    return tiny_models.StandIn(cfg=cfg, hook_dict=dict.fromkeys(hooks))


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
def test_a_site_that_the_model_lacks_names_those_it_has(tmp_path, name):
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path), name)
    with pytest.raises(
        ValueError, match="this model has no site 'rot_q'; it has resid_pre, q, k, v"
    ):
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
    with pytest.raises(ValueError, match=r"this model has no site 'mlp_pre'; it has q, k$"):
        select_sites(model, ("q", "mlp_pre"))
    with pytest.raises(ValueError, match="each site once; got q more than once"):
        select_sites(model, ("q", "k", "q"))
    with pytest.raises(ValueError, match="no site was asked for; there are resid_pre, q, k"):
        select_sites(model, ())


def test_a_hugging_face_model_is_refused_with_the_cure():
    with pytest.raises(TypeError, match=r"GPT2LMHeadModel, which has no cfg, .*boot_trans"):
        sites_of(tiny_models.gpt2())


# ------------------------------------------------------------------ names, before any model


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("kk", "unknown site 'kk'; did you mean 'k'\\? there are resid_pre, q, k, v"),
        ("mlp", "did you mean 'mlp_pre'"),
        ("resid_pots", "did you mean 'resid_post'"),
        ("Q", "did you mean 'q'"),
        ("neurons", "unknown site 'neurons'; there are resid_pre, "),
        (3, "unknown site 3; there are"),
        (["q"], r"unknown site \['q'\]; there are"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name, message):
    with pytest.raises(ValueError, match=message):
        check_site_names(each for each in ("q", name))


def test_names_that_are_known_are_returned_in_their_order():
    assert check_site_names(name for name in ("v", "q")) == ("v", "q")


@pytest.fixture
def no_loading(monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("a model was loaded")

    for name in ("scan", "comparison"):
        module = import_module(f"tl_negation.runs.{name}")
        monkeypatch.setattr(module, "load_model", refuse)
        monkeypatch.setattr(module, "load_text", refuse)


@pytest.mark.usefixtures("no_loading")
@pytest.mark.parametrize("function", [tln.scan, tln.compare])
def test_names_are_checked_before_a_model_is_loaded(function):
    with pytest.raises(ValueError, match="unknown site 'kk'; did you mean 'k'"):
        function("gpt2-large", "builtin:python-docs", sites=("q", "kk"))
    with pytest.raises(AssertionError, match="a model was loaded"):  # with names that are known
        function("gpt2-large", "builtin:python-docs", sites=("q", "k"))


@pytest.mark.usefixtures("no_loading")
@pytest.mark.parametrize("command", ["scan", "compare"])
def test_the_command_line_checks_names_before_a_model_is_loaded(command, tmp_path):
    asked = ("--model", "gpt2-large", "--text", "builtin:python-docs", "--out", tmp_path / "out")
    done = invoke(command, *asked, "--sites", "q,kk")
    assert done.exit_code == 2
    assert "unknown site 'kk'; did you mean 'k'? there are resid_pre," in done.stderr


# ------------------------------------------------------------------ a site of one's own

NORMED = SiteRecord(
    hook="ln1.hook_normalized",
    module="resid",
    meaning="what attention reads",
    needs="nothing",
    shape=stream,
    label="normed",
    colour="#112233",
    marker="v",
)


def of_layer(model, tokens, site):
    """``[layer, example, unit]`` at the last position, by TransformerLens itself."""
    with torch.inference_mode():
        _, cache = model.run_with_cache(tokens)
    layers = range(model.cfg.n_layers)
    return torch.stack([cache[site.hook_name(layer)][:, -1].flatten(1) for layer in layers])


@pytest.mark.parametrize("name", tiny_models.CLASSES)
@pytest.mark.parametrize(
    "record",
    [
        NORMED,
        replace(NORMED, hook="ln2.hook_normalized", needs="output"),
    ],
    ids=lambda record: record.hook,
)
def test_a_new_site_is_one_entry(tmp_path, monkeypatch, name, record):
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path), name)
    contexts = tiny_models.contexts()
    monkeypatch.setitem(SITES, "own", record)
    site = Site("own", f"blocks.{{layer}}.{record.hook}", record.module, 1, 20)
    assert list(sites_of(model).values())[-1] == site
    tokens = contexts.tokens[:, : contexts.before + 1]
    for sites in (("own",), ("q", "own")):
        acts = tln.collect(model, contexts, sites, progress=False)
        expected = of_layer(model, tokens, site)
        torch.testing.assert_close(acts.site("own"), expected, atol=1e-5, rtol=1e-5)


def test_everything_that_lists_sites_lists_the_new_one(tmp_path, monkeypatch):
    monkeypatch.setitem(SITES, "own", NORMED)
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path))
    with pytest.raises(ValueError, match=r"there are .*resid_post, own, and every hook"):
        check_site_names(("p",))
    with pytest.raises(ValueError, match=r"it has .*resid_post, own$"):
        select_sites(model, ("rot_q",))
    sizes = sizes_of(model)
    assert sizes.width("own") == 20
    assert sizes.forward_flops(7, ("own",)) == sizes.forward_flops(7, ("resid_pre",))
    assert plots.site_style("own", ["own"]) == ("#112233", "v", "-")
    assert (site_label("own"), site_label("q"), has_heads("own")) == ("normed", "q", False)
    acts = tln.collect(model, tiny_models.contexts(60), ("own",), progress=False)
    page = report(tln.probe(acts, progress=False), tmp_path / "report.html").read_text("utf-8")
    assert "own: what attention reads" in page


def test_sites_without_a_colour_share_the_spare_ones(monkeypatch):
    for name in ("one", "two"):
        monkeypatch.setitem(SITES, name, replace(NORMED, colour=None))
    looks = [plots.site_style(name, ["q", "one", "two"]) for name in ("one", "two")]
    assert looks == [("#0072B2", "P", "-"), ("#AA4499", "X", "--")]


def test_a_record_needs_a_product_of_a_layer():
    with pytest.raises(
        ValueError, match=r"needs must be one of nothing, query, .*; got 'embedding'"
    ):
        replace(NORMED, needs="embedding")


def test_what_a_site_sees_follows_from_what_it_needs():
    seen = {name: (r.before_mixing, r.lexical_at_first) for name, r in SITES.items()}
    token_only = {"resid_pre", "q", "k", "v"}
    assert {name for name, (before, _) in seen.items() if before} == token_only
    assert {name for name, (_, lexical) in seen.items() if lexical} == token_only | {
        "rot_q", "rot_k"
    }  # fmt: skip
    inside = replace(NORMED, module="mlp", shape=neurons, needs="up")
    assert (inside.before_mixing, inside.lexical_at_first) == (False, False)
