"""Features of an encoder are sites like any other, streamed layer by layer."""

import re
import warnings

import pandas as pd
import pytest
import torch
from helpers import tiny_models

import tl_negation as tln

N = 64


class Encoder(torch.nn.Module):
    """A sparse autoencoder's first half: most features are zero in most examples."""

    def __init__(self, width, n=N, bias=-0.5, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = torch.nn.Parameter(torch.randn(width, n, generator=generator) / width**0.5)
        self.bias = bias

    def encode(self, x):
        assert x.dtype == torch.float32
        return (x @ self.weight + self.bias).relu()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_models.load(tiny_models.gpt2_folder(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def contexts(model):
    return tln.find_contexts(tiny_models.story(), model.tokenizer, before=6, after=2)


@pytest.fixture(scope="module")
def encoder(model):
    return Encoder(model.cfg.d_model)


def features(encoder, site="resid_post"):
    return {"sae": (site, encoder.encode)}


def test_features_are_what_the_encoder_makes_of_the_site(model, contexts, encoder):
    acts = tln.collect(
        model, contexts, ("resid_post", "q"), features=features(encoder), progress=False
    )
    assert [(site.name, site.width) for site in acts.sites] == [
        ("resid_post", 20), ("q", 20), ("sae", N),
    ]  # fmt: skip
    expected = torch.stack([encoder.encode(layer) for layer in acts.site("resid_post")]).detach()
    torch.testing.assert_close(acts.site("sae"), expected, atol=1e-5, rtol=1e-5)
    assert (acts.site("sae") == 0).float().mean() > 0.5
    alone = tln.collect(model, contexts, ("k",), features=features(encoder), progress=False)
    torch.testing.assert_close(alone.site("sae"), expected, atol=1e-5, rtol=1e-5)
    assert acts.model["features"] == {"sae": "resid_post"}


def test_mapping_activations_gives_the_same(model, contexts, encoder):
    acts = tln.collect(model, contexts, ("resid_post", "q"), progress=False)
    mapped = acts.map("resid_post", encoder.encode, name="sae")
    whole = tln.collect(
        model, contexts, ("resid_post", "q"), features=features(encoder), progress=False
    )
    torch.testing.assert_close(mapped.values, whole.values, atol=1e-5, rtol=1e-5)
    assert mapped.sites == whole.sites
    assert not mapped.values.requires_grad
    with pytest.raises(ValueError, match="each site once; there is 'sae' already"):
        mapped.map("q", encoder.encode, name="sae")
    with pytest.raises(KeyError, match="site 'v' was not collected"):
        acts.map("v", encoder.encode, name="sae")


def test_every_layer_has_an_encoder_of_its_own(model, contexts):
    by_layer = {layer: Encoder(20, seed=layer).encode for layer in (0, 2)}
    acts = tln.collect(
        model, contexts, ("q",), layers=[0, 2], features={"sae": ("q", by_layer)}, progress=False
    )
    for row, layer in enumerate((0, 2)):
        expected = by_layer[layer](acts.site("q")[row]).detach()
        torch.testing.assert_close(acts.site("sae")[row], expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="no function for layer 1; it has them for 0, 2"):
        tln.collect(model, contexts, ("q",), features={"sae": ("q", by_layer)}, progress=False)


def test_a_store_holds_features_and_knows_what_made_them(model, contexts, encoder, tmp_path):
    plain = tln.collect(model, contexts, ("q",), features=features(encoder), progress=False)
    options = {"store": tmp_path / "acts", "progress": False}
    kept = tln.collect(model, contexts, ("q",), features=features(encoder), **options)
    torch.testing.assert_close(kept.values, plain.values, atol=1e-5, rtol=1e-5)
    assert tln.load_activations(tmp_path / "acts").sites == plain.sites
    again = tln.collect(model, contexts, ("q",), features=features(Encoder(20)), **options)
    assert torch.equal(again.values, kept.values)  # the same weights: opened, not run
    with pytest.raises(FileExistsError, match="features: it holds"):
        tln.collect(model, contexts, ("q",), features=features(Encoder(20, seed=1)), **options)
    with pytest.raises(FileExistsError, match="features: it holds"):
        tln.collect(model, contexts, ("q",), features=features(Encoder(20, bias=-0.4)), **options)
    unknown = {"sae": ("resid_post", lambda x: x.relu())}
    with pytest.raises(ValueError, match="encode of 'sae' is not a method of a torch module"):
        tln.collect(model, contexts, features=unknown, store=tmp_path / "other", progress=False)
    assert not (tmp_path / "other").exists()


def test_sparse_units_get_an_answer_and_are_shown(model, contexts, tmp_path):
    made = features(Encoder(model.cfg.d_model, bias=-1.0))
    acts = tln.collect(model, contexts, ("q",), features=made, progress=False)
    result = tln.probe(acts, progress=False)
    found = tln.infer(result, permutations=100, tasks=2, replicates=2, progress=False)
    groups = found.tables["groups"]
    assert groups.loc[groups["site"] == "sae", "p"].notna().all()
    frame = found.to_frame()
    separated = frame[(frame["site"] == "sae") & (frame["status"] == "quasi_separated")]
    assert len(separated)
    assert separated["firth_beta"].notna().all()
    unit = frame[(frame["site"] == "sae") & (frame["status"] == "ok")].head(1)
    top = tln.views.top_contexts(model, found, unit, n=2, features=made)
    assert top.body.count("<mark>") == 4
    read = tln.views.over_text(model, ["You may know", "I cannot"], unit, features=made)
    assert "sae" in read.title
    browser = tln.views.unit_browser(found, model=model, n=3, contexts=2, features=made)
    assert "unit" in browser.title
    tln.report(found, tmp_path / "report.html")
    assert "sae" in (tmp_path / "report.html").read_text("utf-8")
    found.save(tmp_path / "run")
    without = tln.load_result(tmp_path / "run")
    same = tln.views.top_contexts(model, without, unit, n=2, features=made)
    assert re.sub("tln-[0-9a-f]+", "", same.body) == re.sub("tln-[0-9a-f]+", "", top.body)
    values = tln.token_activations(model, contexts, unit, [0, 5], features=made)
    column = 20 + int(unit["index"].iloc[0])
    torch.testing.assert_close(
        values[0, :, contexts.before], acts.values[int(unit["layer"].iloc[0]), [0, 5], column],
        atol=1e-5, rtol=1e-5,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"'sae' is not a site; if these are features"):
        tln.views.text_heatmap(model, contexts, unit)
    scanned = tln.scan(
        model, contexts, sites=("q",), features=made, words=False, layers=[0], progress=False
    )
    assert "sae" in set(scanned.display["site"])


def test_features_are_no_part_of_the_model(model, contexts, encoder):
    acts = tln.collect(model, contexts, ("q",), features=features(encoder), progress=False)
    units = tln.probe(acts, progress=False).top(2)
    with pytest.raises(ValueError, match="hold the features sae, which are made of a site"):
        tln.ablate(model, contexts, units, acts=acts, progress=False)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([("sae", "q")], TypeError, 'features are {"name": (site, encode)}'),
        ({"sae": "resid_post"}, TypeError, 'features are {"name": (site, encode)}'),
        ({"sae": ("q", 3)}, TypeError, "encode of 'sae' is a function, as sae.encode"),
        ({"sae": ("q", {"0": abs})}, TypeError, "or one for each layer by its number"),
        ({"q": ("q", abs)}, ValueError, "a feature has a name of its own"),
        ({"my sae": ("q", abs)}, ValueError, "a feature has a name of its own"),
        ({"sae": ("qq", abs)}, ValueError, "unknown site 'qq'"),
        ({"sae": ("q", lambda x: x.sum())}, ValueError, "turn [example, 20] into"),
        ({"sae": ("q", lambda _: "x")}, ValueError, "it made str"),
    ],
)  # fmt: skip
def test_what_is_no_encoder_is_refused(model, contexts, given, error, message):
    with pytest.raises(error, match=re.escape(message)):
        tln.collect(model, contexts, ("q",), features=given, progress=False)


def test_encoders_of_unequal_width_are_refused(model, contexts):
    by_layer = {0: Encoder(20, 8).encode, 1: Encoder(20, 9).encode}
    with pytest.raises(ValueError, match="must be equally many in all layers"):
        tln.collect(
            model, contexts, ("q",), layers=[0, 1], features={"sae": ("q", by_layer)},
            progress=False,
        )  # fmt: skip


@pytest.mark.sae
@pytest.mark.parametrize("kind", ["Standard", "TopK", "JumpReLU"])
def test_the_class_of_sae_lens(model, contexts, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it imports TransformerLens' old names
        import sae_lens

    size = {"d_in": 20, "d_sae": N, "device": "cpu"}
    size |= {"k": 5} if kind == "TopK" else {}
    config = getattr(sae_lens, f"{kind}SAEConfig")(**size)
    torch.manual_seed(0)
    sae = getattr(sae_lens, f"{kind}SAE")(config)
    acts = tln.collect(model, contexts, ("resid_post",), features=features(sae), progress=False)
    expected = torch.stack([sae.encode(layer) for layer in acts.site("resid_post")]).detach()
    torch.testing.assert_close(acts.site("sae"), expected, atol=1e-5, rtol=1e-5)
    mapped = tln.collect(model, contexts, ("resid_post",), progress=False).map(
        "resid_post", sae.encode, name="sae"
    )
    torch.testing.assert_close(mapped.site("sae"), expected, atol=1e-5, rtol=1e-5)
    result = tln.word_test(tln.probe(acts, progress=False), permutations=100, progress=False)
    assert pd.notna(result.tables["groups"]["p"]).all()
